"""The bias field of a scan whose tissue is known, and what no field explains.

    log x = log(sum_k p_k mu_k) + sum_ijk c_ijk u^i v^j w^k        u to the right, v, w in [-1, 1]

A large lesion is as smooth as a bias field, so that a polynomial follows it and the residual is
gone. Three things keep them apart. A receiver's field is nearly the same on the left and on the
right, a lesion is not: terms that are odd in u are held back by a ridge, less so the stronger the
field. Clusters that stand out from a first fit weigh less in the next ones, the less the further
they stand out. And Tukey's weights leave out single voxels. Nothing is decided about a cluster as a
whole: a field moves by rounding where the tissue does. Ours, not specified in the paper; the fit in
log space is that of N3 and N4.

Every scan of a batch is fitted at once, in shapes that do not depend on a mask
(:mod:`dal_fast.models.fixed`): nothing waits for a value. On a CPU, compiled code does the same
without gradients (``kernels/recouple``). Candidates for one kernel each, where these passes turn
out to matter on a GPU: a fit's rounds of Tukey weights (eight thousand voxels, thirty-five terms,
about ninety small launches), and the medians by tissue (torch takes one block a median).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dal_fast.models import fixed

FEWEST = 200
"""Voxels below which there is no telling."""
_FIRST_DEGREE, _DEGREE = 3, 4
"""Of the polynomial in the first fit, and in later ones."""
_ODD, _HIGH, _ODD_HIGH = 0.005, 0.003, 0.01
"""Ridges, in shares of the voxels' weight: of odd terms, of terms of third degree and more, and of
those that are odd too."""
_STRONG = 0.1  # standard deviation of a log field whose ridges are half of these
_REFITS = 3
_ROUNDS = 2  # of means and field in every fit
_ENOUGH = 4000  # voxels for thirty-five terms
_TUKEY = 4.0  # residuals beyond this many sigmas have no say
_LARGEST = 1.1  # of the log field, and 1.6 of a voxel's own log ratio
_LARGEST_RATIO = 1.6
_STANDS_OUT = (2.0, 3.0)
"""Robust SDs of the smoothed log residual up to which a voxel has its full say, from which none."""
_MOST = (0.5, 0.75)
"""Of the brain: shares up to which all that stands out is left out, from which nothing is."""
_HALF = 0.5  # of a weight, from which a voxel counts where none can be weighed
CERTAIN = 0.8  # probability from which a voxel counts for its tissue's mean
KEEP_MADS = 2.5  # voxels further from the tissue's median than this do not count
_FEWEST_CERTAIN = 20  # voxels of a tissue that a mean is taken of
_CAPACITY = 2 * _ENOUGH  # voxels that a fit can hold: see _used


@dataclass(frozen=True, eq=False)
class Field:
    """Result of :func:`bias_field`, of N scans.

    Attributes:
        bias: b, ``(N, D, H, W)``, over the whole volume, its mean inside 1.
        suspicious: bool, the same shape: what has less than half of its say in the fit.
    """

    bias: Tensor
    suspicious: Tensor


def robust_means(
    values: Tensor, shares: Tensor, inside: Tensor, core: Tensor | None = None
) -> Tensor:
    """``(N, K)``: mean of the certain voxels of each tissue, those far from their median left out.

    A tissue without certain voxels gets the mean weighted by its probability.

    Args:
        values: ``(N, V)``.
        shares: ``(N, K, V)`` probability of each tissue.
        inside: bool ``(N, V)``: voxels that count.
        core: bool ``(N, V)``: those among them that may be certain; None for all.
    """
    certain = (shares > CERTAIN) & (inside if core is None else inside & core)[:, None]
    values = values[:, None]
    distance = (values - fixed.masked_median(values.expand_as(shares), certain)[..., None]).abs()
    limit = KEEP_MADS * fixed.masked_spread(distance, certain)
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
        powers: 0 to ``_DEGREE`` of u, v and w, ``(N, D, 5)``, ``(N, H, 5)``, ``(N, W, 5)``.
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
            _powers(extent, size, x)
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
            power.gather(1, (self.step * place)[..., None].expand(-1, -1, _DEGREE + 1))
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
        none, side = coefficients.new_zeros(len(coefficients), 0), _DEGREE + 1
        lines = [parts.get((i, j), none) for i in range(side) for j in range(side)]
        cube = torch.stack([F.pad(line, (0, side - line.shape[1])) for line in lines], dim=1)
        cube = cube.view(-1, side, side, side)
        u, v, w = (power[:, ::step] for power in self.powers)
        field = torch.einsum("nijk,nwk->nijw", cube, w)
        field = torch.einsum("nijw,nhj->nihw", field, v)
        field = torch.einsum("nihw,ndi->ndhw", field, u)
        return field.clamp(-_LARGEST, _LARGEST)


def _powers(extent: fixed.Extent, size: int, like: Tensor) -> Tensor:
    """``(N, size, 5)``: powers of a coordinate from -1 to 1 across a mask's side."""
    first, last = (end[:, None].to(like.dtype) for end in extent)
    voxel = torch.arange(size, device=first.device, dtype=like.dtype)
    u = 2 * (voxel - first) / (last - first).clamp_min(1) - 1
    powers = [torch.ones_like(u)]
    for _ in range(_DEGREE):
        powers.append(powers[-1] * u)
    return torch.stack(powers, dim=-1)


