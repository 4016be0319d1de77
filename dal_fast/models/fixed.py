"""Statistics of a mask's voxels in shapes that do not depend on the mask.

To gather the voxels inside a mask makes a small tensor whose size is only known then. On a GPU that
size has to travel to the host before the next kernel can be launched, and the GPU waits. The
functions here look at every voxel and give those outside no weight, so that a whole chain, or a
training step, is launched without a look at its data, and can be recorded in a CUDA graph.

Everything is batched: ``N`` scans, ``V`` voxels each, ``K`` tissues.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from dal_fast.metrics import MAD_TO_SIGMA
from dal_fast.ops._row_medians import row_medians


def masked_median(values: Tensor, mask: Tensor) -> Tensor:
    """Median of ``values (..., V)`` where ``mask (..., V)`` is set, ``(...)``; NaN for none.

    The lower of two middle values, as :meth:`torch.Tensor.median`.
    """
    return row_medians(values.masked_fill(~mask, torch.nan))


def masked_spread(deviations: Tensor, mask: Tensor) -> Tensor:
    """:func:`dal_fast.metrics.robust_spread` of ``deviations (..., V)`` in a mask, ``(...)``."""
    return MAD_TO_SIGMA * masked_median(deviations.abs(), mask)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``values (..., V)`` inside a mask, ``(...)``; 0 for none."""
    total = values.masked_fill(~mask, 0).sum(-1)
    return total / mask.sum(-1).clamp_min(1)


def ranked(rising: Tensor, rank: Tensor) -> Tensor:
    """Values of a rank each, ``(...)``, from 0, of ``rising (..., V)``; ranks are kept inside."""
    rank = rank.clamp(0, rising.shape[-1] - 1)
    return rising.gather(-1, rank[..., None])[..., 0]


def top_mean(values: Tensor, mask: Tensor, fraction: float) -> Tensor:
    """Mean of the ``ceil(fraction n)`` largest of the n values inside a mask, float64 ``(N,)``.

    0 for an empty mask.

    Args:
        values: ``(N, V)``.
        mask: bool ``(N, V)``.
        fraction: of the voxels inside.
    """
    capacity = min(values.shape[1], int(fraction * values.shape[1]) + 1)
    highest = values.masked_fill(~mask, -torch.inf).topk(capacity, dim=1).values
    wanted = (fraction * mask.sum(1).double()).ceil()
    used = torch.arange(capacity, device=values.device) < wanted[:, None]
    total = highest.masked_fill(~used, 0).double().sum(1)
    return total / wanted.clamp_min(1)


class Extent(NamedTuple):
    """First and last index of a mask along an axis, int64 ``(N,)``; first > last for none."""

    first: Tensor
    last: Tensor


def extents(mask: Tensor) -> list[Extent]:
    """Of each scan of ``mask (N, D, H, W)`` along each axis: its bounding box."""
    across, along = mask.any(3), mask.any(2)
    return [_extent(line) for line in (across.any(2), across.any(1), along.any(1))]


def _extent(line: Tensor) -> Extent:
    """Of ``line (N, S)``."""
    size = line.shape[1]
    index = torch.arange(size, device=line.device)
    first = torch.where(line, index, size).amin(1)
    return Extent(first, torch.where(line, index, -1).amax(1))


def laid_out_each(atlases: Tensor, mask: Tensor) -> Tensor:
    """An atlas of its own ``(N, K, ...)`` in each brain's bounding box, ``(N, K, D, H, W)``.

    Args:
        atlases: interpolated as :func:`torch.nn.functional.interpolate` does, mode ``"trilinear"``.
        mask: brains, bool ``(N, D, H, W)``; 0 outside.
    """
    d, h, w = (
        _between(size, extent, length, atlases)
        for size, extent, length in zip(
            atlases.shape[2:], extents(mask), mask.shape[1:], strict=True
        )
    )
    out = torch.einsum("nkabc,nwc->nkabw", atlases, w)
    out = torch.einsum("nkabw,nhb->nkahw", out, h)
    return torch.einsum("nkahw,nda->nkdhw", out, d) * mask[:, None]


