"""The evaluator: detectors side by side on the same cases, under one protocol.

    cases ──┬─ validation: their maps ── thresholds of each detector
            └─ the others: their maps ── measures ── one row a case, pooled counts

Cases are read one at a time: a row takes a few hundred bytes, and all else is histograms of fixed
size. A case that cannot be evaluated becomes a failure and is left out for every detector, so that
all are compared on the same cases; what file names, headers and lesion masks can tell is found
before anything is computed.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from dal_fast.errors import Code, DalFastError, InputError, OutputError, RuntimeUnavailable
from dal_fast.evaluation.case_metrics import CaseMetrics, Measurement, measure
from dal_fast.evaluation.cases import Case
from dal_fast.evaluation.detectors import Detector
from dal_fast.evaluation.ground_truth import GroundTruth, read_ground_truth, read_lesion
from dal_fast.evaluation.images import check_same_grid, read_grid
from dal_fast.evaluation.protocols import Protocol
from dal_fast.evaluation.statistics import column
from dal_fast.evaluation.sweep import SWEEP, Floats, PooledInterval, dice_at
from dal_fast.evaluation.thresholds import ThresholdCalibration
from dal_fast.metrics import auroc
from dal_fast.ops import VoxelMetrics
from dal_fast.report.index import Failure

Maps = dict[str, Tensor]
T = TypeVar("T")


@dataclass
class DetectorResults:
    """What is known of one detector.

    Attributes:
        name: of it.
        thresholds: by name, the protocol's own first.
        cases: its measures, case by case.
        brain, volume: voxels of all cases, inside the brain and everywhere.
        slices: the positive class is "holds lesion". Score: the sum of the map in the slice,
            min-max scaled within each volume (Luo).
        normal_slices: the same with classes exchanged: the score is 1 - that of ``slices``, and
            the positive class is "normal".
        slice_peaks: slices that cross the brain, by the highest value of the map.
        pooled: of the protocol's AP, see :meth:`interval`.
        dice_sum: of every case with a lesion, at each of :data:`SWEEP`.
        with_lesion: number of cases with a lesion.
        lesions_by_size, found_by_size: lesions, and those found, by
            :func:`dal_fast.evaluation.case_metrics.size_class`.
    """

    name: str
    thresholds: dict[str, float]
    cases: list[CaseMetrics] = field(default_factory=list)
    brain: VoxelMetrics = field(default_factory=VoxelMetrics)
    volume: VoxelMetrics = field(default_factory=VoxelMetrics)
    slices: VoxelMetrics = field(default_factory=VoxelMetrics)
    normal_slices: VoxelMetrics = field(default_factory=VoxelMetrics)
    slice_peaks: VoxelMetrics = field(default_factory=VoxelMetrics)
    pooled: PooledInterval = field(default_factory=PooledInterval)
    dice_sum: Floats = field(default_factory=lambda: np.zeros(len(SWEEP)))
    with_lesion: int = 0
    lesions_by_size: Counter[str] = field(default_factory=Counter)
    found_by_size: Counter[str] = field(default_factory=Counter)

    @property
    def threshold(self) -> float:
        """The protocol's."""
        return next(iter(self.thresholds.values()))

    def counted(self, protocol: Protocol) -> VoxelMetrics:
        """The voxels that the protocol's AP is of."""
        return self.volume if protocol.whole_volume else self.brain

    def add(self, measurement: Measurement, protocol: Protocol) -> None:
        """Count one case."""
        metrics = measurement.metrics
        self.cases.append(metrics)
        self.brain.merge(measurement.brain)
        self.volume.merge(measurement.volume)
        counted = measurement.volume if protocol.whole_volume else measurement.brain
        voxels = measurement.lesion_voxels, measurement.healthy_voxels
        self.pooled.add(metrics.participant, counted, *voxels)
        if metrics.has_lesion:
            self.dice_sum += dice_at(counted, SWEEP)
            self.with_lesion += 1
        self._add_slices(measurement)
        self.lesions_by_size += measurement.lesions_by_size
        self.found_by_size += measurement.found_by_size

    def _add_slices(self, measurement: Measurement) -> None:
        peaks, lesion = measurement.slice_peaks, measurement.lesion_in_brain_slice
        if len(peaks):
            self.slice_peaks.update(peaks.view(1, 1, 1, 1, -1), lesion.view(1, 1, 1, 1, -1))
        sums = measurement.slice_sums
        span = sums.max() - sums.min()
        if float(span) > 0:
            scaled = ((sums - sums.min()) / span).float().view(1, 1, 1, 1, -1)
            lesion = measurement.lesion_in_slice.view(scaled.shape)
            self.slices.update(scaled, lesion)
            self.normal_slices.update(1 - scaled, ~lesion)

    @property
    def mean_dice(self) -> Floats:
        """Mean over cases with a lesion of their Dice above each of :data:`SWEEP`."""
        if not self.with_lesion:
            return np.full(len(SWEEP), math.nan)
        return self.dice_sum / self.with_lesion

    def interval(self, protocol: Protocol) -> tuple[float, float]:
        """95 % interval of the pooled AP of the protocol's voxels."""
        return self.pooled.around(self.counted(protocol).average_precision())

    def totals(self) -> dict[str, float]:
        """Measures that are not means over cases, by name.

        ``average_precision``, ``average_precision_volume``, ``auroc``, ``best_pooled_dice``: of
        all voxels pooled. ``best_mean_dice``: highest mean Dice of one threshold for all cases.
        ``slice_auroc``; ``slice_auprc_normal``: by trapezoids, positive are normal slices (Luo);
        ``slice_average_precision``: positive are slices with lesion. ``slice_peak_auroc``: of the
        brain's slices by their highest value. ``scan_auroc``: of the scans' scores.
        ``lesion_sensitivity``, ``slice_sensitivity``: found of all.
        """
        mean_dice = self.mean_dice
        scores, has_lesion = column(self.cases, "score"), [c.has_lesion for c in self.cases]
        return {
            "average_precision": self.brain.average_precision(),
            "average_precision_volume": self.volume.average_precision(),
            "auroc": self.brain.auroc(),
            "best_pooled_dice": self.brain.best_dice().value,
            "best_mean_dice": float(mean_dice.max()),
            "best_mean_dice_threshold": float(SWEEP[mean_dice.argmax()]),
            "slice_auroc": self.slices.auroc(),
            "slice_peak_auroc": self.slice_peaks.auroc(),
            "slice_average_precision": self.slices.average_precision(),
            "slice_auprc_normal": _trapezoids(self.normal_slices),
            "scan_auroc": auroc(scores, has_lesion),
            "lesion_sensitivity": _share(self.cases, "lesions_found", "lesions"),
            "slice_sensitivity": _share(self.cases, "slices_hit", "lesion_slices"),
        }


