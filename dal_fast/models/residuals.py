"""What scan and pseudo-healthy image say about each other, voxel by voxel.

Scores (:mod:`dal_fast.screening.scoring`) and the head on residual evidence
(:mod:`dal_fast.models.residual_head`) share these. Not specified in the paper.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dal_fast.models import fixed
from dal_fast.ops import _gpu_stages as gpu
from dal_fast.ops import _image_stages as stages

CERTAIN, ENOUGH = 0.8, 50  # probability and number of the voxels that a spread is taken from
LEAST_SPREAD, UNKNOWN_SPREAD = 0.02, 0.1  # of a tissue without noise, of one with too few voxels


def highest_nearby(phi: Tensor, mask: Tensor) -> Tensor:
    """Largest phi inside the mask among a voxel and its 26 neighbours, ``(N, 1, D, H, W)``."""
    if stages.served(phi, mask):
        return stages.highest_nearby(phi, mask)
    if gpu.served(phi, mask):
        return gpu.highest_nearby(phi, mask)
    highest = phi.masked_fill(~mask, -torch.inf)
    for axis in (2, 3, 4):
        before, size = highest, highest.shape[axis]
        highest = before.clone()
        for start, shift in ((0, 1), (1, -1)):
            part = highest.narrow(axis, start, size - 1)
            torch.maximum(part, before.narrow(axis, start + shift, size - 1), out=part)
    return highest.clamp_min_(-1e6)


def usual_spread(x: Tensor, phi: Tensor, p: Tensor, mask: Tensor) -> Tensor:
    """sigma of every voxel ``(N, 1, D, H, W)``, from the tissues' robust spreads of ``x - phi``.

    Args:
        x: normalised scan, ``(N, 1, D, H, W)``.
        phi: pseudo-healthy image, the same shape.
        p: tissue probabilities, ``(N, K, D, H, W)``.
        mask: where the scan has signal inside the brain, bool ``(N, 1, D, H, W)``.
    """
    if stages.served(x, phi, p, mask):
        return stages.usual_spread(x, phi, p, mask)
    certain = ((p > CERTAIN) & mask).flatten(2)
    found = fixed.masked_spread((x - phi).expand_as(p).flatten(2), certain)
    few = certain.sum(2) < ENOUGH
    spreads = torch.where(few, UNKNOWN_SPREAD, found.clamp_min(LEAST_SPREAD))
    mixed = torch.einsum("nkdhw,nk->ndhw", p, spreads)[:, None]
    return torch.where(mask, mixed, 1.0).clamp_min(LEAST_SPREAD)
