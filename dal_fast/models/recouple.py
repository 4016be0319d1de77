"""Closed-form recoupling: tissue probabilities and a scan to the pseudo-healthy image.

    phi = b * sum_k p_k mu_k        inside the mask, 0 outside

with mu_k the robust mean of the scan in tissue k and b a smooth bias field of mean 1. Not in the
paper, whose R_D learns this map: contrast is read off the scan instead of being squeezed through a
learned vector, so any sequence works without training, and a lesion moves neither mu_k nor b,
which both ignore outliers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dal_fast.imaging.morphology import bounding_box
from dal_fast.metrics import MAD_TO_SIGMA, robust_spread

CERTAIN = 0.8  # probability from which a voxel counts for its tissue's mean
KEEP_MADS = 2.5  # voxels further from the tissue's median than this do not count
DEGREE = 3  # of the bias polynomial
ROUNDS = 3  # alternations of means and bias
ENOUGH = 20_000  # voxels; with more, the bias is fitted to every eighth: it has twenty terms
PLENTY = 400_000  # more than a brain has at 2 mm: every eighth counts, or every 64th, ...
_POWERS = [
    (i, j, k)
    for i in range(DEGREE + 1)
    for j in range(DEGREE + 1 - i)
    for k in range(DEGREE + 1 - i - j)
]
_BIAS_RANGE = (0.3, 3.0)
_TUKEY = 4.0  # residuals beyond this many sigmas have no say in the bias


@dataclass(frozen=True)
class TissueFit:
    """Result of :func:`closed_form`.

    Attributes:
        image: phi, ``(N, 1, D, H, W)``.
        means: mu, ``(N, K)``, in the scan's unit.
        bias: b, ``(N, 1, D, H, W)``, mean 1 inside the mask, 1 outside.
    """

    image: Tensor
    means: Tensor
    bias: Tensor


def closed_form(x: Tensor, p: Tensor, mask: Tensor) -> TissueFit:
    """Recouple each scan of a batch.

    Args:
        x: scan, ``(N, 1, D, H, W)``; voxels at or below 0 are taken as outside the field of view.
        p: tissue probabilities, ``(N, K, D, H, W)``.
        mask: brain, bool ``(N, 1, D, H, W)``.
    """
    parts = [_one(x[n, 0], p[n], mask[n, 0]) for n in range(x.shape[0])]
    image, means, bias = (torch.stack(part) for part in zip(*parts, strict=True))
    return TissueFit(image[:, None], means, bias[:, None])


def _one(x: Tensor, p: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """phi ``(D, H, W)``, mu ``(K,)``, b ``(D, H, W)`` of one scan."""
    inside = mask & (x > 0)
    count, step = int(inside.sum()), 1
    while count >= PLENTY * step**3:
        step *= 2
    bias = torch.ones_like(x)
    if count > 10 * len(_POWERS):
        sampled = lattice(inside, 2 * step if count >= ENOUGH else 1)
        bias = torch.where(mask, _bias_field(x, p, mask, sampled), bias)
    sampled = lattice(inside, step)
    means = _robust_means(x[sampled] / bias[sampled], p[:, *sampled])
    image = torch.einsum("k,kdhw->dhw", means, p) * bias * mask
    return image, means, bias


def lattice(inside: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Indices along each axis of the voxels inside that lie on every ``step``-th plane of each."""
    d, h, w = inside[::step, ::step, ::step].nonzero(as_tuple=True)
    return d * step, h * step, w * step


def _bias_field(
    x: Tensor, p: Tensor, mask: Tensor, sampled: tuple[Tensor, Tensor, Tensor]
) -> Tensor:
    """b ``(D, H, W)``, fitted at the voxels ``sampled``, of mean 1 inside the mask."""
    values, shares = x[sampled], p[:, *sampled]
    box = bounding_box(mask)
    powers = [_powers(box[a], mask.shape[a], mask.device) for a in range(3)]  # (D, 4), ...
    d, h, w = sampled
    terms = [powers[0][d, i] * powers[1][h, j] * powers[2][w, k] for i, j, k in _POWERS]
    basis = torch.stack(terms, dim=1)
    bias = torch.ones_like(values)
    for _ in range(ROUNDS):
        means = _robust_means(values / bias, shares)
        coefficients = _fit_bias(values, means @ shares, basis)
        bias = (basis @ coefficients).clamp(*_BIAS_RANGE)
        bias = bias / bias.mean()
    cube = x.new_zeros((DEGREE + 1,) * 3)
    cube[tuple(zip(*_POWERS, strict=True))] = coefficients
    field = torch.einsum("ijk,di,hj,wk->dhw", cube, *powers).clamp(*_BIAS_RANGE)
    return field / field[mask].mean()


def _powers(side: slice, size: int, device: torch.device) -> Tensor:
    """``(size, 4)``: powers 0 to 3 of a coordinate that runs from -1 to 1 across a mask's side."""
    length = max(side.stop - 1 - side.start, 1)
    u = 2 * (torch.arange(size, device=device) - side.start) / length
    return (u - 1)[:, None] ** torch.arange(DEGREE + 1, device=device)


def _robust_means(values: Tensor, shares: Tensor) -> Tensor:
    """``(K,)``: mean of the certain voxels of each tissue, those far from their median left out.

    A tissue without certain voxels gets the mean weighted by its probability.
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


def _fit_bias(values: Tensor, model: Tensor, basis: Tensor) -> Tensor:
    """Coefficients c of ``values ~ model * (basis @ c)``, Tukey's biweight, ``(terms,)``."""
    design = model[:, None] * basis  # (V, terms)
    weight = torch.ones_like(values)
    ridge = 1e-6 * torch.eye(basis.shape[1], dtype=torch.float64, device=basis.device)
    coefficients = torch.zeros(basis.shape[1], device=basis.device)
    for _ in range(4):
        weighted = design * weight[:, None]
        normal = (weighted.T @ design).double()
        right = (weighted.T @ values).double()
        normal = normal + ridge * normal.diagonal().mean()
        coefficients = torch.linalg.solve(normal, right).to(basis.dtype)
        residual = values - design @ coefficients
        sigma = robust_spread(residual).clamp_min(1e-6)
        weight = (1 - (residual / (_TUKEY * sigma)).square()).clamp_min(0).square()
    return coefficients
