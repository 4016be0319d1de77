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
from dal_fast.evaluation.validation_set import HEALTHY
from dal_fast.screening.scoring import SCORES

DETECTORS = (*SCORES, *BASELINES)


def print_comparison(comparisons: Sequence[dict[str, Comparison]]) -> None:
    """Print what :func:`compare_on_set` returned for one or several draws.

    Args:
        comparisons: of every draw, by contrast.
    """
    rows = list(strata(comparisons))
    console = Console()
    for table in (
        _precision(rows),
        _difference(rows),
        _at_threshold(comparisons),
        _by_size(comparisons),
    ):
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
    table = Table("average precision", *columns, title="mean over cases")
    for detector in DETECTORS:
        if any(detector in s.means for s in rows):
            cells = (_number(s.means.get(detector, math.nan)) for s in rows)
            table.add_row(detector, *cells)
    table.add_row("cases", *(str(s.n) for s in rows))
    return table


def _difference(rows: list[Stratum]) -> Table:
    title = f"{AUTO} less the best baseline, paired by case"
    head = ("", "best baseline", "difference", "SD over cases", "by draw", "cases")
    table = Table(*head, title=title)
    for s in rows:
        by_draw = " ".join(f"{value:+.3f}" for value in s.by_draw.values())
        difference, spread = f"{s.difference:+.3f}", _number(s.spread)
        name = f"{s.contrast} {s.sign}"
        table.add_row(name, s.baseline, difference, spread, by_draw, str(s.n))
    return table


def _at_threshold(comparisons: Sequence[dict[str, Comparison]]) -> Table:
    """At the healthy thresholds, by contrast and detector."""
    table = Table(
        "", "threshold", "healthy voxels above", "Dice", "best Dice", "slice AUROC",
        title="at what one voxel in a thousand exceeds in other healthy subjects",
    )  # fmt: skip
    results: dict[tuple[str, str], list[DetectorResults]] = {}
    for by_contrast in comparisons:
        for contrast, comparison in by_contrast.items():
            for detector in comparison.detectors:
                if detector.cases:
                    results.setdefault((contrast, detector.name), []).append(detector)
    for (contrast, name), draws in results.items():
        cases = [case for draw in draws for case in draw.cases]
        rates = [c.values["false_positive_rate"] for c in cases if c.facts["sign"] == HEALTHY]
        synthetic = [case for case in cases if is_synthetic(case)]
        table.add_row(
            f"{contrast} {name}",
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
    for by_contrast in comparisons:
        for contrast, comparison in by_contrast.items():
            (auto,) = (d for d in comparison.detectors if d.name == AUTO)
            for size, number in auto.lesions_by_size.items():
                lesions[contrast, size] += number
                found[contrast, size] += auto.found_by_size[size]
    table = Table("", "lesions", "found", title=f"lesions that {AUTO} finds at that threshold")
    for (contrast, size), number in sorted(lesions.items()):
        share = found[contrast, size] / number
        table.add_row(f"{contrast} {size}", str(number), f"{share:.0%}")
    return table


def _mean(values: list[float], digits: int = 3) -> str:
    known = [value for value in values if not math.isnan(value)]
    return _number(fmean(known), digits) if known else "–"


def _number(value: float, digits: int = 3) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"
