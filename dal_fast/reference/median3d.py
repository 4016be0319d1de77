"""Reference of the median filter: gather the cube, sort it, take the middle."""

from __future__ import annotations

import torch
from torch import Tensor

from dal_fast.reference._border import repeat_edges


def median3d(x: Tensor, size: int, mask: Tensor | None = None) -> Tensor:
    """``(N, C, D, H, W)``: median over ``size``³ voxels, the upper one of two; 0 outside ``mask``.

    NaN sorts last.
    """
    cubes = x
    for axis in (2, 3, 4):
        cubes = repeat_edges(cubes, axis, size // 2, (size - 1) // 2)
    for axis in (2, 3, 4):
        cubes = cubes.unfold(axis, size, 1)
    median = cubes.flatten(5).sort(dim=5).values[..., size**3 // 2]
    return median if mask is None else torch.where(mask, median, 0.0)
