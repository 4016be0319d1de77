"""The compiled kernels: addresses of contiguous tensors in, results in place.

Everything is passed by keyword: a depth cannot be taken for a height, nor an input for an output.
Addresses are integers (``Tensor.data_ptr()``), 0 for none. ``dtype`` is a code of
``ops._checks.DTYPE_CODES``. What each argument is stands in ``kernels/<op>/<op>.h``.

``where`` says where a function runs: the number of threads for ``cpu``, ``(device, stream)`` for
``cuda``.
"""

from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

_Where_contra = TypeVar("_Where_contra", contravariant=True)

def current_isa() -> str: ...
def set_isa(name: str) -> None: ...
def supported_isas() -> list[str]: ...

class ChainError(Exception):
    """What the chain refuses or fails with: a status of ``dal_fast.h``, a code, a message."""

def has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 itself."""

class Chain:
    """The chain of a whole scan: see ``csrc/bind_screen.h``."""

    def __init__(self, *, bundle: bytes, engine: str, engine_path: str, threads: int) -> None: ...
    def fact(self, name: str) -> str | None: ...
    def load(self, *, extraction: bool, screening: bool) -> None: ...
    def run(
        self, *, scan: NDArray[np.float32], affine: list[float], mask: NDArray[np.bool_] | None,
        contrast: int, threshold: float, brain_only: bool,
    ) -> dict[str, Any]: ...  # fmt: skip
    def brain(self) -> tuple[bool, float, float, float, float, float, int, bool, float]: ...

class OnehotShape:
    def __init__(self, *, batch: int, classes: int, voxels: int) -> None: ...

class SsimProblem:
    """``volumes`` is N * C; ``weights`` the address of ``radius + 1`` doubles on the host."""

    def __init__(
        self, *, volumes: int, depth: int, height: int, width: int,
        weights: int, radius: int, c1: float, c2: float, dtype: int,
    ) -> None: ...  # fmt: skip

class CannyInput:
    """With ``levels`` (doubles on the host) the ``values`` are logits of ``channels`` classes."""

    def __init__(
        self, *, values: int, levels: int, mask: int,
        batch: int, channels: int, depth: int, height: int, width: int, dtype: int,
    ) -> None: ...  # fmt: skip

class CannyParameters:
    """``taps`` is the address of ``radius + 1`` doubles on the host."""

    def __init__(self, *, taps: int, radius: int, low: float, high: float) -> None: ...

class Median3dShape:
    def __init__(
        self, *, batch: int, channels: int, depth: int, height: int, width: int, size: int
    ) -> None: ...

class Components3dShape:
    def __init__(
        self, *, volumes: int, depth: int, height: int, width: int, connectivity: int
    ) -> None: ...

class Tfce3dProblem:
    def __init__(
        self, *, volumes: int, depth: int, height: int, width: int, connectivity: int,
        extent_power: float, height_power: float,
    ) -> None: ...  # fmt: skip

class ScoreBins:
    def __init__(self, *, base: int, shift: int, bins: int) -> None: ...

class AxisTaps:
    """``index`` and ``weight`` are ``(taps, count)``; ``size`` and ``stride`` are the source's."""

    def __init__(
        self, *, index: int, weight: int, taps: int, count: int, size: int, stride: int
    ) -> None: ...

class ObliqueAxis:
    """``size`` and ``stride`` of a source's axis; ``offset`` and steps of positions along it."""

    def __init__(
        self, *, size: int, stride: int, offset: float, step_d: float, step_h: float, step_w: float
    ) -> None: ...

class Compared:
    """Addresses of one scan's volumes, as ``kernels/residual/residual.h`` names them."""

    def __init__(
        self, *, x: int, phi: int, fluid: int, highest: int, lowest: int, spread: int, mask: int
    ) -> None: ...  # fmt: skip

class Signed:
    """How one sign is scored, see ``csrc/chain/enhance.h``; ``usual`` is an address."""

    def __init__(
        self, *, sign: float, smoothed: bool, level: float, usual: int
    ) -> None: ...  # fmt: skip

class SignCalibration:
    """What healthy brains show of one sign, see ``csrc/chain/anomaly.h``; ``usual`` an address."""

    def __init__(
        self, *, threshold: float, peak: float, peak_sd: float, usual: int
    ) -> None: ...  # fmt: skip

