"""Closed-form recoupling: tissue probabilities and a scan to the pseudo-healthy image.

    phi = b * sum_k p_k mu_k        inside the mask, 0 outside

with mu_k the robust mean of the scan in tissue k and b a smooth bias field of mean 1
(:mod:`dal_fast.models.bias`). Not in the paper, whose R_D learns this map: contrast is read off the
scan instead of being squeezed through a learned vector, so any sequence works without training, and
a lesion moves neither mu_k nor b, which both leave out what stands out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dal_fast.models import fixed, fixed_fit
from dal_fast.models.bias import FEWEST, bias_field, robust_means
from dal_fast.ops import _image_stages as stages

ENOUGH = 20_000  # voxels; with more, the bias is fitted to every eighth
PLENTY = 400_000  # more than a brain has at 2 mm: every eighth counts, or every 64th, ...


@dataclass(frozen=True)
class TissueFit:
    """Result of :func:`closed_form`.

    Attributes:
        image: phi, ``(N, 1, D, H, W)``.
        means: mu, ``(N, K)``, in the scan's unit.
        bias: b, ``(N, 1, D, H, W)``, 1 outside the mask, its mean 1 where the scan has signal.
    """

    image: Tensor
    means: Tensor
    bias: Tensor


def closed_form(x: Tensor, p: Tensor, mask: Tensor) -> TissueFit:
    """Recouple each scan of a batch, in the scan's own precision also under autocast.

    Args:
        x: scan, ``(N, 1, D, H, W)``; voxels at or below 0 are taken as outside the field of view.
        p: tissue probabilities, ``(N, K, D, H, W)``.
        mask: brain, bool ``(N, 1, D, H, W)``.
    """
    if not fixed.wanted(x) and stages.served(x, p, mask) and p.shape[1] <= stages.MOST_TISSUES:
        return TissueFit(*stages.closed_form(x, p, mask))
    with torch.autocast(x.device.type, enabled=False):  # normal equations need every digit
        if fixed.wanted(x):
            return _all(x[:, 0], p, mask[:, 0])
        parts = [_one(x[n, 0], p[n], mask[n, 0]) for n in range(x.shape[0])]
    image, means, bias = (torch.stack(part) for part in zip(*parts, strict=True))
    return TissueFit(image[:, None], means, bias[:, None])


def _one(x: Tensor, p: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """phi ``(D, H, W)``, mu ``(K,)``, b ``(D, H, W)`` of one scan."""
    inside = mask & (x > 0)
    count, step = int(inside.sum()), 1
    while count >= PLENTY * step**3:
        step *= 2
    bias, seen = torch.ones_like(x), inside
    spacing = 2 * step if count >= ENOUGH else 1
    if count > FEWEST:
        field = bias_field(x, p, inside, spacing)
        bias, seen = torch.where(mask, field.bias, bias), inside & ~field.suspicious
    sampled = lattice(seen, step)
    means = robust_means(x[sampled] / bias[sampled], p[:, *sampled])
    image = torch.einsum("k,kdhw->dhw", means, p) * bias * mask
    return image, means, bias


def _all(x: Tensor, p: Tensor, mask: Tensor) -> TissueFit:
    """Every scan of a batch ``(N, D, H, W)`` in fixed shapes (:mod:`dal_fast.models.fixed`).

    How many voxels are looked at follows from the volume instead of from the brain, which fills
    about a third of it. That chooses as on a CPU, but for brains below 20 000 voxels (160 mL at
    2 mm), whose field is fitted to fewer voxels here.
    """
    inside, step, usual = mask & (x > 0), 1, x[0].numel() // 3
    while usual >= PLENTY * step**3:
        step *= 2
    field, suspicious = fixed_fit.bias_field(x, p, inside, 2 * step if usual >= ENOUGH else 1)
    enough = inside.flatten(1).sum(1).view(-1, 1, 1, 1) > FEWEST
    bias = torch.where(enough & mask, field, 1.0)
    seen = inside & ~(enough & suspicious)
    every = (..., *3 * (slice(None, None, step),))
    means = fixed_fit.robust_means(
        (x / bias)[every].flatten(1), p[every].flatten(2), seen[every].flatten(1)
    )
    image = torch.einsum("nk,nkdhw->ndhw", means, p) * bias * mask
    return TissueFit(image[:, None], means, bias[:, None])


def lattice(inside: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Indices along each axis of the voxels inside that lie on every ``step``-th plane of each."""
    d, h, w = inside[::step, ::step, ::step].nonzero(as_tuple=True)
    return d * step, h * step, w * step
