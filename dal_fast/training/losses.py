"""Losses of the tissue network."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

DICE_WEIGHT = 0.3
LESION_WEIGHT = 0.5


def tissue_loss(logits: Tensor, tissue: Tensor, mask: Tensor, lesion: Tensor) -> Tensor:
    """Cross-entropy + 0.3 (1 - Dice) + 0.5 cross-entropy inside the lesion, in the brain mask.

    The lesion's own term keeps a small lesion from being outvoted by a large brain. Not specified
    in the paper.

    Args:
        logits: ``(N, K, D, H, W)``.
        tissue: ``(N, D, H, W)`` int64, the healthy truth.
        mask, lesion: bool ``(N, 1, D, H, W)``.
    """
    entropy = F.cross_entropy(logits, tissue, reduction="none")
    inside, sick = mask[:, 0].to(logits.dtype), lesion[:, 0].to(logits.dtype)
    everywhere = (entropy * inside).sum() / inside.sum().clamp_min(1)
    in_lesion = (entropy * sick).sum() / sick.sum().clamp_min(1)
    return everywhere + DICE_WEIGHT * _dice_loss(logits, tissue, mask) + LESION_WEIGHT * in_lesion


def _dice_loss(logits: Tensor, tissue: Tensor, mask: Tensor) -> Tensor:
    """1 - mean soft Dice of the classes."""
    p = logits.softmax(dim=1) * mask
    truth = F.one_hot(tissue, logits.shape[1]).movedim(-1, 1) * mask
    overlap = 2 * (p * truth).sum((2, 3, 4)) + 1
    return 1 - (overlap / (p.sum((2, 3, 4)) + truth.sum((2, 3, 4)) + 1)).mean()


def tissue_dice(logits: Tensor, tissue: Tensor, mask: Tensor) -> Tensor:
    """``(N, K)`` Dice of the most probable class, for reports."""
    guess = F.one_hot(logits.argmax(dim=1), logits.shape[1]).movedim(-1, 1) * mask
    truth = F.one_hot(tissue, logits.shape[1]).movedim(-1, 1) * mask
    both = (guess * truth).sum((2, 3, 4)).double()
    return 2 * both / (guess.sum((2, 3, 4)) + truth.sum((2, 3, 4))).clamp_min(1)
