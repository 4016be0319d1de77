"""Binary erosion and dilation along the axes of volumes ``(1, 1, D, H, W)``, bool."""

from __future__ import annotations

import torch
from torch import Tensor


def shrunk(mask: Tensor, axis: int) -> Tensor:
    """What is inside with both neighbours along an axis; beyond the volume is outside."""
    result = torch.zeros_like(mask)
    inner = mask.shape[axis] - 2
    if inner > 0:
        both = mask.narrow(axis, 0, inner) & mask.narrow(axis, 2, inner)
        torch.logical_and(both, mask.narrow(axis, 1, inner), out=result.narrow(axis, 1, inner))
    return result


def without_rim(mask: Tensor, voxels: int) -> Tensor:
    """What is further than ``voxels`` from all that is outside (26-neighbourhood)."""
    for axis in (2, 3, 4) * voxels:
        mask = shrunk(mask, axis)
    return mask


def grown(mask: Tensor, voxels: int) -> Tensor:
    """What is inside, or within ``voxels`` of it along every axis (a cube)."""
    for axis in (2, 3, 4):
        left = min(voxels, mask.shape[axis] - 1)
        reached = 0
        while left > 0:
            shift = min(left, reached + 1)  # leaves no gap, also beside the border
            size = mask.shape[axis] - shift
            wider = mask.clone()
            wider.narrow(axis, shift, size).logical_or_(mask.narrow(axis, 0, size))
            wider.narrow(axis, 0, size).logical_or_(mask.narrow(axis, shift, size))
            mask, left, reached = wider, left - shift, reached + shift
    return mask
