"""Reference of the voxel-wise metrics: the histogram in plain torch, the curves by sorting."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

EMPTY_SPAN = (2**32 - 1, 0)
PAGES = 2**16


def score_keys(score: Tensor) -> Tensor:
    """int64 in ``[0, 2^32)`` with the order of ``score`` as float32; -0 equals +0."""
    bits = (score.float() + 0.0).contiguous().view(torch.int32).long()
    return torch.where(bits >= 0, bits + 2**31, -bits - 1)


def score_pages(score: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Which of the 65,536 pages ``key >> 16`` hold a score, bool; and the number of NaN."""
    inside = score.flatten() if mask is None else score[mask]
    number = ~inside.isnan()
    pages = torch.zeros(PAGES, dtype=torch.bool, device=score.device)
    pages[score_keys(inside[number]) >> 16] = True
    return pages, (~number).sum()


def score_histogram(
    score: Tensor, target: Tensor, mask: Tensor | None, base: Tensor, shift: int, bins: int
) -> tuple[Tensor, Tensor]:
    """Counts and key spans per bin ``base[key >> 16] + ((key & 0xffff) >> shift)``.

    Returns:
        counts: int64 ``(bins, 2)``, healthy and lesion voxels.
        span: int64 ``(bins, 2)``, lowest and highest key; ``(2^32 - 1, 0)`` where empty.
    """
    inside = torch.ones_like(target) if mask is None else mask
    keys, lesion = score_keys(score[inside]), target[inside].long()
    bin_ = base[keys >> 16] + ((keys & 0xFFFF) >> shift)
    counts = torch.bincount(2 * bin_ + lesion, minlength=2 * bins).view(bins, 2)
    lowest = keys.new_full((bins,), EMPTY_SPAN[0]).scatter_reduce(0, bin_, keys, "amin")
    highest = keys.new_full((bins,), EMPTY_SPAN[1]).scatter_reduce(0, bin_, keys, "amax")
    return counts, torch.stack([lowest, highest], dim=1)


class ExactCurve(NamedTuple):
    """At each distinct score, from the highest: voxels at or above it."""

    thresholds: Tensor
    lesion: Tensor  # true positives, float64
    healthy: Tensor  # false positives, float64


def exact_curve(score: Tensor, target: Tensor, mask: Tensor | None = None) -> ExactCurve:
    """Sorts every voxel inside ``mask``; ``score`` and ``target`` of any one shape."""
    inside = torch.ones_like(target) if mask is None else mask
    s, order = torch.sort(score[inside].double(), descending=True)
    lesion = target[inside][order].double()
    last = torch.ones_like(s, dtype=torch.bool)
    last[:-1] = s[:-1] != s[1:]
    return ExactCurve(s[last], lesion.cumsum(0)[last], (1 - lesion).cumsum(0)[last])


def average_precision(curve: ExactCurve) -> float:
    """``sum_k (R_k - R_{k-1}) P_k`` over the distinct thresholds."""
    steps = torch.diff(curve.lesion, prepend=curve.lesion.new_zeros(1))
    precision = curve.lesion / (curve.lesion + curve.healthy)
    return float((steps * precision).sum() / curve.lesion[-1])


def auroc(curve: ExactCurve) -> float:
    """Area under the ROC by trapezoids: a tie between lesion and healthy counts one half."""
    zero = curve.lesion.new_zeros(1)
    tpr = torch.cat([zero, curve.lesion / curve.lesion[-1]])
    fpr = torch.cat([zero, curve.healthy / curve.healthy[-1]])
    return float(torch.trapezoid(tpr, fpr))


def dice(curve: ExactCurve) -> Tensor:
    """``2 TP / (TP + FP + P)`` at every threshold."""
    return 2 * curve.lesion / (curve.lesion + curve.healthy + curve.lesion[-1])


def dice_at_fpr(curve: ExactCurve, fpr: float) -> float:
    """Dice at the lowest threshold whose false-positive rate does not exceed ``fpr``."""
    allowed = int((curve.healthy <= fpr * curve.healthy[-1]).sum())
    return float(dice(curve)[allowed - 1]) if allowed else 0.0
