"""Detectors side by side under one protocol, a scan at a time, in memory that does not grow.

    truths ──┬─ validation: their maps ── thresholds of each detector
             └─ the others: their maps ── measures ── a row a case, pooled counts

Rows are a few hundred bytes a case; all else is histograms of fixed size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from dal_fast.errors import Code, InputError
from dal_fast.evaluation.case_metrics import Anatomy, read_anatomy
from dal_fast.evaluation.detectors import Source
from dal_fast.evaluation.ground_truth import Truth
from dal_fast.evaluation.measures import Measured, Row, measure
from dal_fast.evaluation.protocols import Protocol
from dal_fast.evaluation.statistics import auroc_of, column
from dal_fast.evaluation.sweep import SWEEP, Floats, PooledInterval, dice_at
from dal_fast.evaluation.thresholds import ThresholdCalibration
from dal_fast.ops import VoxelMetrics


@dataclass
class Judgement:
    """What is known of one detector.

    Attributes:
        name: of it.
        thresholds: by name, the headline's first.
        rows: one a case.
        brain, volume: voxels of all cases, inside the brain and everywhere.
        slices: the positive class is "holds lesion". Score: the sum of the map in the slice,
            min-max scaled within each volume (Luo).
        normal_slices: the same turned round: normality, and the positive class is "normal".
        pooled: of the protocol's AP, see :meth:`interval`.
        dice_sum: of every case with a lesion, at each of :data:`SWEEP`.
        sick: cases with a lesion.
    """

    name: str
    thresholds: dict[str, float]
    rows: list[Row] = field(default_factory=list)
    brain: VoxelMetrics = field(default_factory=VoxelMetrics)
    volume: VoxelMetrics = field(default_factory=VoxelMetrics)
    slices: VoxelMetrics = field(default_factory=VoxelMetrics)
    normal_slices: VoxelMetrics = field(default_factory=VoxelMetrics)
    pooled: PooledInterval = field(default_factory=PooledInterval)
    dice_sum: Floats = field(default_factory=lambda: np.zeros(len(SWEEP)))
    sick: int = 0

    @property
    def threshold(self) -> float:
        """The headline's."""
        return next(iter(self.thresholds.values()))

    def counted(self, protocol: Protocol) -> VoxelMetrics:
        """The voxels that the protocol's AP is of."""
        return self.volume if protocol.whole_volume else self.brain

    def add(self, measured: Measured, protocol: Protocol) -> None:
        """Count one case."""
        self.rows.append(measured.row)
        self.brain.merge(measured.brain)
        self.volume.merge(measured.volume)
        own = measured.volume if protocol.whole_volume else measured.brain
        self.pooled.add(str(measured.row["participant"]), own, *measured.voxels)
        if measured.row["lesion_voxels"]:
            self.dice_sum += dice_at(own, SWEEP)
            self.sick += 1
        errors, sick = measured.slice_errors, measured.sick_slices
        span = errors.max() - errors.min()
        if float(span) > 0:
            scaled = ((errors - errors.min()) / span).float().view(1, 1, 1, 1, -1)
            holds = sick.view(scaled.shape)
            self.slices.update(scaled, holds)
            self.normal_slices.update(1 - scaled, ~holds)

    @property
    def mean_dice(self) -> Floats:
        """Mean over cases with a lesion of their Dice above each of :data:`SWEEP`."""
        return self.dice_sum / self.sick if self.sick else np.full(len(SWEEP), math.nan)

    def interval(self, protocol: Protocol) -> tuple[float, float]:
        """95 % interval of the pooled AP of the protocol's voxels."""
        return self.pooled.around(self.counted(protocol).average_precision())

    def totals(self) -> dict[str, float]:
        """Measures that are not means of a row's, by name.

        ``average_precision``, ``average_precision_volume``, ``auroc``, ``best_pooled_dice``: of
        all voxels pooled. ``best_mean_dice``: highest mean Dice of one threshold for all cases.
        ``slice_auroc``; ``slice_auprc_normal``: by trapezoids, positive are normal slices (Luo);
        ``slice_average_precision``: positive are slices with lesion. ``scan_auroc``: of the scans'
        scores. ``lesion_sensitivity``, ``slice_sensitivity``: found of all.
        """
        mean_dice = self.mean_dice
        return {
            "average_precision": self.brain.average_precision(),
            "average_precision_volume": self.volume.average_precision(),
            "auroc": self.brain.auroc(),
            "best_pooled_dice": self.brain.best_dice().value,
            "best_mean_dice": float(mean_dice.max()),
            "best_mean_dice_threshold": float(SWEEP[mean_dice.argmax()]),
            "slice_auroc": self.slices.auroc(),
            "slice_average_precision": self.slices.average_precision(),
            "slice_auprc_normal": _trapezoids(self.normal_slices),
            "scan_auroc": auroc_of(
                column(self.rows, "score"), [bool(row["lesion_voxels"]) for row in self.rows]
            ),
            "lesion_sensitivity": _share(self.rows, "lesions_found", "lesions"),
            "slice_sensitivity": _share(self.rows, "slices_hit", "lesion_slices"),
        }


