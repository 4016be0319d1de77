"""Reference of the connected components: hook each tree to its lowest neighbour till none moves."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

STEPS = {6: 1, 18: 2, 26: 3}
"""Along how many axes a neighbour may differ, by connectivity."""


def _label(mask: Tensor, connectivity: int) -> Tensor:
    """``mask`` ``(D, H, W)`` → int32 labels 1..K in raster order of the first voxels."""
    padded = torch.nn.functional.pad(mask, (1,) * 6)
    _, height, width = padded.shape
    steps = [s for s in product((-1, 0, 1), repeat=3) if sum(map(abs, s)) <= STEPS[connectivity]]
    offsets = [(z * height + y) * width + x for z, y, x in steps]
    none = padded.numel()  # what voxels outside and this entry itself point at
    inside = padded.flatten().nonzero().flatten()
    first = torch.full((none + 1,), none, device=mask.device)  # a voxel of the same component
    first[inside] = inside
    while True:
        lowest = torch.stack([first[inside + o] for o in offsets]).amin(0)
        joined = first.scatter_reduce(0, first[inside], lowest, "amin")
        while not torch.equal(joined[joined], joined):
            joined = joined[joined]
        if torch.equal(joined, first):
            break
        first = joined
    labels = torch.zeros(mask.shape, dtype=torch.int32, device=mask.device)
    labels[mask] = torch.unique(first[inside], return_inverse=True)[1].to(torch.int32) + 1
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
