"""What stands beyond a volume's border, for the filters that need it."""

from __future__ import annotations

import torch
from torch import Tensor


def repeat_edges(x: Tensor, axis: int, before: int, after: int) -> Tensor:
    """``x`` with more voxels at both ends of an axis: c b a | a b c | c b a, for any length."""
    n = x.shape[axis]
    at = torch.arange(-before, n + after, device=x.device).remainder(2 * n)
    return x.index_select(axis, torch.minimum(at, 2 * n - 1 - at))
