"""Between a scan's own grid and the model's: axis-aligned RAS, isotropic, a multiple of 16.

Tensor axes are (1, 1, D, H, W): D runs to the patient's right, H anterior, W superior, so that
``tensor[0, 0, d, h, w]`` is the voxel (d, h, w) of an image in RAS orientation.

When every scan axis lies along a world axis (any permutation and flip), resampling is separable
(:mod:`dal_fast.imaging.separable`). Oblique scans take a Gaussian of the variance (r² − 1)/6 that
is still missing along each of their own axes, then trilinear sampling
(:mod:`dal_fast.imaging.oblique`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dal_fast import arrays
from dal_fast.errors import Code, InputError
from dal_fast.imaging.morphology import outermost_voxels
from dal_fast.imaging.nifti import Volume
from dal_fast.imaging.oblique import gaussian_taps, sample_oblique
from dal_fast.imaging.separable import linear_taps, nearest_taps, readable, sample_separable
from dal_fast.ops import _image_stages as stages

MULTIPLE = 16
"""Sides of the model grid: what four halvings need."""
MARGIN_MM = 6.0
"""Background kept around the brain."""
Mode = Literal["linear", "nearest"]

_ALIGNED_VOXELS = 0.1
"""Axes count as aligned when no voxel is further than this, in voxels, from where it would be."""


@dataclass(frozen=True, eq=False)
class ModelGrid:
    """The model's grid, the scan's grid, and resampling from either to the other.

    Attributes:
        shape: (D, H, W) of the model grid.
        affine: (4, 4) float64, model index to world millimetres, diagonal and positive.
        scan_shape: (I, J, K).
        scan_affine: (4, 4) float64.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    scan_shape: tuple[int, int, int]
    scan_affine: NDArray[np.float64]

    def to_model(self, data: NDArray[np.generic] | Tensor, mode: Mode = "linear") -> Tensor:
        """(I, J, K) on the scan's grid to (1, 1, D, H, W) float32; 0 outside the scan."""
        x = torch.as_tensor(data)
        if tuple(x.shape) != self.scan_shape:
            raise InputError(Code.GRID_MISMATCH, f"{tuple(x.shape)} is not {self.scan_shape}")
        return resample(x, self.scan_affine, self.shape, self.affine, mode)[None, None]

    def to_scan(self, tensor: Tensor, mode: Mode = "linear") -> NDArray[np.float32]:
        """(1, 1, D, H, W) back to (I, J, K) on the scan's own grid; 0 outside the model grid.

        In Fortran order, as scans are stored.
        """
        if tuple(tensor.shape) != (1, 1, *self.shape):
            raise InputError(
                Code.GRID_MISMATCH, f"{tuple(tensor.shape)} is not (1, 1, *{self.shape})"
            )
        x = tensor.detach()[0, 0].cpu()
        i, j, k = self.scan_shape
        out = resample(x, self.affine, (k, j, i), self.scan_affine[:, [2, 1, 0, 3]], mode)
        array: NDArray[np.float32] = out.numpy().T
        return array


@dataclass(frozen=True, eq=False)
class ResampledVolume:
    """A scan on the model grid.

    Attributes:
        image: (1, 1, D, H, W) float32, in the scan's intensities.
        mask: (1, 1, D, H, W) bool, at least half inside the scan's mask; ``None`` without one.
        grid: for bringing maps back to the scan's grid.
    """

    image: Tensor
    mask: Tensor | None
    grid: ModelGrid


def to_model_grid(
    volume: Volume, mask: NDArray[np.bool_] | None = None, voxel_mm: float = 2.0
) -> ResampledVolume:
    """Bring a scan onto the model grid around its brain.

    Args:
        volume: the scan.
        mask: (I, J, K) bool brain mask on the scan's grid; without one the whole field of view.
        voxel_mm: side of the model's voxels, millimetres.
    """
    grid = plan_grid(volume.data.shape, volume.affine, mask, voxel_mm)
    image = grid.to_model(volume.data)
    if mask is None:
        return ResampledVolume(image, None, grid)
    return ResampledVolume(image, grid.to_model(mask) >= 0.5, grid)


