"""Robust means of tissues and the bias field in fixed shapes (:mod:`dal_fast.models.fixed`).

The steps, their order and every constant are those of :mod:`dal_fast.models.bias`; what that module
does with lists of voxels is done here with weights.
Candidates for one kernel each, where these passes turn out to matter on a GPU: a fit's rounds of
Tukey weights (eight thousand voxels, twenty terms, about ninety small launches), and the medians
by tissue (torch takes one block a median).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dal_fast.imaging.morphology import dilate
from dal_fast.models import bias, fixed
from dal_fast.ops import remove_small

_FEWEST_CERTAIN = 20  # voxels of a tissue that a mean is taken of
_CAPACITY = 2 * bias._ENOUGH  # voxels that a fit can hold: see _used


def robust_means(values: Tensor, shares: Tensor, inside: Tensor) -> Tensor:
    """:func:`dal_fast.models.bias.robust_means` of every scan, ``(N, K)``.

    Args:
        values: ``(N, V)``.
        shares: ``(N, K, V)`` probability of each tissue.
        inside: bool ``(N, V)``: voxels that count.
    """
    certain = (shares > bias.CERTAIN) & inside[:, None]
    values = values[:, None]
    distance = (values - fixed.masked_median(values.expand_as(shares), certain)[..., None]).abs()
    limit = bias.KEEP_MADS * fixed.masked_spread(distance, certain)
    near = certain & (distance <= limit[..., None])
    mean = fixed.masked_mean(values.expand_as(shares), near)
    weight = shares * inside[:, None]
    mixed = (values * weight).sum(-1) / weight.sum(-1).clamp_min(1e-6)
    return torch.where(certain.sum(-1) >= _FEWEST_CERTAIN, mean, mixed)


@dataclass(frozen=True, eq=False)
class _Samples:
    """Every ``step``-th voxel along each axis, of N scans.

    Attributes:
        step: between two voxels of the coarse grid.
        shape: of the coarse grid.
        inside: bool ``(N, V)``.
        values: ``(N, V)``.
        shares: ``(N, K, V)``.
        powers: 0 to 3 of u, v and w, ``(N, D, 4)``, ``(N, H, 4)``, ``(N, W, 4)``.
    """

    step: int
    shape: tuple[int, int, int]
    inside: Tensor
    values: Tensor
    shares: Tensor
    powers: list[Tensor]

    @classmethod
    def of(cls, x: Tensor, p: Tensor, inside: Tensor, step: int) -> _Samples:
        every = slice(None, None, step)
        coarse = inside[:, every, every, every]
        d, h, w = coarse.shape[1:]
        powers = [
            _powers(extent, size)
            for extent, size in zip(fixed.extents(inside), inside.shape[1:], strict=True)
        ]
        values = x[:, every, every, every].flatten(1)
        shares = p[:, :, every, every, every].flatten(2)
        return cls(step, (d, h, w), coarse.flatten(1), values, shares, powers)

    def terms(self, index: Tensor, degree: int) -> Tensor:
        """The polynomial's terms at voxels ``index (N, U)`` of the coarse grid, ``(N, U, T)``."""
        _, h, w = self.shape
        places = index // (h * w), index // w % h, index % w
        u, v, t = (
            power.gather(1, (self.step * place)[..., None].expand(-1, -1, 4))
            for power, place in zip(self.powers, places, strict=True)
        )
        parts = [u[..., i, None] * v[..., j, None] * t[..., :n] for i, j, n in _rows(degree)]
        return torch.cat(parts, dim=-1)

    def field(self, coefficients: Tensor, degree: int, step: int) -> Tensor:
        """The polynomial on every ``step``-th voxel of the volume, limited, ``(N, d, h, w)``."""
        rows = _rows(degree)
        parts = dict(
            zip(
                [(i, j) for i, j, _ in rows],
                torch.split(coefficients, [n for *_, n in rows], dim=1),
                strict=True,
            )
        )
        none = coefficients.new_zeros(len(coefficients), 0)
        lines = [parts.get((i, j), none) for i in range(4) for j in range(4)]
        cube = torch.stack([F.pad(line, (0, 4 - line.shape[1])) for line in lines], dim=1)
        cube = cube.view(-1, 4, 4, 4)
        u, v, w = (power[:, ::step] for power in self.powers)
        field = torch.einsum("nijk,nwk->nijw", cube, w)
        field = torch.einsum("nijw,nhj->nihw", field, v)
        field = torch.einsum("nihw,ndi->ndhw", field, u)
        return field.clamp(-bias._LARGEST, bias._LARGEST)