def _between(size: int, extent: Extent, length: int, like: Tensor) -> Tensor:
    """What each of ``size`` values weighs at each of ``length`` voxels, ``(N, length, size)``."""
    first, last = (end[:, None].to(like.dtype) for end in extent)
    side = (last - first + 1).clamp_min(1)
    voxel = torch.arange(length, device=first.device, dtype=like.dtype)
    at = ((voxel - first + 0.5) * (size / side) - 0.5).clamp(0, size - 1)
    value = torch.arange(size, device=first.device)
    return (1 - (at[:, :, None] - value).abs()).clamp_min_(0)


def mirrored(volumes: Tensor, mask: Tensor) -> Tensor:
    """``volumes (N, C, D, H, W)`` flipped along D inside each brain's extent, 0 elsewhere.

    Args:
        volumes: to flip.
        mask: brains, bool ``(N, D, H, W)``.
    """
    first, last = (end[:, None] for end in extents(mask)[0])
    voxel = torch.arange(volumes.shape[2], device=volumes.device)
    inside = (voxel >= first) & (voxel <= last)
    source = (first + last - voxel).clamp(0, volumes.shape[2] - 1)
    scan = torch.arange(len(volumes), device=volumes.device)[:, None]
    flipped = volumes[scan, :, source].movedim(1, 2)
    return flipped * inside[:, None, :, None, None]


class Taken(NamedTuple):
    """Where the voxels of a box lie in a volume: for each axis, indices and whether they do.

    Attributes:
        source: int64 ``(N, side)`` an axis, kept inside the volume.
        inside: bool ``(N, side)`` an axis.
    """

    source: tuple[Tensor, Tensor, Tensor]
    inside: tuple[Tensor, Tensor, Tensor]


def take(volumes: Tensor, box: Taken) -> Tensor:
    """The voxels of a box, ``(N, C, d, h, w)``, of ``volumes (N, C, D, H, W)``; 0 beyond them.

    What :func:`torch.nn.functional.pad` does with the same numbers for all scans, for each scan by
    its own.
    """
    scan = torch.arange(len(volumes), device=volumes.device).view(-1, 1, 1, 1)
    d, h, w = (_along(index, axis) for axis, index in enumerate(box.source))
    taken = volumes[scan, :, d, h, w].movedim(-1, 1)
    d, h, w = (_along(valid, axis) for axis, valid in enumerate(box.inside))
    return taken * (d & h & w)[:, None]


def _along(values: Tensor, axis: int) -> Tensor:
    """``(N, S)`` as ``(N, 1, S, 1)`` or the like, S at ``axis`` of three."""
    return values.view(len(values), *(-1 if a == axis else 1 for a in range(3)))


def constants(values: Sequence[float], like: Tensor) -> Tensor:
    """``(len(values),)`` of the type and on the device of a tensor; filled there, because a copy
    from the host waits."""
    return torch.stack([like.new_full((), value) for value in values])


def solve_positive(matrix: Tensor, right: Tensor) -> Tensor:
    """x of ``matrix x = right`` for symmetric positive definite matrices ``(N, T, T)``.

    By Cholesky, without a look at whether it succeeded; where it did not, numbers without meaning.
    """
    lower = torch.linalg.cholesky_ex(matrix).L
    half = torch.linalg.solve_triangular(lower, right[..., None], upper=False)
    return torch.linalg.solve_triangular(lower.mT, half, upper=True)[..., 0]


def smoothed(volumes: Tensor) -> Tensor:
    """Mean over 3x3x3 voxels of ``(N, C, D, H, W)``, zeros beyond the border."""
    return F.avg_pool3d(F.pad(volumes, 6 * (1,)), 3, 1)  # a side may be shorter than 3
