"""The bias field of a scan whose tissue is known, and what no field explains.

    log x = log(sum_k p_k mu_k) + sum_ijk c_ijk u^i v^j w^k        u to the right, v, w in [-1, 1]

A large lesion is as smooth as a bias field, so that a polynomial follows it and the residual is
gone. Three things keep them apart. A receiver's field is nearly the same on the left and on the
right, a lesion is not: terms that are odd in u are held back by a ridge. Clusters that stand out
from a first fit are left out of the next ones. And Tukey's weights leave out single voxels. Ours,
not specified in the paper; the fit in log space is that of N3 and N4.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dal_fast.imaging.morphology import bounding_box, dilate
from dal_fast.metrics import MAD_TO_SIGMA, robust_spread
from dal_fast.ops import remove_small

Terms = tuple[tuple[int, int, int], ...]
_CUBIC: Terms = tuple((i, j, k) for i in range(4) for j in range(4 - i) for k in range(4 - i - j))
_QUADRATIC: Terms = tuple(term for term in _CUBIC if sum(term) <= 2)
FEWEST = 10 * len(_CUBIC)
"""Voxels below which there is no telling."""
_ODD, _ODD_LATER, _THIRD, _ODD_THIRD = 0.02, 0.005, 0.003, 0.01
"""Ridges, in shares of the voxels' weight: of odd terms in the first fit and in later ones, of
terms of third degree, and of those that are odd too."""
_REFITS = 3
_ENOUGH = 4000  # voxels for twenty terms
_TUKEY = 4.0  # residuals beyond this many sigmas have no say
_LARGEST = 1.1  # of the log field, and 1.6 of a voxel's own log ratio
_LARGEST_RATIO = 1.6
_STANDS_OUT = 2.5  # robust SD of the smoothed log residual
_SMALLEST_CLUSTER = 8  # sampled voxels, 0.5 mL where every second voxel of 2 mm is sampled
_MOST = 0.6  # of the brain that may be left out
CERTAIN = 0.8  # probability from which a voxel counts for its tissue's mean
KEEP_MADS = 2.5  # voxels further from the tissue's median than this do not count


@dataclass(frozen=True, eq=False)
class Field:
    """Result of :func:`bias_field`.

    Attributes:
        bias: b, ``(D, H, W)``, over the whole volume, its mean inside 1.
        suspicious: bool, the same shape: the clusters that were left out of the fit.
    """

    bias: Tensor
    suspicious: Tensor


class _Samples:
    """Every ``step``-th voxel along each axis, and the polynomial's terms there.

    Attributes:
        inside: bool, the coarse grid.
        values, shares: ``(V,)`` and ``(K, V)``, at its voxels inside.
        powers: of u, v and w, ``(D, 4)``, ``(H, 4)``, ``(W, 4)``, of the whole volume.
        places: of the voxels inside, on the coarse grid.
    """

    def __init__(self, x: Tensor, p: Tensor, inside: Tensor, step: int) -> None:
        self.step, every = step, slice(None, None, step)
        self.inside = inside[every, every, every]
        self.values = x[every, every, every][self.inside]
        self.shares = p[:, every, every, every][:, self.inside]
        box = bounding_box(inside)
        self.powers = [_powers(box[a], inside.shape[a], x) for a in range(3)]
        self.places = self.inside.nonzero(as_tuple=True)

    def basis(self, used: Tensor) -> Tensor:
        """The terms of ``_CUBIC`` at some of the voxels inside, ``(U, 20)``."""
        places = [axis[used] * self.step for axis in self.places]
        u, v, w = (q[at].T for q, at in zip(self.powers, places, strict=True))
        return torch.stack([u[i] * v[j] * w[k] for i, j, k in _CUBIC], dim=1)

    def field(self, coefficients: Tensor, step: int) -> Tensor:
        """The polynomial on every ``step``-th voxel of the volume, limited."""
        cube = coefficients.new_zeros((4, 4, 4))
        cube[tuple(zip(*_CUBIC, strict=True))] = coefficients
        powers = [axis[::step] for axis in self.powers]
        field = torch.einsum("ijk,di,hj,wk->dhw", cube, *powers)
        return field.clamp_(-_LARGEST, _LARGEST)

    def volume(self, values: Tensor) -> Tensor:
        """``values (V,)`` on the coarse grid, 0 elsewhere."""
        out = values.new_zeros(self.inside.shape)
        out[self.inside] = values
        return out


@torch.no_grad()
def bias_field(x: Tensor, p: Tensor, inside: Tensor, step: int) -> Field:
    """Fit the field of one scan.

    Args:
        x: scan, ``(D, H, W)``, positive inside; axis 0 runs from left to right.
        p: tissue probabilities, ``(K, D, H, W)``; the first is fluid, which is not suspected.
        inside: bool ``(D, H, W)``, with at least ``FEWEST`` voxels on the grid that is sampled.
        step: every how manieth voxel along each axis is looked at.
    """
    samples = _Samples(x, p, inside, step)
    everything = torch.ones_like(samples.values, dtype=torch.bool)
    log_field = torch.zeros_like(samples.values)
    kept = everything
    coefficients = _fit(samples, _QUADRATIC, kept, log_field, rounds=2)
    for _ in range(_REFITS):
        log_field = samples.field(coefficients, step)[samples.inside]
        keep = ~_stands_out(samples, log_field, kept)
        if float(keep.float().mean()) < 1 - _MOST:
            break
        kept = keep
        coefficients = _fit(samples, _CUBIC, kept, log_field, rounds=1)
    bias = samples.field(coefficients, 1).exp_()
    return Field(bias / bias[inside].mean(), _enlarged(samples.volume(~kept), step, x.shape))


def _fit(samples: _Samples, terms: Terms, kept: Tensor, log_field: Tensor, rounds: int) -> Tensor:
    """Coefficients of ``_CUBIC``, those that are not among ``terms`` being 0.

    Means and field are found in turn, from ``log_field (V,)`` on; ``kept (V,)`` bool.
    """
    chosen = [n for n, term in enumerate(_CUBIC) if term in terms]
    first = len(terms) < len(_CUBIC)
    ridge = torch.tensor([_ridge(_CUBIC[n], first) for n in chosen], dtype=torch.float64)
    used = kept.nonzero()[:, 0]
    used = used[:: max(1, len(used) // _ENOUGH)]
    values, shares, log_field = samples.values[used], samples.shares[:, used], log_field[used]
    basis = samples.basis(used)[:, chosen]
    for _ in range(rounds):
        healthy = robust_means(values * (-log_field).exp(), shares) @ shares
        ratio = (values / healthy.clamp_min(1e-3)).log().clamp(-_LARGEST_RATIO, _LARGEST_RATIO)
        solved = _solve(basis, ratio, healthy, ridge.to(values.device))
        log_field = (basis @ solved).clamp(-_LARGEST, _LARGEST)
        log_field = log_field - log_field.mean()
    coefficients = values.new_zeros(len(_CUBIC))
    coefficients[chosen] = solved
    return coefficients


def _ridge(term: tuple[int, int, int], first: bool) -> float:
    odd, third = term[0] % 2 == 1, sum(term) == 3
    if odd:
        return _ODD if first else _ODD_THIRD if third else _ODD_LATER
    return _THIRD if third else 0.0


def _solve(basis: Tensor, ratio: Tensor, healthy: Tensor, ridge: Tensor) -> Tensor:
    """Coefficients c of ``ratio ~ basis @ c``, ``(terms,)``, by Tukey's biweight.

    A voxel counts for as much as its tissue is bright, because noise makes the logarithm of dark
    ones uncertain.
    """
    weight, penalty = healthy, torch.diag(ridge + 1e-7)
    for _ in range(4):
        weighted = basis * weight[:, None]
        normal = (weighted.T @ basis).double() + penalty * weight.sum().double()
        c = torch.linalg.solve(normal, (weighted.T @ ratio).double()).to(basis.dtype)
        residual = ratio - basis @ c
        sigma = robust_spread(residual).clamp_min(1e-3)
        weight = healthy * (1 - (residual / (_TUKEY * sigma)).square()).clamp_min(0).square()
    return c


def _stands_out(samples: _Samples, log_field: Tensor, kept: Tensor) -> Tensor:
    """Bool ``(V,)``: in or beside a cluster that the tissue and this field do not explain."""
    values, shares = samples.values * (-log_field).exp(), samples.shares
    healthy = robust_means(values[kept], shares[:, kept]) @ shares
    residual = (values.clamp_min(0.02) / healthy.clamp_min(0.05)).log() * (1 - shares[0])
    both = torch.stack([samples.volume(residual), samples.inside.to(residual.dtype)])[:, None]
    total, count = F.avg_pool3d(both, 3, 1, 1)
    mean = (total / count.clamp_min(0.3))[0]
    sigma = robust_spread(mean[samples.inside]).clamp_min(0.01)
    high = (mean.abs() > _STANDS_OUT * sigma) & samples.inside
    clusters = remove_small(high[None, None], _SMALLEST_CLUSTER, connectivity=6)
    return dilate(clusters, 1)[0, 0][samples.inside]


def _enlarged(coarse: Tensor, step: int, shape: torch.Size) -> Tensor:
    """The nearest voxel of a coarse grid ``[::step]``, for every voxel of the fine one."""
    for axis, size in enumerate(shape):
        coarse = coarse.repeat_interleave(step, axis).narrow(axis, 0, size)
    return coarse


def _powers(side: slice, size: int, like: Tensor) -> Tensor:
    """``(size, 4)``: powers 0 to 3 of a coordinate that runs from -1 to 1 across a mask's side."""
    length = max(side.stop - 1 - side.start, 1)
    u = 2 * (torch.arange(size, device=like.device, dtype=like.dtype) - side.start) / length
    return (u - 1)[:, None] ** torch.arange(4, device=like.device)


def robust_means(values: Tensor, shares: Tensor) -> Tensor:
    """``(K,)``: mean of the certain voxels of each tissue, those far from their median left out.

    A tissue without certain voxels gets the mean weighted by its probability.

    Args:
        values: ``(V,)``.
        shares: ``(K, V)`` probability of each tissue.
    """
    means = []
    for share in shares:
        certain = values[share > CERTAIN]
        if len(certain) < 20:
            means.append((values * share).sum() / share.sum().clamp_min(1e-6))
            continue
        centre = certain.median()
        distance = (certain - centre).abs()
        near = distance <= KEEP_MADS * MAD_TO_SIGMA * distance.median()
        means.append(certain[near].mean())
    return torch.stack(means)
