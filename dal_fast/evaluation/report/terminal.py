"""The tables of a comparison on the built-in cases, and of the tissue maps' agreement."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from statistics import fmean

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from dal_fast.evaluation.baselines import BASELINES
from dal_fast.evaluation.compare import Comparison, DetectorResults
from dal_fast.evaluation.model_scores import AUTO
from dal_fast.evaluation.validation_comparison import Stratum, is_synthetic, strata
from dal_fast.evaluation.validation_samples import DECOY, HEALTHY
from dal_fast.screening.scoring import SCORES

DETECTORS = (*SCORES, *BASELINES)


def print_comparison(comparisons: Sequence[dict[str, Comparison]]) -> None:
    """Print what :func:`compare_on_set` returned for one or several draws.

    Args:
        comparisons: of every draw, by generator and contrast.
    """
    rows, sized = list(strata(comparisons)), list(strata(comparisons, by_size=True))
    generators = dict.fromkeys(row.generator for row in rows)
    tables = [_precision([row for row in rows if row.generator == g]) for g in generators]
    tables += [_difference(rows, ""), _difference(sized, ", by size")]
    tables += [_at_threshold(comparisons), _by_size(comparisons), _decoys(comparisons)]
    console = Console()
    for table in tables:
        if table.row_count:
            console.print(table)


def print_agreement(
    agreements: list[dict[tuple[str, str], Tensor]], tissues: Sequence[str]
) -> None:
    """Print what :func:`dal_fast.evaluation.agreement.agreement` returned, brain by brain."""
    title = f"Dice of their tissue maps, mean (SD), n={len(agreements)}"
    table = Table("contrasts", *tissues, title=title)
    for pair in agreements[0]:
        dice = torch.stack([of_brain[pair] for of_brain in agreements])
        spread = dice.std(dim=0) if len(agreements) > 1 else torch.full((len(tissues),), math.nan)
        cells = zip(dice.mean(dim=0).tolist(), spread.tolist(), strict=True)
        table.add_row(" – ".join(pair), *(f"{_number(m)} ({_number(s)})" for m, s in cells))
    Console().print(table)


def _precision(rows: list[Stratum]) -> Table:
    columns = [f"{s.contrast} {s.sign}" for s in rows]
    title = "mean over cases" + (f", generator {rows[0].generator}" if rows[0].generator else "")
    table = Table("average precision", *columns, title=title)
    for detector in DETECTORS:
        if any(detector in s.means for s in rows):
            cells = (_number(s.means.get(detector, math.nan)) for s in rows)
            table.add_row(detector, *cells)
    table.add_row("cases", *(str(s.n) for s in rows))
    return table


def _difference(rows: list[Stratum], kind: str) -> Table:
    title = f"{AUTO} less the best baseline, paired by case{kind}"
    head = ("", AUTO, "best baseline", "difference", "SD over cases", "by draw", "cases")
    table = Table(*head, title=title)
    for s in rows:
        by_draw = " ".join(f"{value:+.3f}" for value in s.by_draw.values())
        difference, spread = f"{s.difference:+.3f}", _number(s.spread)
        own = _number(s.means[AUTO])
        table.add_row(s.name, own, s.baseline, difference, spread, by_draw, str(s.n))
    return table


def _at_threshold(comparisons: Sequence[dict[str, Comparison]]) -> Table:
    """At the healthy thresholds, by column and detector."""
    table = Table(
        "", "threshold", "healthy voxels above", "Dice", "best Dice", "slice AUROC",
        title="at what one voxel in a thousand exceeds in other healthy subjects",
    )  # fmt: skip
    for (column, name), draws in _results(comparisons, decoys=False).items():
        cases = [case for draw in draws for case in draw.cases]
        rates = [c.values["false_positive_rate"] for c in cases if c.facts["sign"] == HEALTHY]
        synthetic = [case for case in cases if is_synthetic(case)]
        table.add_row(
            f"{column} {name}",
            _mean([draw.threshold for draw in draws]),
            _mean(rates, 5),
            _mean([case.values["dice"] for case in synthetic]),
            _mean([case.values["best_dice"] for case in synthetic]),
            _mean([draw.slice_peaks.auroc() for draw in draws]),
        )
    return table


def _by_size(comparisons: Sequence[dict[str, Comparison]]) -> Table:
    lesions: Counter[tuple[str, str]] = Counter()
    found: Counter[tuple[str, str]] = Counter()
    for (column, name), draws in _results(comparisons, decoys=False).items():
        for draw in draws if name == AUTO else []:
            for size, number in draw.lesions_by_size.items():
                lesions[column, size] += number
                found[column, size] += draw.found_by_size[size]
    table = Table("", "lesions", "found", title=f"lesions that {AUTO} finds at that threshold")
    for (column, size), number in sorted(lesions.items()):
        share = found[column, size] / number
        table.add_row(f"{column} {size}", str(number), f"{share:.0%}")
    return table


def _decoys(comparisons: Sequence[dict[str, Comparison]]) -> Table:
    """How a detector takes what looks abnormal and is healthy."""
    table = Table(
        "", "AUROC", "decoys marked", "other voxels above", "cases",
        title="decoys: an AUROC of 0.5 says that they score like their surroundings",
    )  # fmt: skip
    for (column, name), draws in _results(comparisons, decoys=True).items():
        cases = [case for draw in draws for case in draw.cases]
        found = sum(case.values["lesions_found"] for case in cases)
        share = found / max(1, sum(case.values["lesions"] for case in cases))
        rates = [case.values["false_positive_rate"] for case in cases]
        auroc = _mean([case.values["auroc"] for case in cases])
        table.add_row(f"{column} {name}", auroc, f"{share:.0%}", _mean(rates, 5), str(len(cases)))
    return table


def _results(
    comparisons: Sequence[dict[str, Comparison]], decoys: bool
) -> dict[tuple[str, str], list[DetectorResults]]:
    """The results of every draw by column and detector, of decoys or of all others."""
    results: dict[tuple[str, str], list[DetectorResults]] = {}
    for by_column in comparisons:
        for column, comparison in by_column.items():
            for detector in comparison.detectors:
                signs = {case.facts["sign"] for case in detector.cases}
                if detector.cases and (DECOY in signs) == decoys:
                    results.setdefault((column, detector.name), []).append(detector)
    return results


def _mean(values: list[float], digits: int = 3) -> str:
    known = [value for value in values if not math.isnan(value)]
    return _number(fmean(known), digits) if known else "–"


def _number(value: float, digits: int = 3) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"
