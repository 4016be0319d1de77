"""What intensities and place say about tissue: E_A's input, whatever the contrast.

Where tissues lie on average, a small atlas laid into the brain's bounding box, tells by weighted
medians how bright each tissue is in this very scan; a few rounds of expectation-maximisation with
an outlier class sharpen means and spreads. The network gets, beside the scan,

    L_k = exp(-(x - mu_k)^2 / (2 sigma_k^2))       how well a voxel fits tissue k
    a_k                                            how often tissue k lies there

so that a T1w and a T2w of one brain look nearly alike to it, while a lesion that fits no tissue
stands out. The network answers with corrections c_k and with a trust t in the intensities:

    logit_k = t log(L_k a_k) + c_k

A fresh one is nearly the classical segmentation, which gives a lesion to the tissue whose intensity
it has; what is learned is where not to trust, and what lies there instead. Not in the paper, whose
E_A sees the scan alone. The fit is that of Ashburner and Friston's unified segmentation
(NeuroImage 2005) without its deformation and bias field.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dal_fast.imaging.morphology import bounding_box, surrounded
from dal_fast.models import fixed
from dal_fast.ops import _image_stages as stages

ATLAS_SIDES = (40, 48, 40)  # a brain's bounding box in the atlas
_ANYWHERE = 0.02  # least prior probability of a tissue
_OUTLIER = 0.05  # density of what is no tissue, per unit of intensity
_LEAST_SPREAD, _FIRST_SPREAD = 0.05, 0.15  # of a tissue, brain median = 0.5
_LIKELIEST = 4  # power of the prior that picks where to look first
_ROUNDS = 12  # of expectation-maximisation
_FAINT = 1e-3  # what the least posterior counts
_ENDS = ("stem.conv1.weight", "head.weight", "head.bias")  # of a U-Net
_FIRST_TRUST = 1.0  # logit of a fresh network's


def widened(scan_only: dict[str, Tensor], fresh: dict[str, Tensor]) -> dict[str, Tensor]:
    """State of a U-Net on the evidence that does at first what one on the scan alone does.

    Args:
        scan_only: state of a U-Net with one input and K outputs.
        fresh: state of one with 1 + 2 K inputs and K + 1 outputs, otherwise of the same sizes.
    """
    state = dict(scan_only)
    first, head, bias = (fresh[name].clone() for name in _ENDS)
    first[:, 1:] *= 0.1
    first[:, :1] = scan_only[_ENDS[0]]
    head[-1], bias[-1] = 0, -_FIRST_TRUST - 3  # little trust
    head[:-1], bias[:-1] = scan_only[_ENDS[1]], scan_only[_ENDS[2]]
    return state | dict(zip(_ENDS, (first, head, bias), strict=True))


class TissueEvidence(nn.Module):
    """``x (N, 1, D, H, W)`` and mask to ``(N, 1 + 2 K, D, H, W)``: the scan, L, and the atlas.

    Args:
        tissues: K, in the order CSF, GM, WM for three.

    Attributes:
        atlas: ``(1, K, *ATLAS_SIDES)``, set by training (:func:`average_tissue`).
    """

    atlas: Tensor

    def __init__(self, tissues: int) -> None:
        super().__init__()
        self.register_buffer("atlas", torch.full((1, tissues, *ATLAS_SIDES), 1 / tissues))

    def place(self, mask: Tensor, tissue: int) -> Tensor:
        """How often a tissue lies where, ``(N, 1, D, H, W)``, 0 outside ``mask (N, 1, ...)``."""
        return laid_out(self.atlas[:, tissue : tissue + 1], mask[:, 0])

    @torch.no_grad()
    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        if stages.served(x, mask, self.atlas) and self.atlas.shape[1] <= stages.MOST_TISSUES:
            return stages.tissue_evidence(x, mask, self.atlas)
        mask = mask[:, 0]
        prior, every = laid_out(self.atlas, mask), slice(None, None, 2)
        sampled = (..., every, every, every)
        inside, deep = (
            (there & (x[:, 0] > 0))[sampled].flatten(1) for there in (mask, surrounded(mask))
        )
        inside = torch.where(deep.any(1, keepdim=True), deep, inside)
        fit = fit_tissues(x[:, 0][sampled].flatten(1), prior[sampled].flatten(2), inside)
        means, spreads = (values[:, :, None, None, None] for values in fit)
        likelihood = torch.exp(-0.5 * ((x - means) / spreads).square()) * mask[:, None]
        return torch.cat([x, likelihood, prior], dim=1)


def laid_out(atlas: Tensor, mask: Tensor) -> Tensor:
    """An atlas ``(1, K, ...)`` in each brain's bounding box, ``(N, K, D, H, W)``, 0 outside.

    Args:
        atlas: interpolated along each axis, its voxels' centres spread evenly over the box.
        mask: brains, bool ``(N, D, H, W)``.
    """
    if stages.served(atlas, mask):
        return torch.stack([stages.lay_atlas(atlas, brain) for brain in mask])
    return fixed.laid_out_each(atlas.expand(len(mask), -1, -1, -1, -1), mask)


def combine(evidence: Tensor, output: Tensor) -> Tensor:
    """Tissue logits ``(N, K, D, H, W)`` from the evidence and what the network makes of it.

    Args:
        evidence: of :class:`TissueEvidence`.
        output: ``(N, K + 1, D, H, W)``: corrections, and the logit of the trust t.
    """
    if stages.served(evidence, output) and output.shape[1] <= stages.MOST_TISSUES:
        return stages.tissue_logits(evidence, output)
    likelihood, prior = evidence[:, 1:].chunk(2, dim=1)
    trust = torch.sigmoid(output[:, -1:] + _FIRST_TRUST)
    return trust * (likelihood * prior + _FAINT).log() + output[:, :-1]


def average_tissue(labels: list[Tensor], tissues: int) -> Tensor:
    """An atlas: how often each tissue lies where in a brain's bounding box, left like right.

    Args:
        labels: of each brain, ``(D, H, W)``, 0 outside, 1 to K inside; axis 0 runs left to right.
        tissues: K.

    Returns:
        ``(K, *ATLAS_SIDES)``; where there was no brain, the mean of the brain's voxels.
    """
    total = torch.zeros((tissues, *ATLAS_SIDES))
    for volume in labels:
        inside = volume[bounding_box(volume > 0)]
        maps = torch.stack([(inside == k + 1).float() for k in range(tissues)])
        total += F.interpolate(maps[None], ATLAS_SIDES, mode="trilinear")[0]
    total += total.flip(1)
    weight = total.sum(dim=0, keepdim=True)
    usual = total.sum((1, 2, 3)) / weight.sum().clamp_min(1e-6)
    seldom = weight < 0.05 * 2 * len(labels)
    return torch.where(seldom, usual.view(-1, 1, 1, 1), total / weight.clamp_min(1e-6))


def fit_tissues(x: Tensor, prior: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and spread of each tissue's intensity, of every scan, ``(N, K)``.

    Started from the median of the places where a tissue is the likeliest, which neither a lesion
    nor fluid far brighter than all else can move.

    Args:
        x: ``(N, V)``.
        prior: ``(N, K, V)`` how probable each tissue is there.
        inside: bool ``(N, V)``: voxels that count.
    """
    counts = inside[:, None]
    means = _weighted_medians(x, (prior**_LIKELIEST) * counts, inside)
    spreads = torch.full_like(means, _FIRST_SPREAD)
    first = spreads
    prior, values = prior.clamp_min(_ANYWHERE), x[:, None]
    for _ in range(_ROUNDS):
        z = (values - means[..., None]) / spreads[..., None]
        density = 0.4 * prior * torch.exp(-0.5 * z.square()) / spreads[..., None]
        share = density / (density.sum(dim=1, keepdim=True) + _OUTLIER) * counts
        count = share.sum(dim=2).clamp_min(1)
        means = (share * values).sum(dim=2) / count
        spreads = (share * (values - means[..., None]).square()).sum(dim=2).div(count).sqrt()
        spreads = spreads.clamp_min(_LEAST_SPREAD)
    some = inside.any(1, keepdim=True)
    return torch.where(some, means, 0), torch.where(some, spreads, first)


def _weighted_medians(x: Tensor, weight: Tensor, inside: Tensor) -> Tensor:
    """``(N, K)`` medians of ``x (N, V)`` for weights ``(N, K, V)``, 0 outside."""
    rising, order = x.masked_fill(~inside, torch.inf).sort(dim=1)
    weight = weight.gather(2, order[:, None].expand(-1, weight.shape[1], -1))
    sums = weight.cumsum(dim=2, dtype=torch.float64)
    middle = (sums < 0.5 * sums[..., -1:]).sum(dim=2)
    middle = torch.minimum(middle, inside.sum(1, keepdim=True) - 1)
    return fixed.ranked(rising[:, None].expand_as(weight), middle)
