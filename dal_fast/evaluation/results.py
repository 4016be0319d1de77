"""What an evaluation leaves on disk.

cases.csv        a row a case and detector
summary.json     protocol, thresholds, totals, means with intervals, comparisons, groups
groups.csv       means by site, scanner, age, sex, size, contrast, …
comparisons.csv  detectors against each other, paired by case
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import dal_fast
from dal_fast.evaluation.evaluate import Judgement
from dal_fast.evaluation.measures import Row
from dal_fast.evaluation.protocols import Protocol
from dal_fast.evaluation.statistics import Group, Mean, Paired, compare, groups, means
from dal_fast.evaluation.tables import write_rows
from dal_fast.imaging.atomic import write_json

GROUPED = ("average_precision", "dice", "false_positive_rate")
COMPARED = ("average_precision", "dice", "best_dice", "false_positive_rate")


@dataclass(frozen=True)
class Results:
    """An evaluation, summed up.

    Attributes:
        protocol: that judged.
        found: by detector.
        facts: of every case, in the rows' order.
        totals: of each detector, see :meth:`Judgement.totals`.
        intervals: 95 %, of the pooled AP of the protocol's voxels.
        means: of each detector, over cases.
        groups: of each detector and measure of ``GROUPED``.
        paired: every two detectors by ``COMPARED``.
    """

    protocol: Protocol
    found: list[Judgement]
    facts: list[dict[str, str]]
    totals: dict[str, dict[str, float]]
    intervals: dict[str, tuple[float, float]]
    means: dict[str, dict[str, Mean]]
    groups: dict[tuple[str, str], list[Group]]
    paired: list[Paired]

    def value(self, name: str, measure: str) -> float:
        """One number of a detector: a total, or ``mean_X`` and ``X`` over cases."""
        totals, own = self.totals[name], self.means[name]
        if measure in totals:
            return totals[measure]
        return own[measure.removeprefix("mean_")].value


def sum_up(
    found: list[Judgement], protocol: Protocol, facts: Mapping[str, dict[str, str]]
) -> Results:
    """Totals, intervals, groups and comparisons.

    Args:
        found: judged detectors.
        protocol: that judged them.
        facts: by the case's name.
    """
    known = [facts[str(row["case"])] for row in found[0].rows]
    return Results(
        protocol,
        found,
        known,
        {one.name: one.totals() for one in found},
        {one.name: one.interval(protocol) for one in found},
        {one.name: means(one.rows) for one in found},
        {(one.name, m): list(groups(one.rows, known, m)) for one in found for m in GROUPED},
        [
            compare((a.name, a.rows), (b.name, b.rows), measure)
            for a, b in itertools.combinations(found, 2)
            for measure in COMPARED
        ],
    )


def write_results(out: Path, results: Results, about: Mapping[str, Any]) -> None:
    """The tables and ``summary.json``.

    Args:
        out: folder.
        results: to write.
        about: what was judged: dataset, folders, rules.

    Raises:
        InputError: ``output-unwritable``, ``disk-full``.
    """
    rows: list[Row] = [
        {"detector": one.name, **_beside(facts, row), **row}
        for one in results.found
        for row, facts in zip(one.rows, results.facts, strict=True)
    ]
    _write_csv(out / "cases.csv", rows)
    _write_csv(out / "groups.csv", [_flat_group(key, g) for key, g in _each_group(results)])
    _write_csv(out / "comparisons.csv", [_flat_pair(pair) for pair in results.paired])
    summary = {
        "GeneratedBy": {"Name": "dal_fast", "Version": dal_fast.__version__},
        **about,
        "protocol": results.protocol.name,
        "detectors": {
            one.name: {
                "cases": len(one.rows),
                "with_lesion": one.sick,
                "thresholds": one.thresholds,
                "totals": results.totals[one.name],
                "interval of the pooled AP": results.intervals[one.name],
                "means": {name: asdict(m) for name, m in results.means[one.name].items()},
            }
            for one in results.found
        },
    }
    write_json(out / "summary.json", _without_nan(summary))


def _beside(facts: Mapping[str, str], row: Row) -> Row:
    """The facts under names of their own: a table may have a column ``score`` too."""
    return {f"fact_{name}" if name in row else name: value for name, value in facts.items()}


def _each_group(results: Results) -> list[tuple[tuple[str, str], Group]]:
    return [(key, group) for key, own in results.groups.items() for group in own]


def _flat_group(key: tuple[str, str], group: Group) -> Row:
    detector, measure = key
    head = {"detector": detector, "measure": measure, "factor": group.factor, "value": group.value}
    return {**head, **{("mean" if k == "value" else k): v for k, v in asdict(group.mean).items()}}


def _flat_pair(pair: Paired) -> Row:
    row = {k: v for k, v in asdict(pair).items() if k != "difference"}
    gap = {("difference" if k == "value" else k): v for k, v in asdict(pair.difference).items()}
    return {**row, **gap}


def _write_csv(path: Path, rows: Sequence[Row]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    known = ({k: "" if _is_nan(v) else v for k, v in row.items()} for row in rows)
    write_rows(path, names, known, ",")


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _without_nan(value: Any) -> Any:
    """JSON knows no NaN: null."""
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