def evaluate(
    truths: Sequence[Truth],
    detectors: Sequence[Source],
    protocol: Protocol,
    validation: Sequence[Truth] = (),
    threshold: float | None = None,
    advance: Callable[[], None] = lambda: None,
    judged: Callable[[Anatomy, dict[str, Tensor], dict[str, float]], None] = lambda a, m, t: None,
) -> list[Judgement]:
    """Judge the maps of every detector.

    Args:
        truths: scans to judge; those that are also in ``validation`` are left out.
        detectors: where their maps come from, names all different.
        protocol: see :mod:`dal_fast.evaluation.protocols`.
        validation: scans that thresholds come from.
        threshold: instead of the protocol's.
        advance: called after every scan.
        judged: called with every judged scan, the detectors' maps and their thresholds.

    Raises:
        InputError: ``detector-twice``, ``no-cases``, ``map-missing`` before anything is read,
            ``validation-missing``, and whatever a scan, mask or map is refused for.
    """
    names = [detector.name for detector in detectors]
    if len(set(names)) < len(names):
        raise InputError(Code.DETECTOR_TWICE, f"two detectors share a name: {', '.join(names)}")
    reserved = {truth.scan for truth in validation}
    cases = [truth for truth in truths if truth.scan not in reserved]
    if not cases or not detectors:
        raise InputError(Code.NO_CASES, "there is nothing to judge: every scan is for validation")
    for truth in (*validation, *cases):
        for detector in detectors:
            detector.find(truth.scan)
    counted = {detector.name: ThresholdCalibration() for detector in detectors}
    for anatomy, maps in _prefetched(validation, detectors, protocol):
        for name, score in maps.items():
            smooth, unfiltered = protocol.apply(score, anatomy.brain, anatomy.axial)
            counted[name].update(anatomy, smooth, unfiltered, protocol)
        advance()
    found = {
        name: Judgement(name, calibration.thresholds(protocol, threshold))
        for name, calibration in counted.items()
    }
    for anatomy, maps in _prefetched(cases, detectors, protocol):
        for name, score in maps.items():
            maps[name], _ = protocol.apply(score, anatomy.brain, anatomy.axial)
            own = found[name]
            own.add(measure(anatomy, maps[name], protocol, own.thresholds), protocol)
        judged(anatomy, maps, {name: own.threshold for name, own in found.items()})
        advance()
    return list(found.values())


def _prefetched(
    truths: Sequence[Truth], detectors: Sequence[Source], protocol: Protocol
) -> Iterator[tuple[Anatomy, dict[str, Tensor]]]:
    """Reads the next scan while the one before is judged."""

    def read(truth: Truth) -> tuple[Anatomy, dict[str, Tensor]]:
        anatomy = read_anatomy(truth, protocol)
        return anatomy, {detector.name: detector.read(anatomy) for detector in detectors}

    with ThreadPoolExecutor(1) as pool:
        ahead = [pool.submit(read, truth) for truth in truths[:1]]
        for truth in [*truths[1:], None]:
            if not ahead:
                return
            ready = ahead.pop().result()
            if truth is not None:
                ahead.append(pool.submit(read, truth))
            yield ready


def _trapezoids(metrics: VoxelMetrics) -> float:
    """``sklearn.metrics.auc`` of the precision-recall curve, as Luo's code takes it."""
    curve = metrics.precision_recall()
    return float(-torch.trapezoid(curve.precision, curve.recall))


def _share(rows: Sequence[Row], part: str, whole: str) -> float:
    total = sum(int(row[whole]) for row in rows)
    return sum(int(row[part]) for row in rows) / total if total else math.nan
