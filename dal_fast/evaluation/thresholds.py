"""Where a threshold may come from without looking at the cases that are judged.

    fixed               given by the user
    healthy             of healthy scans: the lowest whose false-positive rate in the brain is
                        below the protocol's
    healthy_unfiltered  the same of the maps before their median, as UAD-IMAG's code takes it
    validation          of validation cases: the best Dice, all their voxels pooled
    halving             the same as ``find_best_val`` of pDDPM's code looks for it (from Zimmerer):
                        interval halving, ten times, which assumes a single peak

A voxel is marked when its value is *above* the threshold (all originals: ``>``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from dal_fast.errors import Code, InputError
from dal_fast.evaluation.case_metrics import Anatomy
from dal_fast.evaluation.protocols import Protocol
from dal_fast.ops import VoxelMetrics

NAMES = ("fixed", "healthy", "healthy_unfiltered", "validation", "halving")
_HALVINGS = 10


@dataclass
class ThresholdCalibration:
    """What is counted of the cases that thresholds come from, in constant memory.

    Attributes:
        healthy, unfiltered: voxels of healthy brains.
        sick: voxels of validation cases with lesions.
    """

    healthy: VoxelMetrics = field(default_factory=VoxelMetrics)
    unfiltered: VoxelMetrics = field(default_factory=VoxelMetrics)
    sick: VoxelMetrics = field(default_factory=VoxelMetrics)
    healthy_scans: int = 0
    sick_scans: int = 0

    def update(
        self, anatomy: Anatomy, score: Tensor, unfiltered: Tensor, protocol: Protocol
    ) -> None:
        """Count one case; ``score`` and ``unfiltered`` are those of :meth:`Protocol.apply`."""
        if anatomy.truth.lesion is None:
            self.healthy_scans += 1
            self.healthy.update(score, anatomy.lesion, anatomy.brain)
            self.unfiltered.update(unfiltered, anatomy.lesion, anatomy.brain)
        else:
            self.sick_scans += 1
            region = None if protocol.whole_volume else anatomy.brain
            self.sick.update(score, anatomy.lesion, region)

    def thresholds(self, protocol: Protocol, fixed: float | None = None) -> dict[str, float]:
        """Every threshold that the counted cases can give, the protocol's own first.

        Raises:
            InputError: ``validation-missing`` when the protocol's own is not among them.
        """
        found: dict[str, float] = {} if fixed is None else {"fixed": fixed}
        if self.healthy_scans:
            found["healthy"] = _at_rate(self.healthy, protocol.fpr)
            found["healthy_unfiltered"] = _at_rate(self.unfiltered, protocol.fpr)
        if self.sick_scans:
            found["validation"] = _just_below(self.sick.best_dice().threshold)
            found["halving"] = halve(dice_above(self.sick), float(self.sick.dice().thresholds[0]))
        own = protocol.threshold if fixed is None else "fixed"
        if own not in found:
            kind = "healthy scans" if own.startswith("healthy") else "cases with lesions"
            raise InputError(
                Code.VALIDATION_MISSING,
                f"protocol {protocol.name} takes its threshold from {kind} that are not judged: "
                "name some with --validation KEY=VALUE, or give --threshold",
            )
        return {own: found.pop(own), **found}


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
