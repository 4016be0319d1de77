"""Many thresholds at once: mean Dice of one threshold for all cases, and intervals of pooled AP."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dal_fast.ops import VoxelMetrics

Floats = NDArray[np.float64]
SWEEP: Floats = 2.0 ** (np.arange(-30 * 16, 30 * 16) / 16)
"""Thresholds: 16 an octave, whatever the scale of a detector's maps."""
DRAWS = 500


def dice_at(metrics: VoxelMetrics, thresholds: Floats) -> Floats:
    """Dice of ``score > t`` at each of ascending ``thresholds``; 0 where nothing is above."""
    dice, scores = (side.numpy() for side in metrics.dice())
    return _above(dice, scores, thresholds)


def counts_at(
    metrics: VoxelMetrics, lesions: int, healthies: int, thresholds: Floats
) -> tuple[Floats, Floats]:
    """Lesion and healthy voxels above each of ascending ``thresholds``."""
    fpr, tpr, scores = (side.numpy() for side in metrics.roc())
    rates = (_above(np.nan_to_num(rate), scores, thresholds) for rate in (tpr, fpr))
    tp, fp = (rate * voxels for rate, voxels in zip(rates, (lesions, healthies), strict=True))
    return tp, fp


@dataclass
class PooledInterval:
    """95 % interval of the pooled AP, in memory that does not grow.

    A Poisson bootstrap over participants: in each of :data:`DRAWS` draws every participant has a
    weight from the Poisson distribution of mean 1. Its seed is the participant's name, so that all
    scans of one person have the same weight and the order of cases does not matter. Every draw
    keeps voxels above each of :data:`SWEEP`. The interval's ends are the 2.5th and 97.5th
    percentile of the draws' AP, shifted by the difference between the exact AP and that of so few
    thresholds.
    """

    tp: Floats = field(default_factory=lambda: np.zeros((DRAWS + 1, len(SWEEP) + 1)))
    fp: Floats = field(default_factory=lambda: np.zeros((DRAWS + 1, len(SWEEP) + 1)))
    participants: set[str] = field(default_factory=set)

    def add(self, participant: str, metrics: VoxelMetrics, lesions: int, healthies: int) -> None:
        """Count one case's voxels."""
        self.participants.add(participant)
        seed = hashlib.sha256(participant.encode()).digest()[:8]
        draws = np.random.default_rng(int.from_bytes(seed, "big")).poisson(1, DRAWS)
        weights = np.append(draws, 1)[:, None]  # the last one is the cases themselves
        tp, fp = counts_at(metrics, lesions, healthies, SWEEP)
        self.tp += weights * np.append(lesions, tp)
        self.fp += weights * np.append(healthies, fp)

    def around(self, exact: float) -> tuple[float, float]:
        """The interval around the exact AP; NaN for fewer than two participants."""
        if len(self.participants) < 2 or math.isnan(exact):
            return math.nan, math.nan
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = np.nan_to_num(self.tp / (self.tp + self.fp))
            steps = self.tp - np.append(self.tp[:, 1:], np.zeros((len(self.tp), 1)), axis=1)
            precisions = (steps * precision).sum(axis=1) / self.tp[:, 0]
        draws, coarse = precisions[:-1], float(precisions[-1])
        low, high = np.nanpercentile(draws, [2.5, 97.5]).tolist()
        return max(0.0, low + exact - coarse), min(1.0, high + exact - coarse)


def _above(values: Floats, scores: NDArray[np.float32], thresholds: Floats) -> Floats:
    """``values``, known for falling ``scores``, of what is above each threshold; 0 for nothing."""
    above = np.searchsorted(-scores.astype(np.float64), -thresholds, side="left")
    return np.where(above > 0, values[np.maximum(above, 1) - 1], 0.0)
