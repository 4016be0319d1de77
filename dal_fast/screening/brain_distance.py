"""From the predicted distance to the brain's border to a clean one, and how far to trust it.

Everything happens on the network's grid, ``(1, 1, D, H, W)``. Brought back to the scan's grid by
linear interpolation, the clean distance is positive inside the brain, with a border finer than the
network's voxels. That step makes neither a second component nor a hole: between the voxels of a
grid, linear interpolation has no extremes of its own.

The limits are ours.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dal_fast.imaging.mask import sphericity
from dal_fast.imaging.mask_origin import MaskQuality
from dal_fast.ops import components3d

AGREEMENT, SHARPNESS, SPHERICITY = (0.8, 0.98), (0.0, 0.65), (0.4, 0.75)
"""Where each measure of a mask counts as confidence 0, and from where on as 1."""
LEAST_SHARP = 10
"""One border voxel in so many is less sharp than what is called the border's sharpness. On
synthetic heads this lower decile goes with Dice better than the median does."""


def clean_distance(distance: Tensor) -> Tensor | None:
    """The distance with the sign of its largest component, holes filled; ``None`` without any.

    Args:
        distance: ``(1, 1, D, H, W)`` float32 millimetres, positive inside.
    """
    labels = components3d(distance > 0, connectivity=6)
    sizes = labels.flatten().bincount()[1:]
    if len(sizes) == 0:
        return None
    largest = labels == 1 + int(sizes.argmax())
    empty = components3d(F.pad(~largest, [1] * 6, value=True), connectivity=6)
    inside = (empty != empty[0, 0, 0, 0, 0])[..., 1:-1, 1:-1, 1:-1]
    size = distance.abs()
    return torch.where(inside, size, -size)


def mask_quality(first: Tensor, mirrored: Tensor, clean: Tensor, voxel_mm: float) -> MaskQuality:
    """How far a mask can be trusted.

    Args:
        first, mirrored: the distances that were predicted for a head and, mirrored back, for its
            mirror image, ``(1, 1, D, H, W)`` millimetres.
        clean: the clean distance of the two's mean.
        voxel_mm: side of a voxel.
    """
    agreement = _dice(first > 0, mirrored > 0)
    sharpness = _slope((first + mirrored) / 2, clean.abs() < voxel_mm, voxel_mm)
    shape = sphericity((clean[0, 0] > 0).numpy(), (voxel_mm, voxel_mm, voxel_mm))
    measures = ((agreement, AGREEMENT), (sharpness, SHARPNESS), (shape, SPHERICITY))
    confidence = min(_ramp(value, *limits) for value, limits in measures)
    return MaskQuality(confidence, agreement, sharpness, shape)


def _dice(a: Tensor, b: Tensor) -> float:
    both = int(torch.count_nonzero(a & b))
    return 2 * both / max(1, int(torch.count_nonzero(a)) + int(torch.count_nonzero(b)))


def _slope(distance: Tensor, border: Tensor, voxel_mm: float) -> float:
    """Lower decile of the gradient's length at the border, without the volume's own edge."""
    field = distance[0, 0]
    at = border[0, 0, 1:-1, 1:-1, 1:-1].nonzero() + 1
    if len(at) == 0:
        return 0.0
    steps = torch.eye(3, dtype=at.dtype)
    ahead, behind = (
        torch.stack([field[tuple((at + way * step).T)] for step in steps]) for way in (1, -1)
    )
    lengths = ((ahead - behind) / (2 * voxel_mm)).norm(dim=0)
    return float(lengths.kthvalue(1 + (len(lengths) - 1) // LEAST_SHARP).values)


def _ramp(value: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (value - low) / (high - low)))
