"""Reference of the median filter: gather the cube, sort it, take the middle."""

from __future__ import annotations

import torch
from torch import Tensor


def _repeat_edges(x: Tensor, axis: int, before: int, after: int) -> Tensor:
    """``x`` with more voxels at both ends: c b a | a b c | c b a, for any length."""
    n = x.shape[axis]
    at = torch.arange(-before, n + after, device=x.device).remainder(2 * n)
    return x.index_select(axis, torch.minimum(at, 2 * n - 1 - at))


def median3d(x: Tensor, size: int, mask: Tensor | None = None) -> Tensor:
    """``(N, C, D, H, W)``: median over ``size``³ voxels, the upper one of two; 0 outside ``mask``.

    NaN sorts last.
    """
    cubes = x
    for axis in (2, 3, 4):
        cubes = _repeat_edges(cubes, axis, size // 2, (size - 1) // 2)
    for axis in (2, 3, 4):
        cubes = cubes.unfold(axis, size, 1)
    median = cubes.flatten(5).sort(dim=5).values[..., size**3 // 2]
    return median if mask is None else torch.where(mask, median, 0.0)