@dataclass(frozen=True)
class Comparison:
    """Detectors on the same cases.

    Attributes:
        protocol: by which they were compared.
        detectors: results, in the order in which detectors were given.
        failures: cases that were left out, and why.
    """

    protocol: Protocol
    detectors: list[DetectorResults]
    failures: list[Failure]


@dataclass(frozen=True)
class Hooks:
    """What a caller is told while cases are compared.

    Attributes:
        case_done: after every case, evaluated or not.
        case_failed: for every case that cannot be evaluated.
        case_compared: with every evaluated case, the maps as compared, and their thresholds.
    """

    case_done: Callable[[], None] = lambda: None
    case_failed: Callable[[Failure], None] = lambda failure: None
    case_compared: Callable[[GroundTruth, Maps, dict[str, float]], None] = (
        lambda truth, maps, thresholds: None
    )


NO_HOOKS = Hooks()


def check_cases(
    cases: Sequence[Case], detectors: Sequence[Detector], hooks: Hooks = NO_HOOKS
) -> tuple[list[Case], list[Failure]]:
    """Find the cases that cannot be evaluated, as far as file names, headers and lesion masks tell.

    Args:
        cases: to be evaluated, or to take thresholds from.
        detectors: that must have a map of each.
        hooks: ``case_done`` and ``case_failed`` are called.

    Returns:
        The other cases, and every failure, of which a case may have several.
    """
    usable, failures = [], []
    for case in cases:
        reasons = list(_reasons(case, detectors))
        for failure in reasons:
            hooks.case_failed(failure)
        failures += reasons
        usable += [] if reasons else [case]
        hooks.case_done()
    return usable, failures


def compare(
    cases: Sequence[Case],
    detectors: Sequence[Detector],
    protocol: Protocol,
    validation: Sequence[Case] = (),
    threshold: float | None = None,
    threshold_required: bool = True,
    hooks: Hooks = NO_HOOKS,
) -> Comparison:
    """Compare the maps of every detector with the lesions of every case.

    Args:
        cases: to evaluate; those that are also in ``validation`` are left out.
        detectors: where the maps come from; the maps' names must all differ.
        protocol: see :mod:`dal_fast.evaluation.protocols`.
        validation: cases that thresholds come from.
        threshold: instead of the protocol's.
        threshold_required: refuse validation cases that do not give the protocol's threshold;
            otherwise the measures that need it are NaN.
        hooks: called on the way.

    Raises:
        InputError: ``detector-twice``, ``no-cases``, ``validation-missing``; what is wrong with one
            case is a failure in the result instead.
    """
    names = _different_names(detectors)
    reserved = {case.scan for case in validation}
    evaluated = [case for case in cases if case.scan not in reserved]
    if not evaluated or not detectors:
        raise InputError(Code.NO_CASES, "there is no case to evaluate that is not for validation")
    calibrations = {name: ThresholdCalibration() for name in names}

    def calibrate(truth: GroundTruth, smooth: Maps, unfiltered: Maps) -> None:
        for name, calibration in calibrations.items():
            calibration.update(truth, smooth[name], unfiltered[name], protocol)

    reader = _Reader(detectors, protocol, hooks)
    for _ in reader.each(validation, calibrate):
        hooks.case_done()
    thresholds = {
        name: calibration.thresholds(protocol, threshold, threshold_required)
        for name, calibration in calibrations.items()
    }
    results = {name: DetectorResults(name, thresholds[name]) for name in names}

    def measure_all(
        truth: GroundTruth, smooth: Maps, _: Maps
    ) -> tuple[GroundTruth, Maps, dict[str, Measurement]]:
        measurements = {n: measure(truth, smooth[n], protocol, thresholds[n]) for n in names}
        return truth, smooth, measurements

    for truth, smooth, measurements in reader.each(evaluated, measure_all):
        for name, measurement in measurements.items():
            results[name].add(measurement, protocol)
        own = {name: result.threshold for name, result in results.items()}
        hooks.case_compared(truth, smooth, own)
        hooks.case_done()
    return Comparison(protocol, list(results.values()), reader.failures)


