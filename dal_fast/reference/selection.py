"""Reference of order statistics inside a mask."""

from __future__ import annotations

import torch
from torch import Tensor


def selection_counts(x: Tensor, mask: Tensor) -> tuple[int, int, int]:
    """How many voxels lie inside the mask, and how many of them are below and above 0."""
    inside = x[mask]
    return len(inside), int((inside < 0).sum()), int((inside > 0).sum())


def selection_kth(x: Tensor, mask: Tensor, k: int, positive: bool = False) -> float:
    """The value of rank ``k``, from 0, inside the mask, or among the positive ones there."""
    inside = x[mask]
    if positive:
        inside = inside[inside > 0]
    return float(torch.sort(inside).values[k])