class Kernels(Protocol[_Where_contra]):
    """The functions of one engine."""

    def onehot_forward(
        self, *, logits: int, levels: int, mask: int, out: int,
        shape: OnehotShape, dtype: int, where: _Where_contra,
    ) -> None: ...  # fmt: skip
    def onehot_backward(
        self, *, logits: int, grad_out: int, levels: int, mask: int, grad_logits: int,
        shape: OnehotShape, temperature: float, dtype: int, where: _Where_contra,
    ) -> None: ...  # fmt: skip
    def ssim_workspace(self, *, problem: SsimProblem, where: _Where_contra) -> int: ...
    def ssim_map(
        self, *, x: int, y: int, out: int, hybrid: bool,
        problem: SsimProblem, workspace: int, where: _Where_contra,
    ) -> None: ...  # fmt: skip
    def ssim_sums(
        self, *, x: int, y: int, sums: int, fields: int,
        problem: SsimProblem, workspace: int, where: _Where_contra,
    ) -> None: ...  # fmt: skip
    def ssim_fields(
        self, *, x: int, y: int, grad: int, fields: int,
        problem: SsimProblem, workspace: int, where: _Where_contra,
    ) -> None: ...  # fmt: skip
    def ssim_backward(
        self, *, x: int, y: int, fields: int, upstream: int, scale: float, l1: float,
        grad_x: int, grad_y: int, problem: SsimProblem, workspace: int, where: _Where_contra,
    ) -> None: ...  # fmt: skip
    def canny3d_workspace(
        self, *, input: CannyInput, radius: int, where: _Where_contra
    ) -> int: ...  # fmt: skip
    def canny3d(
        self, *, input: CannyInput, parameters: CannyParameters,
        workspace: int, edges: int, where: _Where_contra,
    ) -> None: ...  # fmt: skip
    def score_histogram_workspace(self, *, bins: int, where: _Where_contra) -> int: ...
    def score_pages(
        self, *, score: int, mask: int, voxels: int, pages: int, nans: int,
        dtype: int, where: _Where_contra,
    ) -> None: ...  # fmt: skip
    def score_histogram(
        self, *, score: int, target: int, mask: int, voxels: int, bins: ScoreBins, segment: int,
        workspace: int, counts: int, span: int, dtype: int, where: _Where_contra,
    ) -> None: ...  # fmt: skip
    def median3d_workspace(
        self, *, shape: Median3dShape, dtype: int, where: _Where_contra
    ) -> int: ...  # fmt: skip
    def median3d(
        self, *, x: int, mask: int, out: int, workspace: int,
        shape: Median3dShape, dtype: int, where: _Where_contra,
    ) -> None: ...  # fmt: skip
    def components3d_workspace(
        self, *, shape: Components3dShape, where: _Where_contra
    ) -> int: ...  # fmt: skip
    def components3d(
        self, *, mask: int, labels: int, workspace: int,
        shape: Components3dShape, where: _Where_contra,
    ) -> None: ...  # fmt: skip
    def remove_small(
        self, *, mask: int, out: int, workspace: int,
        shape: Components3dShape, min_voxels: int, where: _Where_contra,
    ) -> None: ...  # fmt: skip

