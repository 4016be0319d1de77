"""Intervals, groups and paired comparisons of measures over cases.

Participants are drawn, not scans: several scans of one person are not independent. An interval is
the 2.5th to 97.5th percentile of the means of 2,000 draws with replacement (percentile bootstrap,
Efron 1979); the seed is fixed, so the same cases give the same interval.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dal_fast.evaluation.case_metrics import CaseMetrics
from dal_fast.extras import module_of_extra

DRAWS = 2000
MEANS = (
    "average_precision",
    "average_precision_volume",
    "auroc",
    "best_dice",
    "dice",
    "false_positive_rate",
    "false_regions",
    "marked_ml",
)
"""Measures of a case whose mean over cases is reported."""
SIZES = ("lowest quarter", "second quarter", "third quarter", "highest quarter")
_FEWEST = 2  # cases of a group
_MOST_GROUPS = 12


@dataclass(frozen=True)
class Mean:
    """A mean over cases and its 95 % interval; ``n`` cases of ``participants``."""

    value: float
    low: float
    high: float
    n: int
    participants: int


@dataclass(frozen=True)
class Group:
    """Cases that share a value of a factor."""

    factor: str
    value: str
    mean: Mean


@dataclass(frozen=True)
class PairedDifference:
    """One measure of two detectors on the same cases.

    Attributes:
        first, second: names; the difference is first less second.
        measure: its name.
        difference: mean over cases, with its interval.
        p: two-sided Wilcoxon signed-rank test over participants' mean differences (scipy's, exact
            where there are few and no ties); NaN when all are zero.
    """

    first: str
    second: str
    measure: str
    difference: Mean
    p: float


def mean(values: Sequence[float], owners: Sequence[str], seed: int = 0) -> Mean:
    """Mean and interval; NaN values are left out.

    Args:
        values: one a case.
        owners: participant of each.
        seed: of the draws.
    """
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for value, owner in zip(values, owners, strict=True):
        if not math.isnan(value):
            sums[owner][0] += value
            sums[owner][1] += 1
    if not sums:
        return Mean(math.nan, math.nan, math.nan, 0, 0)
    total, count = np.array([sums[owner] for owner in sorted(sums)]).T
    n = int(count.sum())
    value = float(total.sum() / count.sum())
    if len(count) < _FEWEST:
        return Mean(value, math.nan, math.nan, n, len(count))
    drawn = np.random.default_rng(seed).multinomial(
        len(count), np.full(len(count), 1 / len(count)), DRAWS
    )
    means = (drawn @ total) / (drawn @ count)
    low, high = np.percentile(means, [2.5, 97.5]).tolist()
    return Mean(value, low, high, n, len(count))


def means(cases: Sequence[CaseMetrics], names: Sequence[str] = MEANS) -> dict[str, Mean]:
    """Means over cases of several measures."""
    return {name: mean(column(cases, name), owners(cases)) for name in names if cases}


def column(cases: Sequence[CaseMetrics], name: str) -> list[float]:
    """One measure of all cases."""
    return [float(case.values[name]) for case in cases]


def owners(cases: Sequence[CaseMetrics]) -> list[str]:
    """The cases' participants."""
    return [case.participant for case in cases]


def groups(cases: Sequence[CaseMetrics], measure: str) -> Iterator[Group]:
    """One measure by everything that is known of the cases.

    Text is grouped by its value (a factor with one value, or with more than twelve, is left out);
    numbers of more than twelve values by quarters, from the lowest. Lesion size (voxels, as
    UAD-IMAG: quartiles over all cases with a lesion) and contrast are always factors; others, such
    as site, scanner, age or lesion type, are the cases' facts.

    Args:
        cases: of a detector.
        measure: whose mean is taken.
    """
    factors: dict[str, list[str]] = {
        "lesion size": _quarters([case.values["lesion_voxels"] or math.nan for case in cases]),
        "lesion contrast": _quarters(column(cases, "lesion_contrast")),
    }
    for name in dict.fromkeys(name for case in cases for name in case.facts):
        if name != "sub":
            facts = [case.facts.get(name, "") for case in cases]
            factors[name] = _by_quarter_if_number(facts)
    for factor, values in factors.items():
        members: dict[str, list[CaseMetrics]] = defaultdict(list)
        for case, value in zip(cases, values, strict=True):
            if value not in ("", "n/a") and not math.isnan(case.values[measure]):
                members[value].append(case)
        if not 2 <= len(members) <= _MOST_GROUPS:
            continue
        for value in sorted(members, key=_order):
            group = members[value]
            yield Group(factor, value, mean(column(group, measure), owners(group)))


def paired_difference(
    first: tuple[str, Sequence[CaseMetrics]],
    second: tuple[str, Sequence[CaseMetrics]],
    measure: str,
) -> PairedDifference:
    """Two detectors, each by name and cases, on the same cases.

    Raises:
        RuntimeUnavailable: ``extra-missing`` without scipy.
    """
    (name, cases), (other_name, other_cases) = first, second
    others = {case.case: case for case in other_cases}
    people = owners(cases)
    differences = [c.values[measure] - others[c.case].values[measure] for c in cases]
    by_person: dict[str, list[float]] = defaultdict(list)
    for difference, person in zip(differences, people, strict=True):
        if not math.isnan(difference):
            by_person[person].append(difference)
    over_people = [float(np.mean(by_person[person])) for person in sorted(by_person)]
    gap = mean(differences, people)
    return PairedDifference(name, other_name, measure, gap, _wilcoxon(over_people))


def _wilcoxon(differences: Sequence[float]) -> float:
    if not any(differences):
        return math.nan
    return float(scipy_stats().wilcoxon(differences).pvalue)


def scipy_stats() -> Any:
    """``scipy.stats``.

    Raises:
        RuntimeUnavailable: ``extra-missing``.
    """
    return module_of_extra(
        "scipy.stats", "dal-fast evaluate needs pip install 'dal_fast[evaluate]'"
    )


def _quarters(values: Sequence[float]) -> list[str]:
    """The quarter of each value: ``<= p25``, ``<= p50``, ``<= p75``, above; "" for NaN."""
    finite: NDArray[Any] = np.array([value for value in values if not math.isnan(value)])
    if len(set(finite.tolist())) < len(SIZES):
        return [""] * len(values)
    limits = np.quantile(finite, [0.25, 0.5, 0.75])
    return ["" if math.isnan(v) else SIZES[int(np.searchsorted(limits, v))] for v in values]


def _by_quarter_if_number(values: Sequence[str]) -> list[str]:
    given = {value for value in values if value not in ("", "n/a")}
    try:
        numbers = [float(value) if value in given else math.nan for value in values]
    except ValueError:
        return list(values)
    if len(given) <= _MOST_GROUPS:
        return list(values)
    return _quarters(numbers)


def _order(value: str) -> tuple[int, str]:
    return (SIZES.index(value) if value in SIZES else -1, value)
