"""Reference of resampling: along a volume's own axes, and at points that lie obliquely in it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor


def axis_weights(position: Tensor, spacing: float, size: int) -> Tensor:
    """What samples along an axis are made of, ``(samples, size)``.

    The triangle ``max(0, 1 − |s − t| / r)``, r = max(1, spacing), around a position t that is kept
    among the voxels' centres, normalised; nothing for positions more than half a voxel outside.

    Args:
        position: of the samples, in voxels, float64 ``(samples,)``.
        spacing: of the samples, in voxels.
        size: voxels of the axis.
    """
    inside = (position >= -0.5) & (position <= size - 0.5)
    kept = position.clamp(0, size - 1)[:, None]
    voxel = torch.arange(size, dtype=position.dtype)
    weight = (1 - (voxel - kept).abs() / max(1.0, spacing)).clamp(min=0)
    return weight / weight.sum(1, keepdim=True) * inside[:, None]


def separable3d(x: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """``(D, H, W)`` and for each axis ``(samples, size)`` → one sample for each triple of rows."""
    return torch.einsum("dhw,id,jh,kw->ijk", x, *weights)


def oblique3d(x: Tensor, transform: Tensor, shape: Sequence[int], nearest: bool) -> Tensor:
    """``(D, H, W)`` at the points that ``transform (4, 4)`` maps the indices of ``shape`` to.

    Trilinear, or the nearest voxel; the edge voxel up to half a voxel beyond the outermost centres,
    0 further out.
    """
    axes = [torch.arange(n, dtype=x.dtype) for n in shape]
    target = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    position = target @ transform[:3, :3].T + transform[:3, 3]
    size = torch.tensor(x.shape)
    inside = ((position >= -0.5) & (position <= size - 0.5)).all(-1)
    kept = torch.minimum(position.clamp(min=0), (size - 1).to(x.dtype))
    if nearest:
        return x[tuple((kept + 0.5).floor().long().unbind(-1))] * inside
    low = kept.floor()
    share, out = kept - low, torch.zeros(tuple(shape), dtype=x.dtype)
    for corner in product((0, 1), repeat=3):
        upper = torch.tensor(corner, dtype=x.dtype)
        voxel = torch.minimum((low + upper).long(), size - 1)
        weight = (upper * share + (1 - upper) * (1 - share)).prod(-1)
        out += weight * x[tuple(voxel.unbind(-1))]
    return out * inside
