"""Precision, recall, ROC and Dice read off a ScoreHistogram.

Going down from the highest score, ``TP`` and ``FP`` are known exactly at every bin boundary. Inside
a bin of p lesion and n healthy voxels they are known when all its voxels share one score
(lowest key = highest key: a tie, as scikit-learn counts it) or when one class is missing; else the
p + n voxels are taken in random order, whose expectation is what the formulas below give.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from dal_fast.ops._score_histogram import Ints, ScoreHistogram, key_to_score

Floats = npt.NDArray[np.float64]

NAN = float("nan")


class ThresholdedDice(NamedTuple):
    """Dice of ``score >= threshold``."""

    value: float
    threshold: float


@dataclass
class ScoreCurve:
    """Occupied bins from the highest score to the lowest; every field has one entry a bin.

    Attributes:
        lesion, healthy: float64, voxels in the bin.
        tp, fp: float64, voxels at or above the bin's lowest score.
        span: int64 ``(K, 2)``, lowest and highest key in the bin.
    """

    lesion: Floats
    healthy: Floats
    tp: Floats
    fp: Floats
    span: Ints

    @classmethod
    def of(cls, histogram: ScoreHistogram) -> ScoreCurve:
        """Drops the empty bins and accumulates."""
        occupied = histogram.occupied()[::-1]
        counts = histogram.counts.take(occupied, axis=0)  # several times as fast as []
        healthy, lesion = counts.T.astype(np.float64, order="C")
        fp, tp = counts.cumsum(axis=0).T.astype(np.float64, order="C")
        return cls(lesion, healthy, tp, fp, histogram.span.take(occupied, axis=0))

    @property
    def lesions(self) -> float:
        """P, all lesion voxels."""
        return float(self.tp[-1]) if len(self.tp) else 0.0

    @property
    def healthies(self) -> float:
        """N, all healthy voxels."""
        return float(self.fp[-1]) if len(self.fp) else 0.0

    @property
    def thresholds(self) -> npt.NDArray[np.float32]:
        """float32, the lowest score of each bin."""
        return key_to_score(self.span[:, 0])

    def average_precision(self) -> float:
        """``sum_k (R_k - R_{k-1}) P_k`` over the distinct scores."""

        def random_order(p: Floats, n: Floats, a: Floats, c: Floats) -> Floats:
            return _precisions(a, c, 1 + n / (p + 1), p)

        return self._average_precision(random_order)

    def average_precision_bounds(self) -> tuple[float, float]:
        """Below: healthy voxels on top of every untied bin. Above: its lesions first and tied."""

        def healthy_first(p: Floats, n: Floats, a: Floats, c: Floats) -> Floats:
            return _precisions(a, c + n, np.ones_like(p), p)

        def lesions_first(p: Floats, n: Floats, a: Floats, c: Floats) -> Floats:
            return p * (a + p) / (c + p)

        return self._average_precision(healthy_first), self._average_precision(lesions_first)

    def _average_precision(
        self, untied: Callable[[Floats, Floats, Floats, Floats], Floats]
    ) -> float:
        """``untied(p, n, a, c)`` sums the precisions at the p lesion voxels of bins with n healthy
        ones, ``a`` lesion voxels and ``c`` voxels in all above them."""
        if self.lesions == 0:
            return NAN
        rows = np.flatnonzero(self.lesion)
        p, n, tp, fp = (t[rows] for t in (self.lesion, self.healthy, self.tp, self.fp))
        low, high = self.span[rows].T
        a = tp - p
        total = np.where(low == high, p * tp / (tp + fp), untied(p, n, a, a + fp - n)).sum()
        return float(total / self.lesions)

    def auroc(self) -> float:
        """Trapezoids: a lesion and a healthy voxel of one bin count one half."""
        if self.lesions == 0 or self.healthies == 0:
            return NAN
        wins = self.healthy * (self.tp - self.lesion / 2)
        return float(wins.sum()) / (self.lesions * self.healthies)

    def dice(self) -> Floats:
        """``2 TP / (TP + FP + P)`` at every threshold, float64."""
        return 2 * self.tp / (self.tp + self.fp + self.lesions)

    def best_dice(self) -> ThresholdedDice:
        """The highest Dice, at the highest threshold that reaches it."""
        if self.lesions == 0:
            return ThresholdedDice(NAN, NAN)
        dice = self.dice()
        k = int(dice.argmax())
        return ThresholdedDice(float(dice[k]), float(self.thresholds[k]))

    def dice_at_fpr(self, fpr: float) -> ThresholdedDice:
        """Dice at the lowest threshold with ``FP <= fpr N``, interpolated inside an untied bin."""
        if self.lesions == 0:
            return ThresholdedDice(NAN, NAN)
        budget = fpr * self.healthies
        k = int((self.fp <= budget).sum())
        tp, fp = (float(t[k - 1]) if k else 0.0 for t in (self.tp, self.fp))
        threshold = float(self.thresholds[k - 1]) if k else float("inf")
        if k < len(self.fp):
            low, high = self.span[k].tolist()
            admitted = int(budget - fp)  # healthy voxels of bin k that still fit
            if low < high and (admitted or self.lesion[k]):
                part = (admitted + 1) / (float(self.healthy[k]) + 1)
                tp, fp = tp + part * float(self.lesion[k]), fp + admitted
                threshold = float(key_to_score(np.array(high - int(part * (high - low)))))
        return ThresholdedDice(2 * tp / (tp + fp + self.lesions), threshold)


def _precisions(a: Floats, c: Floats, slope: Floats, p: Floats) -> Floats:
    """``sum_{i=1..p} (a + i) / (c + slope i)``: precisions at the p lesion voxels of a bin.

    Polynomial division, and ``sum 1 / (z + i) = digamma(z + p + 1) - digamma(z + 1)``; where z is
    large and that difference would cancel, ``digamma(x + 1/2) = ln x + 1 / (24 x^2) - ...``.
    """
    z = c / slope
    low, high = z + 0.5, z + p + 0.5
    harmonic = np.log1p(p / low) + (high**-2 - low**-2) / 24
    small = z < 100
    harmonic[small] = _digamma(high[small] + 0.5) - _digamma(low[small] + 0.5)
    return (p + (a - z) * harmonic) / slope


def _digamma(x: Floats) -> Floats:
    return torch.from_numpy(x).digamma().numpy()