class CpuKernels(Kernels[int], Protocol):
    """``where`` is the number of threads."""

    def tfce3d_workspace(
        self, *, problem: Tfce3dProblem, dtype: int, where: int
    ) -> int: ...  # fmt: skip
    def tfce3d(
        self, *, x: int, mask: int, out: int, workspace: int,
        problem: Tfce3dProblem, dtype: int, where: int,
    ) -> None: ...  # fmt: skip
    def separable3d_workspace(self, *, axes: list[AxisTaps], where: int) -> int: ...
    def separable3d(
        self, *, x: int, kind: int, axes: list[AxisTaps], stride_d: int, stride_h: int,
        out: int, workspace: int, where: int,
    ) -> None: ...  # fmt: skip
    def oblique3d(
        self, *, x: int, kind: int, axes: list[ObliqueAxis], shape: tuple[int, int, int],
        stride_d: int, stride_h: int, nearest: bool, out: int, where: int,
    ) -> None: ...  # fmt: skip
    def selection_workspace(self, *, where: int) -> int: ...
    def selection_counts(self, *, x: int, mask: int, n: int, where: int) -> list[int]: ...
    def selection_kth(
        self, *, x: int, mask: int, n: int, k: int, positive: bool, workspace: int, where: int
    ) -> float: ...  # fmt: skip
    def highest_nearby_workspace(self, *, shape: tuple[int, int, int], where: int) -> int: ...
    def highest_nearby(
        self, *, x: int, mask: int, sign: float, out: int, shape: tuple[int, int, int],
        workspace: int, where: int,
    ) -> None: ...  # fmt: skip
    def usual_spread_workspace(self, *, voxels: int, where: int) -> int: ...
    def usual_spread(
        self, *, x: int, phi: int, p: int, mask: int, tissues: int, voxels: int,
        out: int, spreads: int, workspace: int, where: int,
    ) -> None: ...  # fmt: skip
    def lay_atlas_workspace(
        self, *, tissues: int, atlas_shape: tuple[int, int, int], shape: tuple[int, int, int],
        where: int,
    ) -> int: ...  # fmt: skip
    def lay_atlas(
        self, *, atlas: int, tissues: int, atlas_shape: tuple[int, int, int], mask: int,
        shape: tuple[int, int, int], out: int, workspace: int, where: int,
    ) -> None: ...  # fmt: skip
    def tissue_evidence_workspace(
        self, *, tissues: int, atlas_shape: tuple[int, int, int], shape: tuple[int, int, int],
        where: int,
    ) -> int: ...  # fmt: skip
    def tissue_evidence(
        self, *, x: int, mask: int, atlas: int, tissues: int, atlas_shape: tuple[int, int, int],
        shape: tuple[int, int, int], out: int, means: int, spreads: int, workspace: int, where: int,
    ) -> None: ...  # fmt: skip
    def tissue_probabilities(
        self, *, evidence: int, output: int, mask: int, tissues: int, voxels: int,
        logits: int, p: int, fluid: int, where: int,
    ) -> None: ...  # fmt: skip
    def closed_form_workspace(
        self, *, shape: tuple[int, int, int], tissues: int, where: int
    ) -> int: ...  # fmt: skip
    def closed_form(
        self, *, x: int, p: int, mask: int, tissues: int, shape: tuple[int, int, int],
        image: int, bias: int, means: int, workspace: int, where: int,
    ) -> None: ...  # fmt: skip
    def residual_evidence_workspace(self, *, shape: tuple[int, int, int], where: int) -> int: ...
    def residual_evidence(
        self, *, scan: Compared, p: int, out: int, shape: tuple[int, int, int],
        workspace: int, where: int,
    ) -> None: ...  # fmt: skip
    def abnormal_probability(
        self, *, logit: int, mask: int, out: int, shape: tuple[int, int, int], where: int
    ) -> None: ...  # fmt: skip
    def structural_difference_workspace(
        self, *, shape: tuple[int, int, int], where: int
    ) -> int: ...  # fmt: skip
    def structural_difference(
        self, *, x: int, phi: int, fluid: int, mask: int, out: int, shape: tuple[int, int, int],
        workspace: int, where: int,
    ) -> None: ...  # fmt: skip
    def enhanced_workspace(self, *, shape: tuple[int, int, int], where: int) -> int: ...
    def enhanced(
        self, *, scan: Compared, structure: int, evidence: int, sign: Signed, out: int,
        shape: tuple[int, int, int], workspace: int, where: int,
    ) -> None: ...  # fmt: skip
    def plan_model_grid(
        self, *, size: tuple[int, ...], stride: tuple[int, ...], affine: list[float], mask: int,
        voxel_mm: float,
    ) -> tuple[tuple[int, int, int], list[float]] | None: ...  # fmt: skip
    def resample_workspace(
        self, *, size: tuple[int, ...], stride: tuple[int, ...], affine: list[float],
        shape: tuple[int, int, int], target_affine: list[float], nearest: bool, where: int,
    ) -> int: ...  # fmt: skip
    def resample(
        self, *, x: int, kind: int, size: tuple[int, ...], stride: tuple[int, ...],
        affine: list[float], shape: tuple[int, int, int], target_affine: list[float],
        nearest: bool, out: int, workspace: int, where: int,
    ) -> None: ...  # fmt: skip
    def anomaly_map_workspace(self, *, shape: tuple[int, int, int], where: int) -> int: ...
    def anomaly_map(
        self, *, scan: Compared, evidence: int, contrast: int, thresholds: tuple[float, float],
        usual_structure: int, bright: SignCalibration, dark: SignCalibration, out: int,
        shape: tuple[int, int, int], workspace: int, where: int,
    ) -> tuple[list[float], int]: ...  # fmt: skip
    def top_mean_workspace(self, *, voxels: int, share: float) -> int: ...
    def top_mean(
        self, *, x: int, mask: int, voxels: int, share: float, workspace: int
    ) -> float: ...
    def tissue_labels(self, *, p: int, mask: int, out: int, voxels: int, where: int) -> None: ...
    def least_voxels(self, *, affine: list[float]) -> int: ...
    def anomaly_mask_workspace(self, *, shape: tuple[int, int, int], where: int) -> int: ...
    def anomaly_mask(
        self, *, anomaly: int, threshold: float, least: int, out: int,
        shape: tuple[int, int, int], workspace: int, where: int,
    ) -> None: ...  # fmt: skip
    def region_table_workspace(
        self, *, shape: tuple[int, int, int], least: int, where: int
    ) -> int: ...  # fmt: skip
    def region_table(
        self, *, anomaly: int, mask: int, affine: list[float], least: int, capacity: int,
        shape: tuple[int, int, int], workspace: int, where: int,
    ) -> tuple[list[tuple[float, float, float, tuple[float, float, float]]], int]: ...  # fmt: skip
    def cover_head(
        self, *, scan_shape: tuple[int, int, int], scan_affine: list[float], voxel_mm: float
    ) -> tuple[list[int], list[float]]: ...  # fmt: skip
    def place_head_workspace(self, *, sides: list[int], shape: tuple[int, int, int]) -> int: ...
    def place_head(
        self, *, whole: int, sides: list[int], affine: list[float], voxel_mm: float,
        shape: tuple[int, int, int], out: int, workspace: int, where: int,
    ) -> list[float]: ...  # fmt: skip
    def distance_to_faces(
        self, *, affine: list[float], shape: tuple[int, int, int],
        scan_shape: tuple[int, int, int], scan_affine: list[float], out: int,
    ) -> None: ...  # fmt: skip
    def brain_distance_workspace(self, *, shape: tuple[int, int, int], where: int) -> int: ...
    def brain_distance(
        self, *, first: int, mirrored: int, faces: int, voxel_mm: float, clean: int,
        shape: tuple[int, int, int], workspace: int, where: int,
    ) -> tuple[bool, float, float, float, float, float, int, bool]: ...  # fmt: skip
    def judge_brain(
        self, *, confidence: float, sphericity: float, unusual: int, cut: bool, millilitres: float
    ) -> int: ...  # fmt: skip

