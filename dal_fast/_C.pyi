"""The compiled kernels: addresses of contiguous tensors in, results in place.

In a build with CUDA, ``_C.cuda`` has the same functions for a GPU: where these take the number of
threads, those take ``(device, stream)``.
"""

def current_isa() -> str: ...
def set_isa(name: str) -> None: ...
def supported_isas() -> list[str]: ...
def onehot_forward(
    logits: int, levels: int, mask: int, out: int,
    batch: int, classes: int, voxels: int, dtype: int, threads: int,
) -> None: ...  # fmt: skip
def onehot_backward(
    logits: int, grad_out: int, levels: int, mask: int, grad_logits: int,
    batch: int, classes: int, voxels: int, temperature: float, dtype: int, threads: int,
) -> None: ...  # fmt: skip

# (volumes, depth, height, width, weights, radius, c1, c2, dtype, workspace)
_Problem = tuple[int, int, int, int, int, int, float, float, int, int]

def ssim_workspace(problem: _Problem, threads: int) -> int: ...
def ssim_map(
    x: int, y: int, out: int, hybrid: bool, problem: _Problem, threads: int
) -> None: ...  # fmt: skip
def ssim_sums(
    x: int, y: int, sums: int, fields: int, problem: _Problem, threads: int
) -> None: ...  # fmt: skip
def ssim_fields(
    x: int, y: int, grad: int, fields: int, problem: _Problem, threads: int
) -> None: ...  # fmt: skip
def ssim_backward(
    x: int, y: int, fields: int, upstream: int, scale: float, l1: float, grad_x: int, grad_y: int,
    problem: _Problem, threads: int,
) -> None: ...  # fmt: skip
def canny3d_workspace(
    values: int, levels: int, mask: int,
    batch: int, channels: int, depth: int, height: int, width: int, dtype: int,
    radius: int, threads: int,
) -> int: ...  # fmt: skip
def canny3d(
    values: int, levels: int, mask: int,
    batch: int, channels: int, depth: int, height: int, width: int, dtype: int,
    taps: int, radius: int, low: float, high: float,
    workspace: int, edges: int, threads: int,
) -> None: ...  # fmt: skip
def score_histogram_workspace(bins: int, threads: int) -> int: ...
def score_pages(
    score: int, mask: int, pages: int, nans: int, voxels: int, dtype: int, threads: int
) -> None: ...  # fmt: skip
def score_histogram(
    score: int, target: int, mask: int, base: int, workspace: int, counts: int, span: int,
    voxels: int, bins: int, shift: int, segment: int, dtype: int, threads: int,
) -> None: ...  # fmt: skip
def median3d_workspace(
    batch: int, channels: int, depth: int, height: int, width: int, size: int,
    dtype: int, threads: int,
) -> int: ...  # fmt: skip
def median3d(
    x: int, mask: int, out: int, workspace: int,
    batch: int, channels: int, depth: int, height: int, width: int, size: int,
    dtype: int, threads: int,
) -> None: ...  # fmt: skip
def components3d_workspace(
    volumes: int, depth: int, height: int, width: int, connectivity: int, threads: int,
) -> int: ...  # fmt: skip
def components3d(
    mask: int, labels: int, workspace: int,
    volumes: int, depth: int, height: int, width: int, connectivity: int, threads: int,
) -> None: ...  # fmt: skip
def remove_small(
    mask: int, out: int, workspace: int,
    volumes: int, depth: int, height: int, width: int, connectivity: int,
    min_voxels: int, threads: int,
) -> None: ...  # fmt: skip

# of an axis: (index, weight, taps, count, size, stride)
_Axis = tuple[int, int, int, int, int, int]

def separable3d_workspace(axes: list[_Axis], threads: int) -> int: ...
def separable3d(
    x: int, kind: int, axes: list[_Axis], out: int, stride_d: int, stride_h: int,
    workspace: int, threads: int,
) -> None: ...  # fmt: skip