def _powers(extent: fixed.Extent, size: int) -> Tensor:
    """``(N, size, 4)``: powers 0 to 3 of a coordinate from -1 to 1 across a mask's side."""
    first, last = extent
    voxel = torch.arange(size, device=first.device)
    length = (last - first).clamp_min(1)
    u = 2 * (voxel - first[:, None]) / length[:, None] - 1
    return torch.stack([torch.ones_like(u), u, u * u, u * u * u], dim=-1)


def _rows(degree: int) -> list[tuple[int, int, int]]:
    """Powers i of u and j of v, and how many powers of w follow, in the order of the terms."""
    top = degree + 1
    return [(i, j, top - i - j) for i in range(top) for j in range(top - i)]


def bias_field(x: Tensor, p: Tensor, inside: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """:func:`dal_fast.models.bias.bias_field` of every scan: b and the suspicious voxels.

    Args:
        x: scans, ``(N, D, H, W)``, positive inside; axis 0 runs from left to right.
        p: tissue probabilities, ``(N, K, D, H, W)``.
        inside: bool ``(N, D, H, W)``.
        step: every how manieth voxel along each axis is looked at.
    """
    samples = _Samples.of(x, p, inside, step)
    kept = samples.inside
    coefficients = _fit(samples, 2, kept, torch.zeros_like(samples.values), rounds=2)
    coefficients = _as_cubic(coefficients)
    going = torch.ones_like(kept[:, :1])
    count = samples.inside.sum(1, keepdim=True).clamp_min(1)
    for _ in range(bias._REFITS):
        log_field = samples.field(coefficients, 3, step).flatten(1)
        keep = samples.inside & ~_stands_out(samples, log_field, kept)
        going = going & (keep.sum(1, keepdim=True) / count >= 1 - bias._MOST)
        kept = torch.where(going, keep, kept)
        fitted = _fit(samples, 3, kept, log_field, rounds=1)
        coefficients = torch.where(going, fitted, coefficients)
    field = samples.field(coefficients, 3, 1).exp()
    mean = fixed.masked_mean(field.flatten(1), inside.flatten(1))
    left_out = (samples.inside & ~kept).view(-1, *samples.shape)
    return field / mean.view(-1, 1, 1, 1), _enlarged(left_out, step, x.shape[1:])


def _enlarged(coarse: Tensor, step: int, shape: torch.Size) -> Tensor:
    """The nearest voxel of a coarse grid ``(N, d, h, w)``, for every voxel of the fine one."""
    for axis, size in enumerate(shape, start=1):
        coarse = coarse.repeat_interleave(step, axis).narrow(axis, 0, size)
    return coarse


def _as_cubic(quadratic: Tensor) -> Tensor:
    """Coefficients of degree 2 among those of degree 3, ``(N, 20)``."""
    parts = iter(torch.split(quadratic, [n for *_, n in _rows(2)], dim=1))
    zeros = quadratic.new_zeros(len(quadratic), 1)
    rows = [torch.cat([next(parts), zeros], dim=1) if i + j < 3 else zeros for i, j, _ in _rows(3)]
    return torch.cat(rows, dim=1)


def _used(kept: Tensor) -> tuple[Tensor, Tensor]:
    """Which of the voxels kept a fit looks at, all or evenly spaced: indices ``(N, CAPACITY)``,
    and bool, whether there are so many.

    As many as ``used[:: max(1, len(used) // ENOUGH)]`` holds, fewer than ``2 ENOUGH``.
    """
    total = kept.sum(1, keepdim=True)
    stride = (total // bias._ENOUGH).clamp_min(1)
    rank = torch.arange(_CAPACITY, device=kept.device) * stride
    index = torch.searchsorted(kept.cumsum(1), rank + 1)
    return index.clamp_max(kept.shape[1] - 1), rank < total


def _fit(samples: _Samples, degree: int, kept: Tensor, log_field: Tensor, rounds: int) -> Tensor:
    """Coefficients ``(N, T)``: means and field in turn, from ``log_field (N, V)`` on."""
    index, valid = _used(kept)
    values, log_field = samples.values.gather(1, index), log_field.gather(1, index)
    tissues = samples.shares.shape[1]
    shares = samples.shares.gather(2, index[:, None].expand(-1, tissues, -1))
    basis = samples.terms(index, degree)
    ridge = fixed.constants(_ridges(degree), basis.new_empty((), dtype=torch.float64))
    for _ in range(rounds):
        means = robust_means(values * (-log_field).exp(), shares, valid)
        healthy = torch.einsum("nk,nkv->nv", means, shares) * valid
        ratio = (values.clamp_min(1e-12) / healthy.clamp_min(1e-3)).log()
        ratio = ratio.clamp(-bias._LARGEST_RATIO, bias._LARGEST_RATIO)
        solved = _solve(basis, ratio, healthy, valid, ridge)
        log_field = torch.einsum("nvt,nt->nv", basis, solved).clamp(-bias._LARGEST, bias._LARGEST)
        log_field = log_field - fixed.masked_mean(log_field, valid)[:, None]
    return solved


def _ridges(degree: int) -> list[float]:
    """The ridge of every term."""
    terms = [(i, j, k) for i, j, n in _rows(degree) for k in range(n)]
    return [bias._ridge(term, first=degree < 3) for term in terms]


def _solve(basis: Tensor, ratio: Tensor, healthy: Tensor, valid: Tensor, ridge: Tensor) -> Tensor:
    """Coefficients c of ``ratio ~ basis @ c``, ``(N, T)``, by Tukey's biweight."""
    weight, penalty = healthy, torch.diag(ridge + 1e-7)
    for _ in range(4):
        weighted = basis * weight[..., None]
        normal = (weighted.mT @ basis).double()
        normal = normal + penalty * weight.sum(1).double()[:, None, None]
        right = torch.einsum("nvt,nv->nt", weighted, ratio).double()
        c = fixed.solve_positive(normal, right).to(basis.dtype)
        residual = ratio - torch.einsum("nvt,nt->nv", basis, c)
        sigma = fixed.masked_spread(residual, valid).clamp_min(1e-3)[:, None]
        weight = healthy * (1 - (residual / (bias._TUKEY * sigma)).square()).clamp_min(0).square()
    return c


def _stands_out(samples: _Samples, log_field: Tensor, kept: Tensor) -> Tensor:
    """Bool ``(N, V)``: in or beside a cluster that the tissue and this field do not explain."""
    values, shares = samples.values * (-log_field).exp(), samples.shares
    means = robust_means(values, shares, kept)
    healthy = torch.einsum("nk,nkv->nv", means, shares)
    residual = (values.clamp_min(0.02) / healthy.clamp_min(0.05)).log() * (1 - shares[:, 0])
    inside = samples.inside
    both = torch.stack([residual * inside, inside.to(residual.dtype)], dim=1)
    total, count = fixed.smoothed(both.view(-1, 2, *samples.shape)).flatten(2).unbind(1)
    mean = total / count.clamp_min(0.3)
    sigma = fixed.masked_spread(mean, inside).clamp_min(0.01)[:, None]
    high = (mean.abs() > bias._STANDS_OUT * sigma) & inside
    clusters = remove_small(
        high.view(-1, 1, *samples.shape), bias._SMALLEST_CLUSTER, connectivity=6
    )
    return dilate(clusters, 1).flatten(1)