class CudaKernels(Kernels[tuple[int, int]], Protocol):
    """``where`` is the index of the device and the address of the stream."""

    device_type: str
    def why_not(self, device: int) -> str: ...
    def highest_nearby(
        self, *, x: int, mask: int, sign: float, out: int, volumes: int, depth: int, height: int,
        width: int, where: tuple[int, int],
    ) -> None: ...  # fmt: skip
    def box_mean(
        self, *, x: int, step: int, out: int, volumes: int, depth: int, height: int, width: int,
        where: tuple[int, int],
    ) -> None: ...  # fmt: skip
    def signed_residual(
        self, *, x: int, phi: int, limit: int, fluid: int, spread: int, usual: int, mask: int,
        sign: float, usual_least: float, out: int, voxels: int, where: tuple[int, int],
    ) -> None: ...  # fmt: skip
    def cluster_heights(
        self, *, r: int, smooth: int, structure: int, evidence: int, smoothed: int, least: float,
        out: int, volumes: int, voxels: int, where: tuple[int, int],
    ) -> None: ...  # fmt: skip
    def instance_norm_workspace(
        self, *, volumes: int, channels: int, voxels: int, channels_last: bool
    ) -> int: ...  # fmt: skip
    def instance_norm(
        self, *, x: int, gain: int, shift: int, y: int, workspace: int, volumes: int,
        channels: int, voxels: int, channels_last: bool, eps: float, slope: float, dtype: int,
        where: tuple[int, int],
    ) -> None: ...  # fmt: skip
    def row_medians_workspace(self, *, rows: int, n: int) -> int: ...
    def row_medians(
        self, *, x: int, rows: int, n: int, medians: int, workspace: int, where: tuple[int, int]
    ) -> None: ...  # fmt: skip
    def tfce3d_workspace(self, *, problem: Tfce3dProblem) -> int: ...
    def tfce3d_branches(
        self, *, x: int, order: int, branches: int, workspace: int,
        problem: Tfce3dProblem, dtype: int, where: tuple[int, int],
    ) -> None: ...  # fmt: skip
    def tfce3d_sums(
        self, *, x: int, order: int, branches: int, ranks: int, out: int, workspace: int,
        problem: Tfce3dProblem, dtype: int, where: tuple[int, int],
    ) -> None: ...  # fmt: skip

cpu: CpuKernels
cuda: CudaKernels
"""Only in a build with CUDA."""