def plan_grid(
    scan_shape: tuple[int, ...],
    scan_affine: NDArray[np.float64],
    mask: NDArray[np.bool_] | None = None,
    voxel_mm: float = 2.0,
) -> ModelGrid:
    """The model grid of a scan: the mask's box and a margin, padded to a multiple of 16.

    Along an aligned axis the grid starts on the centre of a scan voxel, so that a scan which
    already has the model's voxel size is cropped and padded, not interpolated.

    Raises:
        InputError: ``value`` for a voxel size that is not positive, ``mask-empty``,
            ``grid-mismatch`` for a mask of another shape.
    """
    if not voxel_mm > 0:
        raise InputError(Code.VALUE, f"voxel_mm must be positive, not {voxel_mm}")
    if mask is not None and mask.shape != tuple(scan_shape):
        raise InputError(
            Code.GRID_MISMATCH, f"mask {mask.shape} and scan {tuple(scan_shape)} differ"
        )
    i, j, k = scan_shape
    if stages.enabled():
        plan = stages.plan_model_grid((i, j, k), scan_affine, mask, voxel_mm)
        if plan is None:
            raise _empty_mask()
        return ModelGrid(*plan, (i, j, k), scan_affine)
    corners = _box_points(tuple(scan_shape), mask)
    world = corners @ scan_affine[:3, :3].T + scan_affine[:3, 3]
    # wide enough that starting on a scan voxel's centre, below, cuts nothing off
    margin = max(MARGIN_MM, float(np.linalg.norm(scan_affine[:3, :3], axis=0).sum()) / 2)
    low, high = world.min(0) - margin, world.max(0) + margin
    count = np.floor((high - low) / voxel_mm + 1e-6).astype(int) + 1
    sides = -(-count // MULTIPLE) * MULTIPLE
    origin = (low + high - (sides - 1) * voxel_mm) / 2
    # the scan voxel nearest to the origin: on aligned axes the grids share that voxel's centre
    nearest = np.linalg.solve(scan_affine[:3, :3], origin - scan_affine[:3, 3])
    nearest = np.rint(nearest.round(6))  # rounding errors do not choose between two
    origin = scan_affine[:3, :3] @ nearest + scan_affine[:3, 3]
    affine = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
    affine[:3, 3] = origin
    d, h, w = (int(side) for side in sides)
    return ModelGrid((d, h, w), affine, (i, j, k), scan_affine)


def _box_points(shape: tuple[int, ...], mask: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    """Voxel indices (P, 3) whose extremes along any direction are the mask's, or the image's."""
    if mask is None:
        ends = [(0, size - 1) for size in shape]
        return np.array(np.meshgrid(*ends)).reshape(3, -1).T.astype(np.float64)
    voxels = outermost_voxels(mask)
    if len(voxels) == 0:
        raise _empty_mask()
    return voxels.astype(np.float64)


def _empty_mask() -> InputError:
    return InputError(Code.MASK_EMPTY, "the brain mask has no voxel")


def resample(
    x: Tensor,
    affine: NDArray[Any],
    shape: tuple[int, int, int],
    target_affine: NDArray[Any],
    mode: Mode = "linear",
) -> Tensor:
    """Sample (I, J, K) voxels at the centres of another grid; 0 beyond half a voxel outside.

    The same bits for any number of threads.

    Args:
        x: (I, J, K) finite values, any dtype and strides, CPU.
        affine: (4, 4) of ``x``.
        shape: of the result.
        target_affine: (4, 4) of the result.
        mode: ``"linear"`` with anti-aliasing, or ``"nearest"`` for labels.

    Returns:
        float32 of ``shape``, contiguous.
    """
    if mode not in ("linear", "nearest"):
        raise InputError(Code.VALUE, f"mode must be 'linear' or 'nearest', not {mode!r}")
    if stages.enabled():
        data = readable(x)[0].detach().numpy()
        nearest = mode == "nearest"
        return torch.from_numpy(arrays.resample(data, affine, shape, target_affine, nearest))
    # scans are stored in Fortran order: go on with the axes in the order of memory
    order = sorted(range(3), key=lambda axis: -x.stride()[axis])
    x, affine = x.permute(order), affine[:, [*order, 3]]
    transform = np.linalg.solve(affine, target_affine)  # target index -> source index
    half = np.full(3, 0.5)
    target = touched_box(np.linalg.inv(transform), -half, np.array(x.shape) - half, shape, 0)
    first, last = target
    if (last < first).any():
        return torch.zeros(shape)
    spacing = np.linalg.norm(transform[:3, :3], axis=0).max()
    source = touched_box(transform, first, last, tuple(x.shape), 2 * max(1.0, spacing) + 2)
    moved = transform.copy()  # from the target's box to the source's
    moved[:3, 3] += transform[:3, :3] @ first - source[0]
    x = x[_slices(*source)]
    inner = tuple(int(size) for size in last - first + 1)
    out = torch.empty(shape) if inner == shape else torch.zeros(shape)
    axes = aligned_axes(moved, inner)
    if axes is None:
        if mode == "linear":
            x = _prefilter(x, affine, target_affine)
        sample_oblique(x, moved, out[_slices(*target)], mode == "nearest")
    else:
        _separable(x, moved, axes, out[_slices(*target)], mode)
    return out


def touched_box(
    transform: NDArray[Any],
    low: NDArray[Any],
    high: NDArray[Any],
    shape: tuple[int, ...],
    reach: float,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """First and last index, within ``shape``, that a transformed box and its reach touch."""
    corners = np.array(np.meshgrid(*zip(low, high, strict=True))).reshape(3, -1)
    points = transform[:3, :3] @ corners + transform[:3, 3:]
    first = np.maximum(np.floor(points.min(1) - reach), 0)
    last = np.minimum(np.ceil(points.max(1) + reach), np.array(shape) - 1)
    return first.astype(np.int64), last.astype(np.int64)


def _slices(first: NDArray[Any], last: NDArray[Any]) -> tuple[slice, ...]:
    return tuple(slice(int(a), int(b) + 1) for a, b in zip(first, last, strict=True))


def aligned_axes(transform: NDArray[Any], shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """Source axis that each target axis runs along; ``None`` when the grids are oblique."""
    matrix = np.abs(transform[:3, :3])
    a, b, c = (int(row) for row in matrix.argmax(0))
    if {a, b, c} != {0, 1, 2}:
        return None
    matrix[[a, b, c], [0, 1, 2]] = 0
    drift = matrix @ np.array(shape)  # source voxels, over the whole grid
    return (a, b, c) if drift.max() <= _ALIGNED_VOXELS else None


def _separable(
    x: Tensor, transform: NDArray[Any], axes: tuple[int, int, int], out: Tensor, mode: Mode
) -> None:
    """Samples of ``x`` into ``out``, whose axes run along ``axes`` of ``x``."""
    taps = []
    for axis, size in enumerate(out.shape):
        scale, offset = float(transform[axes[axis], axis]), transform[axes[axis], 3]
        position = scale * np.arange(size) + offset
        if mode == "nearest":
            taps.append(nearest_taps(position, x.shape[axes[axis]]))
        else:
            taps.append(linear_taps(position, abs(scale), x.shape[axes[axis]]))
    sample_separable(x.permute(axes), taps, out)


def _prefilter(x: Tensor, affine: NDArray[Any], target_affine: NDArray[Any]) -> Tensor:
    """Remove what the target grid cannot hold, along each of the source's own axes.

    The spacing that counts along a source axis is that of the target axis closest to it.
    """
    sigma = filter_sigmas(affine, target_affine)
    if not any(sigma):
        return x
    out = torch.empty(x.shape)
    taps = [gaussian_taps(n, s) for n, s in zip(x.shape, sigma, strict=True)]
    sample_separable(x, taps, out)
    return out


def filter_sigmas(affine: NDArray[Any], target_affine: NDArray[Any]) -> list[float]:
    """Of the Gaussian that an oblique target asks for along each axis of the source, in voxels; 0
    for none."""
    size, target_size = (np.linalg.norm(a[:3, :3], axis=0) for a in (affine, target_affine))
    cosine = (affine[:3, :3] / size).T @ (target_affine[:3, :3] / target_size)
    spacing = target_size[np.abs(cosine).argmax(1)] / size
    sigma = np.sqrt(np.maximum(spacing**2 - 1, 0) / 6)
    sigma[spacing <= 1 + 1e-6] = 0
    return [float(s) for s in sigma]
