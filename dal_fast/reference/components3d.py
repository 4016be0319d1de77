"""Reference of the connected components: the smallest voxel index spreads until nothing changes."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

STEPS = {6: 1, 18: 2, 26: 3}
"""Along how many axes a neighbour may differ, by connectivity."""


def _neighbours(connectivity: int) -> list[tuple[int, int, int]]:
    steps = product((-1, 0, 1), repeat=3)
    return [s for s in steps if 0 < sum(map(abs, s)) <= STEPS[connectivity]]


def _label(mask: Tensor, connectivity: int) -> Tensor:
    """``mask`` ``(D, H, W)`` → int32 labels 1..K in raster order of each component's first voxel."""
    depth, height, width = mask.shape
    none = mask.numel()
    index = torch.arange(none, device=mask.device).view(mask.shape)
    # smallest known voxel index of the same component; beyond the border and outside: none
    first = torch.full((depth + 2, height + 2, width + 2), none, device=mask.device)
    inner = first[1:-1, 1:-1, 1:-1]
    inner.copy_(torch.where(mask, index, none))
    while True:
        best = inner.clone()
        for z, y, x in _neighbours(connectivity):
            window = first[1 + z : 1 + z + depth, 1 + y : 1 + y + height, 1 + x : 1 + x + width]
            best = torch.minimum(best, window)
        best = best[mask]
        best = inner.flatten()[best]  # the voxel found may know a smaller one
        if torch.equal(best, inner[mask]):
            break
        inner[mask] = best
    labels = torch.zeros(mask.shape, dtype=torch.int32, device=mask.device)
    labels[mask] = torch.unique(inner[mask], return_inverse=True)[1].to(torch.int32) + 1
    return labels


def components3d(mask: Tensor, connectivity: int) -> Tensor:
    """Bool ``(N, C, D, H, W)`` → int32 labels, every volume numbered by itself."""
    labels = torch.zeros(mask.shape, dtype=torch.int32, device=mask.device)
    for n, c in product(range(mask.shape[0]), range(mask.shape[1])):
        labels[n, c] = _label(mask[n, c], connectivity)
    return labels


def remove_small(mask: Tensor, min_voxels: int, connectivity: int) -> Tensor:
    """The components of ``min_voxels`` voxels or more, bool ``(N, C, D, H, W)``."""
    out = torch.zeros_like(mask)
    labels = components3d(mask, connectivity)
    for n, c in product(range(mask.shape[0]), range(mask.shape[1])):
        sizes = torch.bincount(labels[n, c].flatten())
        out[n, c] = (sizes >= min_voxels)[labels[n, c]] & mask[n, c]
    return out
