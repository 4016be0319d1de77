"""Intervals, groups and paired comparisons of the rows of an evaluation.

Participants are drawn, not scans: several scans of one person are not independent. An interval is
the 2.5th to 97.5th percentile of the means of 2,000 draws with replacement (percentile bootstrap,
Efron 1979); the seed is fixed, so the same rows give the same interval.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dal_fast.errors import Code, RuntimeUnavailable
from dal_fast.evaluation.measures import Row
from dal_fast.ops import VoxelMetrics

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
class Paired:
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


def means(rows: Sequence[Row], names: Sequence[str] = MEANS) -> dict[str, Mean]:
    """Means over cases of several measures."""
    return {name: mean(column(rows, name), owners(rows)) for name in names if rows}


def column(rows: Sequence[Row], name: str) -> list[float]:
    """One measure of all rows."""
    return [float(row[name]) for row in rows]


def auroc_of(scores: Sequence[float], sick: Sequence[bool]) -> float:
    """AUROC of a number each; NaN where all are sick, or none."""
    if len(set(sick)) < 2:
        return math.nan
    metrics, shape = VoxelMetrics(), (1, 1, 1, 1, len(scores))
    metrics.update(torch.tensor(scores).view(shape), torch.tensor(sick).view(shape))
    return metrics.auroc()


def owners(rows: Sequence[Row]) -> list[str]:
    """The rows' participants."""
    return [str(row["participant"]) for row in rows]


def groups(
    rows: Sequence[Row], facts: Sequence[Mapping[str, str]], measure: str
) -> Iterator[Group]:
    """One measure by everything that is known of the cases.

    Text is grouped by its value (a factor with one value, or with more than twelve, says nothing);
    numbers of more than twelve values by quarters, from the lowest. Lesion size (voxels, as
    UAD-IMAG: quartiles over all cases with a lesion) and contrast are always factors.

    Args:
        rows: of a detector.
        facts: of each row's scan, such as site, scanner, age, sex, lesion type.
        measure: whose mean is taken.
    """
    known: dict[str, list[str]] = {
        "lesion size": _quarters([float(r["lesion_voxels"]) or math.nan for r in rows]),
        "lesion contrast": _quarters([float(r["contrast"]) for r in rows]),
    }
    for name in dict.fromkeys(name for own in facts for name in own):
        values = [own.get(name, "") for own in facts]
        if name != "sub":
            known[name] = _by_quarter_if_number(values)
    for factor, values in known.items():
        members: dict[str, list[int]] = defaultdict(list)
        for i, value in enumerate(values):
            if value not in ("", "n/a") and not math.isnan(float(rows[i][measure])):
                members[value].append(i)
        if not 2 <= len(members) <= _MOST_GROUPS:
            continue
        for value in sorted(members, key=_order):
            own_rows = [rows[i] for i in members[value]]
            yield Group(factor, value, mean(column(own_rows, measure), owners(own_rows)))


def compare(
    first: tuple[str, Sequence[Row]], second: tuple[str, Sequence[Row]], measure: str
) -> Paired:
    """Paired comparison of two detectors.

    Raises:
        InputError: ``extra-missing`` without scipy.
    """
    (name, rows), (other_name, other_rows) = first, second
    others = {str(row["case"]): row for row in other_rows}
    pairs = [(row, float(row[measure]) - float(others[str(row["case"])][measure])) for row in rows]
    gaps = [gap for _, gap in pairs]
    people = owners([row for row, _ in pairs])
    by_person: dict[str, list[float]] = defaultdict(list)
    for gap, person in zip(gaps, people, strict=True):
        if not math.isnan(gap):
            by_person[person].append(gap)
    differences = [float(np.mean(by_person[person])) for person in sorted(by_person)]
    return Paired(name, other_name, measure, mean(gaps, people), _wilcoxon(differences))


def _wilcoxon(differences: Sequence[float]) -> float:
    if not any(differences):
        return math.nan
    return float(scipy_stats().wilcoxon(differences).pvalue)


def scipy_stats() -> Any:
    """``scipy.stats``.

    Raises:
        InputError: ``extra-missing``.
    """
    try:
        from scipy import stats
    except ImportError as error:
        raise RuntimeUnavailable(
            Code.EXTRA_MISSING,
            f"dal-fast evaluate needs pip install 'dal_fast[evaluate]' ({error})",
        ) from None
    return stats


def _quarters(values: Sequence[float]) -> list[str]:
    """The quarter of each value: ``<= p25``, ``<= p50``, ``<= p75``, above; "" for NaN."""
    known: NDArray[Any] = np.array([value for value in values if not math.isnan(value)])
    if len(set(known.tolist())) < len(SIZES):
        return [""] * len(values)
    limits = np.quantile(known, [0.25, 0.5, 0.75])
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
