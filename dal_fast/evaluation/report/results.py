"""The numbers of an evaluation on disk.

cases.csv        a row a case and detector
failures.tsv     cases that could not be evaluated, and why
summary.json     protocol, thresholds, totals, means with intervals, lesions by size
groups.csv       means by site, scanner, age, sex, size, contrast, …
comparisons.csv  detectors against each other, paired by case
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import dal_fast
from dal_fast.batch.tables import write_failures
from dal_fast.evaluation.case_metrics import CaseMetrics
from dal_fast.evaluation.compare import Comparison, DetectorResults
from dal_fast.evaluation.report.tables import write_rows
from dal_fast.evaluation.statistics import (
    Group,
    Mean,
    PairedDifference,
    groups,
    means,
    paired_difference,
)
from dal_fast.imaging.atomic import write_json
from dal_fast.report.index import Failure

GROUPED = ("average_precision", "dice", "false_positive_rate")
COMPARED = ("average_precision", "dice", "best_dice", "false_positive_rate")


@dataclass(frozen=True)
class Summary:
    """A comparison with its statistics.

    Attributes:
        comparison: the detectors' results.
        failures: every case that was left out, those of the check before included.
        totals: of each detector, see :meth:`DetectorResults.totals`.
        intervals: 95 %, of the pooled AP of the protocol's voxels.
        means: of each detector, over cases.
        groups: of each detector and measure of ``GROUPED``.
        paired: every two detectors by ``COMPARED``.
    """

    comparison: Comparison
    failures: Sequence[Failure]
    totals: dict[str, dict[str, float]]
    intervals: dict[str, tuple[float, float]]
    means: dict[str, dict[str, Mean]]
    groups: dict[tuple[str, str], list[Group]]
    paired: list[PairedDifference]

    def value(self, detector: str, measure: str) -> float:
        """One number of a detector: a total, or ``mean_X`` and ``X`` over cases."""
        totals = self.totals[detector]
        if measure in totals:
            return totals[measure]
        return self.means[detector][measure.removeprefix("mean_")].value


def summarise(comparison: Comparison, failures: Sequence[Failure] | None = None) -> Summary:
    """Totals, intervals, groups and paired differences.

    Args:
        comparison: of at least one case.
        failures: where the comparison's are not all.

    Raises:
        RuntimeUnavailable: ``extra-missing`` without scipy.
    """
    detectors, protocol = comparison.detectors, comparison.protocol
    return Summary(
        comparison,
        comparison.failures if failures is None else failures,
        {d.name: d.totals() for d in detectors},
        {d.name: d.interval(protocol) for d in detectors},
        {d.name: means(d.cases) for d in detectors},
        {(d.name, m): list(groups(d.cases, m)) for d in detectors for m in GROUPED},
        [
            paired_difference((a.name, a.cases), (b.name, b.cases), measure)
            for a, b in itertools.combinations(detectors, 2)
            for measure in COMPARED
        ],
    )


def write_results(out: Path, summary: Summary, about: Mapping[str, Any]) -> None:
    """The tables and ``summary.json``.

    Args:
        out: folder.
        summary: to write.
        about: what was evaluated: dataset, folders, rules.

    Raises:
        OutputError: ``output-unwritable``, ``disk-full``.
    """
    detectors = summary.comparison.detectors
    write_cases(out / "cases.csv", ((d.name, case) for d in detectors for case in d.cases))
    write_failures(out / "failures.tsv", summary.failures)
    by_group = [(key, group) for key, of in summary.groups.items() for group in of]
    _write_csv(out / "groups.csv", [_group_row(key, group) for key, group in by_group])
    _write_csv(out / "comparisons.csv", [_paired_row(paired) for paired in summary.paired])
    content = {
        "GeneratedBy": {"Name": "dal_fast", "Version": dal_fast.__version__},
        **about,
        "protocol": summary.comparison.protocol.name,
        "failures": len(summary.failures),
        "detectors": {d.name: _detector_summary(d, summary) for d in detectors},
    }
    write_json(out / "summary.json", _without_nan(content))


def write_cases(path: Path, cases: Iterable[tuple[str, CaseMetrics]]) -> None:
    """A row a case and detector: what is known of the case, and its measures.

    Args:
        path: of the CSV file.
        cases: detector and measures of each.

    Raises:
        OutputError: ``output-unwritable``, ``disk-full``.
    """
    _write_csv(path, [_case_row(detector, case) for detector, case in cases])


def _detector_summary(detector: DetectorResults, summary: Summary) -> dict[str, Any]:
    return {
        "cases": len(detector.cases),
        "with_lesion": detector.with_lesion,
        "thresholds": detector.thresholds,
        "totals": summary.totals[detector.name],
        "interval of the pooled AP": summary.intervals[detector.name],
        "means": {name: asdict(mean) for name, mean in summary.means[detector.name].items()},
        "lesions by size": {
            size: {"lesions": lesions, "found": detector.found_by_size[size]}
            for size, lesions in sorted(detector.lesions_by_size.items())
        },
    }


def _case_row(detector: str, case: CaseMetrics) -> dict[str, Any]:
    """A table of cases may have a column ``score`` too: such facts are called ``fact_score``."""
    measures = {"case": case.case, "participant": case.participant, **case.values}
    facts = {f"fact_{k}" if k in measures else k: value for k, value in case.facts.items()}
    return {"detector": detector, **facts, **measures}


def _group_row(key: tuple[str, str], group: Group) -> dict[str, Any]:
    detector, measure = key
    head = {"detector": detector, "measure": measure, "factor": group.factor, "value": group.value}
    return {**head, **{("mean" if k == "value" else k): v for k, v in asdict(group.mean).items()}}


def _paired_row(paired: PairedDifference) -> dict[str, Any]:
    row = {k: v for k, v in asdict(paired).items() if k != "difference"}
    mean = asdict(paired.difference)
    return {**row, **{("difference" if k == "value" else k): v for k, v in mean.items()}}


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    known = ({k: "" if _is_nan(v) else v for k, v in row.items()} for row in rows)
    write_rows(path, names, known, ",")


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: null."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
