"""Closed-form recoupling: tissue probabilities and a scan to the pseudo-healthy image.

    phi = b * sum_k p_k mu_k        inside the mask, 0 outside

with mu_k the robust mean of the scan in tissue k, away from the mask's border and what is dark
there, and b a smooth bias field of mean 1 (:mod:`dal_fast.models.bias`). Not in the paper, whose
R_D learns this map: contrast is read off the scan instead of being squeezed through a learned
vector, so any sequence works without training, and a lesion moves neither mu_k nor b, which both
leave out what stands out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dal_fast.imaging.morphology import surrounded, without_dark_border
from dal_fast.imaging.normalise import BRAIN_LEVEL, CEILING
from dal_fast.models.bias import FEWEST, bias_field, robust_means
from dal_fast.ops import _image_stages as stages

FILLED = 3  # a brain fills about a third of what the networks see
ENOUGH = 20_000  # voxels; with more, the bias is fitted to every eighth
PLENTY = 400_000  # more than a brain has at 2 mm: every eighth counts, or every 64th, ...
DARK = 0.5  # of the brain's median; what is darker at a mask's border may be no brain
DEEPEST = 6  # layers of a mask's border that are looked at


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
        x: scan, not cut off, ``(N, 1, D, H, W)``; voxels at or below 0 are taken as outside the
            field of view.
        p: tissue probabilities, ``(N, K, D, H, W)``.
        mask: brain, bool ``(N, 1, D, H, W)``.
    """
    if stages.served(x, p, mask) and p.shape[1] <= stages.MOST_TISSUES:
        return TissueFit(*stages.closed_form(x, p, mask))
    with torch.autocast(x.device.type, enabled=False):  # normal equations need every digit
        return _by_torch(x[:, 0], p, mask[:, 0])


def without_field(x: Tensor, phi: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """The scan and phi without the bias field, the scan cut off at ``CEILING``.

    They are compared so: with the field, a residual is b times as large as the tissue's, and what
    is cut off at the coil's bright side looks like a dark lesion.

    Args:
        x: scan, not cut off, ``(N, 1, D, H, W)``.
        phi: of :func:`closed_form`, the same shape.
        bias: of :func:`closed_form`, the same shape, 0 where it was not estimated; None for a model
            that estimates none.
    """
    if bias is None:
        return x.clamp_max(CEILING), phi
    field = torch.where(bias > 0, bias, 1.0)
    return (x / field).clamp_max(CEILING), phi / field


def _by_torch(x: Tensor, p: Tensor, mask: Tensor) -> TissueFit:
    """Every scan of a batch ``(N, D, H, W)``, in fixed shapes (:mod:`dal_fast.models.fixed`).

    How many voxels are looked at follows from the volume instead of from the brain.
    """
    inside, step, usual = mask & (x > 0), 1, x[0].numel() // FILLED
    while usual >= PLENTY * step**3:
        step *= 2
    field = bias_field(x, p, inside, 2 * step if usual >= ENOUGH else 1)
    enough = inside.flatten(1).sum(1).view(-1, 1, 1, 1) > FEWEST
    bias = torch.where(enough & mask, field.bias, 1.0)
    seen = inside & ~(enough & field.suspicious)
    every = (..., *3 * (slice(None, None, step),))
    core = surrounded(without_dark_border(mask, x, DARK * BRAIN_LEVEL, DEEPEST))
    means = robust_means(
        (x / bias)[every].flatten(1),
        p[every].flatten(2),
        seen[every].flatten(1),
        core[every].flatten(1),
    )
    image = torch.einsum("nk,nkdhw->ndhw", means, p) * bias * mask
    return TissueFit(image[:, None], means, bias[:, None])