def _different_names(detectors: Sequence[Detector]) -> list[str]:
    names = [name for detector in detectors for name in detector.names]
    if len(set(names)) < len(names):
        raise InputError(Code.DETECTOR_TWICE, f"two detectors share a name: {', '.join(names)}")
    return names


def _reasons(case: Case, detectors: Sequence[Detector]) -> Iterator[Failure]:
    """Why a case cannot be evaluated."""
    try:
        grid = read_grid(case.scan)
    except DalFastError as error:
        yield case.name, error.code, error.message
        return
    checks: list[Callable[[], object]] = [lambda: read_lesion(case, grid)]
    if case.brain is not None:
        brain = case.brain
        checks.append(
            lambda: check_same_grid(Code.MASK_GRID, brain, read_grid(brain), case.scan, grid)
        )
    checks += [lambda detector=d: detector.check(case, grid) for d in detectors]  # type: ignore[misc]
    for check in checks:
        try:
            check()
        except DalFastError as error:
            yield case.name, error.code, error.message


class _Reader:
    """Reads cases and their maps one at a time, the next while the caller works on the last."""

    def __init__(self, detectors: Sequence[Detector], protocol: Protocol, hooks: Hooks) -> None:
        self.detectors, self.protocol, self.hooks = detectors, protocol, hooks
        self.failures: list[Failure] = []

    def each(
        self, cases: Sequence[Case], work: Callable[[GroundTruth, Maps, Maps], T]
    ) -> Iterator[T]:
        """What ``work`` makes of every case that can be evaluated.

        Args:
            cases: to read.
            work: of ground truth, the maps as they are compared, and without their median.
        """
        with ThreadPoolExecutor(1) as pool:
            ahead = [pool.submit(self._read, case) for case in cases[:1]]
            for case, following in itertools.zip_longest(cases, cases[1:]):
                current = ahead.pop()
                if following is not None:
                    ahead.append(pool.submit(self._read, following))
                try:
                    result = work(*self._applied(*current.result()))
                except (OutputError, RuntimeUnavailable):
                    raise  # the next case would fail alike
                except Exception as error:
                    self._failed(case, error)
                    continue
                yield result

    def _applied(self, truth: GroundTruth, maps: Maps) -> tuple[GroundTruth, Maps, Maps]:
        smooth: Maps = {}
        unfiltered: Maps = {}
        for name, score in maps.items():
            smooth[name], unfiltered[name] = self.protocol.apply(score, truth.brain, truth.axial)
        return truth, smooth, unfiltered

    def _read(self, case: Case) -> tuple[GroundTruth, Maps]:
        truth = read_ground_truth(case, self.protocol)
        maps: Maps = {}
        for detector in self.detectors:
            maps |= detector.maps(truth)
        return truth, maps

    def _failed(self, case: Case, error: Exception) -> None:
        failure = (case.name, *_code_and_message(error))
        self.failures.append(failure)
        self.hooks.case_failed(failure)
        self.hooks.case_done()


def _code_and_message(error: Exception) -> tuple[str, str]:
    if isinstance(error, DalFastError):
        return error.code, error.message
    code = Code.OUT_OF_MEMORY if isinstance(error, MemoryError) else Code.UNEXPECTED
    return code, f"{type(error).__name__}: {error}"


def _trapezoids(metrics: VoxelMetrics) -> float:
    """``sklearn.metrics.auc`` of the precision-recall curve, as Luo's code takes it."""
    curve = metrics.precision_recall()
    return float(-torch.trapezoid(curve.precision, curve.recall))


def _share(cases: Sequence[CaseMetrics], part: str, whole: str) -> float:
    total = sum(int(case.values[whole]) for case in cases)
    return sum(int(case.values[part]) for case in cases) / total if total else math.nan
