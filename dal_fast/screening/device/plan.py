"""What must be known of a scan before its chain is launched.

The header and the brain mask are on the host when a scan has been read. From them follow the
model's grid, the mask on it, the box that the networks see, and how each grid lies in the other, as
one small matrix an axis. What is the same for many scans is their :class:`Bucket`: scans of one
bucket go through the chain together, and one CUDA graph serves all of them. What differs travels
as tensors, :class:`Inputs`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dal_fast.imaging.grid import (
    ModelGrid,
    aligned_axes,
    filter_sigmas,
    plan_grid,
    touched_box,
)
from dal_fast.imaging.oblique import gaussian_taps
from dal_fast.imaging.separable import Taps, linear_taps
from dal_fast.models import DAL
from dal_fast.models.fixed import Taken
from dal_fast.screening.postprocess import least_voxels
from dal_fast.screening.scan import Scan
from dal_fast.screening.settings import CONTRASTS

Sides = tuple[int, int, int]
UNKNOWN = -1
"""Of :attr:`Inputs.contrast`: take what the scan looks like."""


@dataclass(frozen=True)
class Bucket:
    """What the scans of a batch have in common.

    Attributes:
        scan: sides of the volume as it is stored, slowest axis first, ``(K, J, I)``.
        model: sides of the model's grid, ``(D, H, W)``.
        crop: sides of the box that the networks see.
        to_model: the axis of the scan that each axis of the model's grid runs along; None where
            the scan lies obliquely.
        to_scan: the same the other way.
        least: voxels of the smallest region.
    """

    scan: Sides
    model: Sides
    crop: Sides
    to_model: Sides | None
    to_scan: Sides | None
    least: int


class Inputs(NamedTuple):
    """Tensors of N scans.

    Attributes:
        scan: float32 ``(N, K, J, I)``.
        brain: bool, the same shape.
        mask: the brain on the model's grid, bool ``(N, 1, D, H, W)``.
        to_model, to_scan: for aligned grids a matrix an axis, ``(N, target side, source side)``;
            for oblique ones a filter along each axis of the source, ``(N, side, side)``, and the
            source's index as an affine function of the target's, ``(N, 3, 4)``.
        crop: the networks' box in the model's grid.
        back: the model's grid in the networks' box.
        contrast: index into ``CONTRASTS``, or ``UNKNOWN``, int64 ``(N,)``.
    """

    scan: Tensor
    brain: Tensor
    mask: Tensor
    to_model: tuple[Tensor, ...]
    to_scan: tuple[Tensor, ...]
    crop: Taken
    back: Taken
    contrast: Tensor


@dataclass(frozen=True, eq=False)
class Plan:
    """Of one scan.

    Attributes:
        bucket: that it belongs to.
        inputs: of N = 1, on the host.
        grid: the model's.
    """

    bucket: Bucket
    inputs: Inputs
    grid: ModelGrid


def plan(scan: Scan, model: DAL, contrast: str | None) -> Plan:
    """Plan the chain of one scan.

    Args:
        scan: with its brain mask.
        model: whose grid and box are planned.
        contrast: of ``CONTRASTS``, where it is known.

    Raises:
        InputError: ``mask-empty``, ``grid-mismatch``.
    """
    volume, brain = scan.volume, scan.mask.data
    grid = plan_grid(volume.data.shape, volume.affine, brain, float(model.config.voxel_mm))
    mask = grid.to_model(brain) >= 0.5
    pads = model.pads(mask)
    i, j, k = volume.data.shape
    stored, affine = (k, j, i), volume.affine[:, [2, 1, 0, 3]]
    to_model, down = _way(stored, affine, grid.shape, grid.affine)
    to_scan, up = _way(grid.shape, grid.affine, stored, affine)
    crop, back = _boxes(grid.shape, pads)
    code = UNKNOWN if contrast is None else CONTRASTS.index(contrast)
    inputs = Inputs(
        _stored(volume.data), _stored(brain), mask, down, up, crop, back, torch.tensor([code])
    )
    d, h, w = (index.shape[1] for index in crop.source)
    least = least_voxels(volume.affine)
    return Plan(Bucket(stored, grid.shape, (d, h, w), to_model, to_scan, least), inputs, grid)


def _stored(data: NDArray[Any]) -> Tensor:
    """``(1, K, J, I)``: as most scans lie in memory."""
    return torch.from_numpy(np.ascontiguousarray(data.T))[None]


def _boxes(sides: Sides, pads: Sequence[int]) -> tuple[Taken, Taken]:
    """Where the networks' box lies in the grid, and the grid in the box; pads as of ``F.pad``."""
    crop, back = [], []
    for axis, side in enumerate(sides):
        before, after = pads[4 - 2 * axis], pads[5 - 2 * axis]
        crop.append(_box(-before, side + before + after, side))
        back.append(_box(before, side, side + before + after))
    return Taken(*_by_kind(crop)), Taken(*_by_kind(back))