def _rows(degree: int) -> list[tuple[int, int, int]]:
    """Powers i of u and j of v, and how many powers of w follow, in the order of the terms."""
    top = degree + 1
    return [(i, j, top - i - j) for i in range(top) for j in range(top - i)]


@torch.no_grad()
def bias_field(x: Tensor, p: Tensor, inside: Tensor, step: int) -> Field:
    """Fit the field of every scan; without meaning for one of fewer than ``FEWEST`` voxels.

    Args:
        x: scans, ``(N, D, H, W)``, positive inside; axis 0 runs from left to right.
        p: tissue probabilities, ``(N, K, D, H, W)``; the first is fluid, which is not suspected.
        inside: bool ``(N, D, H, W)``.
        step: every how manieth voxel along each axis is looked at.
    """
    samples = _Samples.of(x, p, inside, step)
    say = samples.inside.to(x.dtype)
    degree = _FIRST_DEGREE
    coefficients = _fit(samples, degree, say, torch.zeros_like(samples.values))
    for _ in range(_REFITS):
        log_field = samples.field(coefficients, degree, step).flatten(1)
        say, degree = _say(samples, log_field, say), _DEGREE
        coefficients = _fit(samples, degree, say, log_field)
    field = samples.field(coefficients, degree, 1).exp()
    mean = fixed.masked_mean(field.flatten(1), inside.flatten(1))
    left_out = (samples.inside & (say < _HALF)).view(-1, *samples.shape)
    return Field(field / mean.view(-1, 1, 1, 1), _enlarged(left_out, step, x.shape[1:]))


def _enlarged(coarse: Tensor, step: int, shape: torch.Size) -> Tensor:
    """The nearest voxel of a coarse grid ``(N, d, h, w)``, for every voxel of the fine one."""
    for axis, size in enumerate(shape, start=1):
        coarse = coarse.repeat_interleave(step, axis).narrow(axis, 0, size)
    return coarse


