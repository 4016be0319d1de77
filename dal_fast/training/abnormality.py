"""The target and the loss of the head on residual evidence.

A lesion is a target as far as it can be seen (Baugh et al. 2023, "Many tasks make light work"):

    y = 1 - exp(-d^2 / (2 sigma^2))     inside lesions, 0 elsewhere

with d the root mean square, over the lesion's voxels of a 3x3x3 neighbourhood, of what the lesion
changed, and sigma the residual's usual spread in the tissue. A lesion that changed nothing is asked
of nobody, and a decoy is none.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dal_fast.models.residuals import usual_spread

_WEIGHT = 5.0  # of an abnormal voxel's cross-entropy beside a normal one's
_DICE = 0.5  # weight of the Dice loss
_SMOOTH = 20.0  # voxels, in the Dice: fewer cannot make much of it
_FEWEST = 5.0  # voxels of a target that Dice is asked for


@torch.no_grad()
def soft_target(
    x: Tensor, healthy: Tensor, phi: Tensor, p: Tensor, lesion: Tensor, mask: Tensor
) -> Tensor:
    """y, ``(N, 1, D, H, W)`` in [0, 1].

    Args:
        x: normalised scan, ``(N, 1, D, H, W)``.
        healthy: the same scan without its lesions.
        phi: pseudo-healthy image, whose residual tells how far a healthy voxel strays.
        p: tissue probabilities, ``(N, 3, D, H, W)``.
        lesion, mask: bool ``(N, 1, D, H, W)``.
    """
    inside = (lesion & mask).to(x.dtype)
    changed = F.avg_pool3d((x - healthy).square() * inside, 3, 1, 1)
    changed = changed / F.avg_pool3d(inside, 3, 1, 1).clamp_min(1e-3)
    sigma = usual_spread(x, phi, p, mask & (x > 0))
    return inside * (1 - torch.exp(-changed / (2 * sigma.square())))


def abnormality_loss(logits: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """``(N,)``: cross-entropy to the soft target over the brain, and half of 1 - soft Dice.

    Args:
        logits: of the head, ``(N, 1, D, H, W)``.
        target: in [0, 1], the same shape.
        mask: bool, the same shape.
    """
    volume, inside = (1, 2, 3, 4), mask.to(logits.dtype)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    weighted = (entropy * inside * (1 + (_WEIGHT - 1) * target)).sum(volume)
    found, wanted = torch.sigmoid(logits) * inside, target * inside
    overlap = 2 * (found * wanted).sum(volume) + _SMOOTH
    both = found.square().sum(volume) + wanted.square().sum(volume) + _SMOOTH
    asked = wanted.sum(volume) > _FEWEST
    return weighted / inside.sum(volume).clamp_min(1) + _DICE * asked * (1 - overlap / both)
