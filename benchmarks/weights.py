"""Weight files beside each other on the same validation sets, case by case.

    python -m benchmarks.weights SET [SET ...] --weights FILE FILE --out folder/

Average precision of lesions, in every column of generator, contrast and sign and by size: mean over
cases of each file's own default score, and of the others of ``--scores``. The last columns compare
the default scores of the last file and of the first, paired by case: mean difference, its standard
deviation, and in how many cases the last is better. Prints Markdown, for a model card;
``OUT/<name>.csv`` has every case; where it is there already nothing is measured again. The sets are
those of ``dal-fast make-validation``.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, stdev

from rich.console import Console
from rich.progress import track

from dal_fast.evaluation.case_metrics import CaseMetrics
from dal_fast.evaluation.cases import Case
from dal_fast.evaluation.model_scores import AUTO, ModelScores
from dal_fast.evaluation.report.results import write_cases
from dal_fast.evaluation.validation_comparison import compare_on_set, is_synthetic, measured_cases
from dal_fast.evaluation.validation_samples import HEALTHY
from dal_fast.evaluation.validation_set import read_sets
from dal_fast.screening.screener import Screener

Key = tuple[str, str]
"""Draw and name of a case."""
ALL = "all"
MEASURES = ("average_precision", "false_positive_rate")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.weights", description=__doc__)
    parser.add_argument("sets", type=Path, nargs="+", help="folders of dal-fast make-validation")
    parser.add_argument("--weights", nargs="+", required=True)
    parser.add_argument("--scores", nargs="+", default=["hybrid"], help="beside the default one")
    parser.add_argument("--out", type=Path, required=True, help="folder of the tables")
    options = parser.parse_args(arguments)
    sets = [cases for cases, _ in read_sets(options.sets)]
    options.out.mkdir(parents=True, exist_ok=True)
    found = {}
    for weights in options.weights:
        path = options.out / f"{Path(weights).stem}.csv"
        if not path.is_file():
            write_cases(path, _measure(weights, sets, options.scores))
        found[path.stem] = list(_read(path))
    print("\n".join([*table(found), "", *healthy(found)]))
    return 0


def _measure(
    weights: str, sets: Sequence[Sequence[Case]], scores: Sequence[str]
) -> list[tuple[str, CaseMetrics]]:
    detector = ModelScores(Screener(weights), scores)
    console = Console(stderr=True)
    comparisons = [
        compare_on_set(cases, detector) for cases in track(sets, weights, console=console)
    ]
    return list(measured_cases(comparisons))


def _read(path: Path) -> Iterator[tuple[str, CaseMetrics]]:
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            values = {name: float(row[name] or "nan") for name in MEASURES}
            yield row["detector"], CaseMetrics(row["case"], row["participant"], row, values)


def table(found: dict[str, list[tuple[str, CaseMetrics]]]) -> list[str]:
    """Lines of Markdown: rows are columns of the validation, then sizes, then all."""
    precisions = {
        (name, score): _precisions(rows, score)
        for name, rows in found.items()
        for score in dict.fromkeys(score for score, _ in rows)
    }
    first, last = next(iter(found)), list(found)[-1]
    groups = _groups(found[first])
    titles = [f"`{name}`, {score}" for name, score in precisions]
    lines = [
        f"| | n | {' | '.join(titles)} | `{last}` less `{first}` (SD) | better in |",
        "|---" * (len(titles) + 4) + "|",
    ]
    for group, keys in groups.items():
        cells = [f"{fmean(values[k] for k in keys):.3f}" for values in precisions.values()]
        ours, theirs = precisions[last, AUTO], precisions[first, AUTO]
        differences = [ours[key] - theirs[key] for key in keys]
        spread = f" ({stdev(differences):.3f})" if len(keys) > 1 else ""
        better = sum(difference > 0 for difference in differences)
        cells += [f"{fmean(differences):+.3f}{spread}", f"{better} of {len(keys)}"]
        lines.append(f"| {group} | {len(keys)} | {' | '.join(cells)} |")
    return lines


def healthy(found: dict[str, list[tuple[str, CaseMetrics]]]) -> list[str]:
    """Lines of Markdown: share of healthy scans' voxels above what other healthy scans exceed."""
    lines = ["| healthy voxels above, % | T1w | T2w | FLAIR |", "|---|---|---|---|"]
    for name, rows in found.items():
        shares = defaultdict(list)
        for score, case in rows:
            if score == AUTO and case.facts["sign"] == HEALTHY:
                shares[case.facts["contrast"]].append(case.values["false_positive_rate"])
        cells = [
            f"{100 * fmean(shares[c]):.2f} (n={len(shares[c])})" if shares[c] else "–"
            for c in ("T1w", "T2w", "FLAIR")
        ]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return lines


def _precisions(rows: Sequence[tuple[str, CaseMetrics]], score: str) -> dict[Key, float]:
    return {
        (case.facts["draw"], case.case): case.values["average_precision"]
        for name, case in rows
        if name == score and is_synthetic(case)
    }


def _groups(rows: Sequence[tuple[str, CaseMetrics]]) -> dict[str, list[Key]]:
    """Cases by generator, contrast and sign; by generator and size; and all of them."""
    groups: dict[str, list[Key]] = {}
    for score, case in rows:
        value, facts = case.values["average_precision"], case.facts
        if score != AUTO or not is_synthetic(case) or math.isnan(value):
            continue
        generator = facts.get("generator", "")
        kinds = f"{facts['contrast']} {facts['sign']}", facts["size"]
        for group in (*(f"{generator} {kind}".strip() for kind in kinds), ALL):
            groups.setdefault(group, []).append((facts["draw"], case.case))
    everything = groups.pop(ALL)
    return dict(sorted(groups.items())) | {ALL: everything}


if __name__ == "__main__":
    sys.exit(main())