def _used(inside: Tensor) -> tuple[Tensor, Tensor]:
    """Which voxels a fit looks at: indices ``(N, CAPACITY)``, and bool, whether each is one.

    Of the brain's voxels all, or evenly spaced ones, as many as
    ``inside[:: max(1, len(inside) // ENOUGH)]`` holds, fewer than ``2 ENOUGH``.
    """
    total = inside.sum(1, keepdim=True)
    stride = (total // _ENOUGH).clamp_min(1)
    rank = torch.arange(_CAPACITY, device=inside.device) * stride
    index = torch.searchsorted(inside.cumsum(1), rank + 1).clamp_max(inside.shape[1] - 1)
    return index, rank < total


def _fit(samples: _Samples, degree: int, say: Tensor, log_field: Tensor) -> Tensor:
    """Coefficients ``(N, T)``: means and field in turn, from ``log_field (N, V)`` on.

    Args:
        samples: of the scans.
        degree: of the polynomial.
        say: weight of every voxel, ``(N, V)``; medians are taken of those with half of it and more.
        log_field: of the field before.
    """
    index, valid = _used(samples.inside)
    values, log_field = samples.values.gather(1, index), log_field.gather(1, index)
    say = say.gather(1, index) * valid
    valid = say >= _HALF
    tissues = samples.shares.shape[1]
    shares = samples.shares.gather(2, index[:, None].expand(-1, tissues, -1))
    basis = samples.terms(index, degree)
    ridge = fixed.constants(_ridges(degree), basis.new_empty((), dtype=torch.float64))
    for _ in range(_ROUNDS):
        means = robust_means(values * (-log_field).exp(), shares, valid)
        healthy = torch.einsum("nk,nkv->nv", means, shares)
        ratio = (values.clamp_min(1e-12) / healthy.clamp_min(1e-3)).log()
        ratio = ratio.clamp(-_LARGEST_RATIO, _LARGEST_RATIO)
        off = log_field - fixed.masked_mean(log_field, valid)[:, None]
        strength = fixed.masked_mean(off.square(), valid)[:, None].double() / _STRONG**2
        solved = _solve(basis, ratio, healthy * say, valid, ridge / (1 + strength))
        log_field = torch.einsum("nvt,nt->nv", basis, solved).clamp(-_LARGEST, _LARGEST)
        log_field = log_field - fixed.masked_mean(log_field, valid)[:, None]
    return solved


def _ridges(degree: int) -> list[float]:
    """The ridge of every term."""
    terms = [(i, j, k) for i, j, n in _rows(degree) for k in range(n)]
    return [_ridge(*term) for term in terms]


def _ridge(i: int, j: int, k: int) -> float:
    if i + j + k >= 3:
        return _ODD_HIGH if i % 2 else _HIGH
    return _ODD if i % 2 else 0.0


def _solve(basis: Tensor, ratio: Tensor, first: Tensor, valid: Tensor, ridge: Tensor) -> Tensor:
    """Coefficients c of ``ratio ~ basis @ c``, ``(N, T)``, by Tukey's biweight.

    Sums over voxels are taken in float64: summed in float32, the last digits of a tissue map move
    the field by two hundred times as much.

    Args:
        basis: terms at the voxels, ``(N, V, T)``.
        ratio: log ratios, ``(N, V)``.
        first: weights without Tukey's, ``(N, V)``: for as much as its tissue is bright, because
            noise makes the logarithm of dark voxels uncertain, and its say.
        valid: voxels that the residual's spread is taken of, bool ``(N, V)``.
        ridge: of every term, ``(N, T)``.
    """
    weight, penalty, wide = first, torch.diag_embed(ridge + 1e-7), basis.double()
    for _ in range(4):
        weighted = wide * weight[..., None]
        normal = weighted.mT @ wide
        normal = normal + penalty * weight.sum(1).double()[:, None, None]
        right = torch.einsum("nvt,nv->nt", weighted, ratio.double())
        c = fixed.solve_positive(normal, right).to(basis.dtype)
        residual = ratio - torch.einsum("nvt,nt->nv", basis, c)
        sigma = fixed.masked_spread(residual, valid).clamp_min(1e-3)[:, None]
        weight = first * (1 - (residual / (_TUKEY * sigma)).square()).clamp_min(0).square()
    return c


def _say(samples: _Samples, log_field: Tensor, before: Tensor) -> Tensor:
    """Weight ``(N, V)`` of every voxel: less in and beside a cluster that the tissue and this field
    do not explain, the less the further it stands out.

    Nothing here is decided, so that rounding in the tissue moves a field by rounding. A cluster is
    what holds a cube of two samples a side, 0.5 mL where every second voxel of 2 mm is sampled: a
    grey-scale opening.
    """
    values, shares = samples.values * (-log_field).exp(), samples.shares
    means = robust_means(values, shares, before >= _HALF)
    healthy = torch.einsum("nk,nkv->nv", means, shares)
    residual = (values.clamp_min(0.02) / healthy.clamp_min(0.05)).log() * (1 - shares[:, 0])
    inside = samples.inside
    both = torch.stack([residual * inside, inside.to(residual.dtype)], dim=1)
    total, count = fixed.smoothed(both.view(-1, 2, *samples.shape)).flatten(2).unbind(1)
    mean = total / count.clamp_min(0.3)
    sigma = fixed.masked_spread(mean, inside).clamp_min(0.01)[:, None]
    first, last = _STANDS_OUT
    high = ((mean.abs() / sigma - first) / (last - first)).clamp(0, 1) * inside
    cubes = -F.max_pool3d(F.pad(-high.view(-1, 1, *samples.shape), 6 * (1,)), 2, 1)
    near = F.max_pool3d(F.pad(cubes, 6 * (1,)), 4, 1).flatten(1)
    share = near.masked_fill(~inside, 0).sum(1) / inside.sum(1).clamp_min(1)
    first, last = _MOST
    credible = ((last - share) / (last - first)).clamp(0, 1)
    return (1 - near * credible[:, None]) * inside
