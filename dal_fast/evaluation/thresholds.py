"""Where a threshold may come from without looking at the cases that are evaluated.

    fixed               given by the user
    healthy             of healthy scans: the lowest whose false-positive rate in the brain is
                        below the protocol's
    healthy_unfiltered  the same of the maps before their median, as UAD-IMAG's code takes it
    healthy_mean        of healthy scans: the mean of what the protocol's share of each brain's
                        voxels exceeds
    validation          of validation cases: the best Dice, all their voxels pooled
    halving             the same as ``find_best_val`` of pDDPM's code looks for it (from Zimmerer):
                        interval halving, ten times, which assumes a single peak

A voxel is marked when its value is *above* the threshold (all originals: ``>``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np
from torch import Tensor

from dal_fast.errors import Code, InputError
from dal_fast.evaluation.ground_truth import GroundTruth
from dal_fast.evaluation.protocols import Protocol
from dal_fast.ops import VoxelMetrics

_HALVINGS = 10


@dataclass
class ThresholdCalibration:
    """What is counted of the cases that thresholds come from, in constant memory.

    Attributes:
        healthy, unfiltered: voxels of healthy brains.
        with_lesion: voxels of validation cases with lesions.
        levels: what the protocol's share of a healthy brain exceeds, scan by scan; only for a
            protocol that asks for their mean.
    """

    healthy: VoxelMetrics = field(default_factory=VoxelMetrics)
    unfiltered: VoxelMetrics = field(default_factory=VoxelMetrics)
    with_lesion: VoxelMetrics = field(default_factory=VoxelMetrics)
    healthy_scans: int = 0
    scans_with_lesion: int = 0
    levels: list[float] = field(default_factory=list)

    def update(
        self, truth: GroundTruth, score: Tensor, unfiltered: Tensor, protocol: Protocol
    ) -> None:
        """Count one case; ``score`` and ``unfiltered`` are those of :meth:`Protocol.apply`."""
        if truth.has_lesion:
            self.scans_with_lesion += 1
            region = None if protocol.whole_volume else truth.brain
            self.with_lesion.update(score, truth.lesion, region)
            return
        self.healthy_scans += 1
        if protocol.threshold == "healthy_mean":
            self.levels.append(quantile(score[truth.brain], protocol.fpr))
            return
        self.healthy.update(score, truth.lesion, truth.brain)
        self.unfiltered.update(unfiltered, truth.lesion, truth.brain)

    def thresholds(
        self, protocol: Protocol, fixed: float | None = None, required: bool = True
    ) -> dict[str, float]:
        """Every threshold that the counted cases can give, the protocol's own first.

        Args:
            protocol: whose thresholds to take.
            fixed: by the user, instead of the protocol's own.
            required: refuse cases that do not give the protocol's own, which is NaN otherwise.

        Raises:
            InputError: ``validation-missing``.
        """
        known: dict[str, float] = {} if fixed is None else {"fixed": fixed}
        if self.levels:
            known["healthy_mean"] = fmean(self.levels)
        elif self.healthy_scans:
            known["healthy"] = _at_rate(self.healthy, protocol.fpr)
            known["healthy_unfiltered"] = _at_rate(self.unfiltered, protocol.fpr)
        if self.scans_with_lesion:
            known["validation"] = _just_below(self.with_lesion.best_dice().threshold)
            highest = float(self.with_lesion.dice().thresholds[0])
            known["halving"] = halve(dice_above(self.with_lesion), highest)
        own = protocol.threshold if fixed is None else "fixed"
        if own not in known and not required:
            known[own] = math.nan
        if own not in known:
            needed = "healthy scans" if own.startswith("healthy") else "cases with lesions"
            raise InputError(
                Code.VALIDATION_MISSING,
                f"protocol {protocol.name} takes its threshold from {needed} that are not "
                "evaluated: name some with --validation KEY=VALUE, or give --threshold",
            )
        return {own: known.pop(own), **known}


def quantile(values: Tensor, share: float) -> float:
    """What a ``share`` of ``values (V,)`` exceeds: the value of rank ``round((1 - share) V)``."""
    rank = max(1, round((1 - share) * values.numel()))
    return float(values.kthvalue(rank).values)


def dice_above(metrics: VoxelMetrics) -> Callable[[float], float]:
    """Pooled Dice of ``score > t`` as a function of t."""
    dice, thresholds = (side.numpy() for side in metrics.dice())

    def at(threshold: float) -> float:
        k = int(np.searchsorted(-thresholds, -threshold, side="left"))  # scores above it
        return float(dice[k - 1]) if k else 0.0

    return at


def halve(dice: Callable[[float], float], highest: float) -> float:
    """The threshold that pDDPM's search ends with (``utils_eval.py``, ``find_best_val``).

    Each time the Dice at a quarter and at three quarters of the interval decide which half goes
    on; ties go to the lower; the best of all points that won is returned.

    Args:
        dice: of a threshold.
        highest: score.
    """
    low, high, best, point = 0.0, highest, 0.0, 0.0
    for _ in range(_HALVINGS):
        if low == high:
            high = 1.0
        middle = (low + high) / 2
        at = low + 0.25 * (high - low), low + 0.75 * (high - low)
        below, above = dice(at[0]), dice(at[1])
        if below >= above:
            best, point = (below, at[0]) if below >= best else (best, point)
            high = middle
        else:
            best, point = (above, at[1]) if above >= best else (best, point)
            low = middle
    return point


def _at_rate(healthy: VoxelMetrics, fpr: float) -> float:
    """The lowest t for which the share of healthy voxels above t is less than ``fpr``."""
    curve = healthy.roc()  # from +inf down
    allowed = curve.thresholds[curve.fpr < fpr]
    if len(allowed) > 1:
        return _just_below(float(allowed[-1]))
    return float(curve.thresholds[1])  # more voxels than that share the highest score


def _just_below(threshold: float) -> float:
    """So that ``score > t`` means ``score >= threshold``."""
    return float(np.nextafter(np.float32(threshold), np.float32(-math.inf)))