def _by_kind(parts: list[tuple[Tensor, Tensor]]) -> list[Any]:
    return [tuple(kind) for kind in zip(*parts, strict=True)]


def _box(start: int, side: int, size: int) -> tuple[Tensor, Tensor]:
    """``side`` voxels of an axis of ``size``, from ``start`` on, and which of them there are."""
    index = torch.arange(start, start + side)[None]
    return index.clamp(0, size - 1), (index >= 0) & (index < size)


def _way(
    shape: Sides, affine: NDArray[Any], target_shape: Sides, target_affine: NDArray[Any]
) -> tuple[Sides | None, tuple[Tensor, ...]]:
    """How one grid is sampled at the centres of another, as :func:`dal_fast.imaging.grid.resample`
    does: the axes of aligned grids, and the tensors of ``Inputs``."""
    transform = np.linalg.solve(affine, target_affine)  # target index -> source index
    half = np.full(3, 0.5)
    box = touched_box(np.linalg.inv(transform), -half, np.array(shape) - half, target_shape, 0)
    inner = box[1] - box[0] + 1  # what of the target lies in the source
    axes = aligned_axes(transform, tuple(int(side) for side in inner))
    if axes is None:
        filters = [
            _matrix(gaussian_taps(size, sigma), size)
            for size, sigma in zip(shape, filter_sigmas(affine, target_affine), strict=True)
        ]
        return None, (*filters, torch.from_numpy(transform[None, :3].astype(np.float32)))
    matrices = []
    for axis, size in enumerate(target_shape):
        scale, source = float(transform[axes[axis], axis]), shape[axes[axis]]
        position = scale * np.arange(size) + transform[axes[axis], 3]
        matrices.append(_matrix(linear_taps(position, abs(scale), source), source))
    return axes, tuple(matrices)


def _matrix(taps: Taps, size: int) -> Tensor:
    """Samples along an axis of ``size`` voxels as a matrix, ``(1, samples, size)``."""
    index = taps.index.long().T
    return torch.zeros(len(index), size).scatter_add_(1, index, taps.weight.T)[None]


def stack(inputs: Sequence[Inputs], pinned: bool = False) -> Inputs:
    """One batch of several scans of a bucket, each copied once.

    Args:
        inputs: of the scans.
        pinned: into memory from which a GPU can copy by itself.
    """
    return Inputs(*(_stacked(list(part), pinned) for part in zip(*inputs, strict=True)))


def _stacked(parts: list[Any], pinned: bool) -> Any:
    if isinstance(parts[0], Tensor):
        sides = (sum(len(part) for part in parts), *parts[0].shape[1:])
        return torch.cat(parts, out=torch.empty(sides, dtype=parts[0].dtype, pin_memory=pinned))
    inner = [_stacked(list(part), pinned) for part in zip(*parts, strict=True)]
    return Taken(*inner) if isinstance(parts[0], Taken) else tuple(inner)


def tree(change: Any, parts: Any) -> Any:
    """The tensors of nested named tuples changed alike."""
    if isinstance(parts, Tensor):
        return change(parts)
    made = [tree(change, part) for part in parts]
    return type(parts)(*made) if hasattr(parts, "_fields") else tuple(made)


def bytes_of(bucket: Bucket) -> int:
    """About what one scan of a bucket takes on the device, without the networks' activations."""
    scan, model, crop = (math.prod(sides) for sides in (bucket.scan, bucket.model, bucket.crop))
    return 4 * (8 * scan + 24 * model + 60 * crop)
