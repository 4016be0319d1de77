"""The compiled kernels: addresses of contiguous tensors in, results in place."""

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

class SsimProblem:
    def __init__(
        self, volumes: int, depth: int, height: int, width: int, weights: int, radius: int,
        c1: float, c2: float, dtype: int, threads: int,
    ) -> None: ...  # fmt: skip
    def workspace_bytes(self) -> int: ...
    def set_workspace(self, workspace: int) -> None: ...

def ssim_map(x: int, y: int, out: int, hybrid: bool, problem: SsimProblem) -> None: ...
def ssim_sums(x: int, y: int, sums: int, fields: int, problem: SsimProblem) -> None: ...
def ssim_fields(x: int, y: int, grad: int, fields: int, problem: SsimProblem) -> None: ...
def ssim_backward(
    x: int, y: int, fields: int, scale: float, l1: float, grad_x: int, grad_y: int,
    problem: SsimProblem,
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
