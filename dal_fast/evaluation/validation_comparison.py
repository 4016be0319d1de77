"""Every score of a weight file beside the baselines, on the built-in cases.

    dal-fast compare SET [SET ...] --weights default --out results

Each contrast of each generator of a set is a comparison of its own, as thresholds depend on the
contrast: they are what one voxel in a thousand exceeds in the healthy scans of every second subject
(mean over scans); all other cases are evaluated. Scans with decoys are compared apart, the decoys
in the place of lesions: what no detector should tell from its surroundings. Several sets are
several draws of one.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from dal_fast.errors import Code, InputError
from dal_fast.evaluation.baselines import BASELINES
from dal_fast.evaluation.case_metrics import CaseMetrics
from dal_fast.evaluation.cases import Case
from dal_fast.evaluation.compare import NO_HOOKS, Comparison, Hooks, compare
from dal_fast.evaluation.detectors import Detector
from dal_fast.evaluation.model_scores import AUTO
from dal_fast.evaluation.protocols import protocol
from dal_fast.evaluation.validation_samples import DECOY, HEALTHY
from dal_fast.evaluation.validation_set import REAL

PROTOCOL = "validation-set"


def compare_on_set(
    cases: Sequence[Case], detector: Detector, hooks: Hooks = NO_HOOKS
) -> dict[str, Comparison]:
    """Compare the scores of a weight file with the baselines.

    Args:
        cases: of one set, see :func:`dal_fast.evaluation.validation_set.read_set`.
        detector: of several maps, such as :class:`dal_fast.evaluation.model_scores.ModelScores`.
        hooks: called on the way.

    Returns:
        By :func:`column_of` the cases.

    Raises:
        InputError: ``no-cases`` for a set of nothing but scans that thresholds come from.
    """
    reserved = calibration_cases(cases)
    scans = {case.scan for case in reserved}
    comparisons = {}
    for column in dict.fromkeys(map(column_of, cases)):
        own = [case for case in cases if column_of(case) == column]
        calibrating = _calibrating(own[0], reserved)
        tested = [case for case in own if case.scan not in scans]
        if tested:
            comparisons[column] = compare(
                [*calibrating, *tested], [detector], protocol(PROTOCOL), calibrating,
                threshold_required=False, hooks=hooks,
            )  # fmt: skip
    if not comparisons:
        raise InputError(Code.NO_CASES, "the set holds only the scans that thresholds come from")
    return comparisons


def calibration_cases(cases: Sequence[Case]) -> list[Case]:
    """Healthy scans of every second subject, whose thresholds the others are evaluated with."""
    chosen = set(sorted({case.participant for case in cases})[::2])
    return [c for c in cases if c.facts["sign"] == HEALTHY and c.participant in chosen]


def _calibrating(case: Case, reserved: Sequence[Case]) -> list[Case]:
    """Scans that give a case's threshold: of its contrast, by its generator if that made any."""
    same = [other for other in reserved if other.facts["contrast"] == case.facts["contrast"]]
    made_alike = [other for other in same if _generator(other) == _generator(case)]
    return made_alike or same


def column_of(case: Case | CaseMetrics) -> str:
    """Cases that are compared together: generator, contrast, and whether they hold decoys."""
    decoys = "decoys" if case.facts["sign"] == DECOY else ""
    return " ".join(filter(None, (_generator(case), case.facts["contrast"], decoys)))


def _generator(case: Case | CaseMetrics) -> str:
    return case.facts.get("generator", "")


def is_synthetic(case: CaseMetrics) -> bool:
    """Whether lesions of a known sign were added to the scan."""
    return case.facts["sign"] not in (HEALTHY, REAL, DECOY)


@dataclass(frozen=True)
class Stratum:
    """Cases of one kind: a score against the best baseline, paired by case.

    Attributes:
        generator: that drew them; ``""`` for real scans.
        contrast, sign: of the lesions.
        size: of the lesions; ``""`` for all of them together.
        n: number of cases.
        means: average precision of every detector, mean over cases.
        baseline: the one with the highest mean.
        difference: the score's average precision less the baseline's, mean over cases.
        spread: its standard deviation over cases.
        by_draw: the mean difference in every set.
    """

    generator: str
    contrast: str
    sign: str
    size: str
    n: int
    means: dict[str, float]
    baseline: str
    difference: float
    spread: float
    by_draw: dict[str, float]

    @property
    def name(self) -> str:
        """Such as ``"shifted T2w bright large"``."""
        return " ".join(filter(None, (self.generator, self.contrast, self.sign, self.size)))


def strata(
    comparisons: Sequence[dict[str, Comparison]], detector: str = AUTO, by_size: bool = False
) -> Iterator[Stratum]:
    """Average precision of lesions by generator, contrast and sign.

    Args:
        comparisons: of every set, see :func:`compare_on_set`.
        detector: that is compared with the best baseline of each stratum.
        by_size: also by size.
    """
    precisions: dict[tuple[str, str, str, str], dict[str, dict[tuple[str, str], float]]] = {}
    for name, case in measured_cases(comparisons):
        value, facts = case.values["average_precision"], case.facts
        if not math.isnan(value) and facts["sign"] != DECOY:
            size = facts["size"] if by_size else ""
            key = _generator(case), facts["contrast"], facts["sign"], size
            by_detector = precisions.setdefault(key, defaultdict(dict))
            by_detector[name][case.facts["draw"], case.case] = value
    for kind, by_detector in sorted(precisions.items()):
        means = {name: fmean(values.values()) for name, values in by_detector.items()}
        baseline = max((name for name in BASELINES if name in means), key=means.__getitem__)
        differences = {
            key: value - by_detector[baseline][key] for key, value in by_detector[detector].items()
        }
        by_draw: dict[str, list[float]] = defaultdict(list)
        for (draw, _), difference in differences.items():
            by_draw[draw].append(difference)
        values = list(differences.values())
        yield Stratum(
            *kind,
            len(values),
            means,
            baseline,
            fmean(values),
            stdev(values) if len(values) > 1 else math.nan,
            {draw: fmean(own) for draw, own in by_draw.items()},
        )


def measured_cases(
    comparisons: Sequence[dict[str, Comparison]],
) -> Iterator[tuple[str, CaseMetrics]]:
    """Detector and measures of every case, set by set and column by column."""
    for by_column in comparisons:
        for comparison in by_column.values():
            for detector in comparison.detectors:
                for case in detector.cases:
                    yield detector.name, case
