"""The tables of a validation, for a terminal."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from dal_fast.evaluation.baselines import FLOORS
from dal_fast.evaluation.validate import Comparison, Row, Validation, compare
from dal_fast.screening.scoring import SCORES

METHODS = (*SCORES, *FLOORS)


def show(results: list[Validation]) -> None:
    """Print what :func:`dal_fast.evaluation.validate.validate` found on one or several draws."""
    rows = [row for result in results for row in result.rows]
    strata = list(compare(rows))
    console = Console()
    for table in (_precision(strata), _gain(strata), _others(rows, results), _by_size(results)):
        console.print(table)


def show_agreement(found: list[dict[tuple[str, str], Tensor]], tissues: Sequence[str]) -> None:
    """Print what :func:`dal_fast.evaluation.agreement.agreement` found, brain by brain."""
    title = f"Dice of their tissue maps, mean (SD), n={len(found)}"
    table = Table("contrasts", *tissues, title=title)
    for pair in found[0]:
        dice = torch.stack([one[pair] for one in found])
        spread = dice.std(dim=0) if len(found) > 1 else torch.full((len(tissues),), math.nan)
        cells = zip(dice.mean(dim=0).tolist(), spread.tolist(), strict=True)
        table.add_row(" – ".join(pair), *(f"{_number(m)} ({_number(s)})" for m, s in cells))
    Console().print(table)


def _precision(strata: list[Comparison]) -> Table:
    columns = [f"{s.contrast} {s.sign}" for s in strata]
    table = Table("average precision", *columns, title="mean over cases")
    for method in METHODS:
        if any(method in s.means for s in strata):
            table.add_row(method, *(_number(s.means.get(method, math.nan)) for s in strata))
    table.add_row("cases", *(str(s.n) for s in strata))
    return table


def _gain(strata: list[Comparison]) -> Table:
    title = "auto less the best floor, paired by case"
    head = ("", "best floor", "difference", "SD over cases", "by draw", "cases")
    table = Table(*head, title=title)
    for s in strata:
        draws = " ".join(f"{value:+.3f}" for value in s.draws.values())
        gain, spread = f"{s.difference:+.3f}", _number(s.spread)
        table.add_row(f"{s.contrast} {s.sign}", s.floor, gain, spread, draws, str(s.n))
    return table


def _others(rows: list[Row], results: list[Validation]) -> Table:
    """At the healthy thresholds, by contrast, for ``auto`` and the floors."""
    table = Table(
        "", "threshold", "healthy voxels above", "Dice", "best Dice", "slice AUROC",
        title="at what one voxel in a thousand exceeds in other healthy subjects",
    )  # fmt: skip
    for contrast in dict.fromkeys(row.contrast for row in rows):
        for method in dict.fromkeys(row.method for row in rows):
            own = [row for row in rows if (row.contrast, row.method) == (contrast, method)]
            healthy = [r.false_positive_rate for r in own if r.sign == "healthy"]
            synthetic = [row for row in own if row.synthetic]
            table.add_row(
                f"{contrast} {method}",
                _mean([r.thresholds.get((contrast, method), math.nan) for r in results]),
                _mean(healthy, 5),
                _mean([r.dice for r in synthetic]),
                _mean([r.best_dice for r in synthetic]),
                _mean([r.slice_auroc(contrast, method) for r in results]),
            )
    return table


def _by_size(results: list[Validation]) -> Table:
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for result in results:
        for (contrast, method, size), (lesions, found) in result.by_size.items():
            if method == "auto":
                counts[contrast, size][0] += lesions
                counts[contrast, size][1] += found
    table = Table("", "lesions", "found", title="lesions that auto finds at that threshold")
    for (contrast, size), (lesions, found) in sorted(counts.items()):
        table.add_row(f"{contrast} {size}", str(lesions), f"{found / lesions:.0%}")
    return table


def _mean(values: list[float], digits: int = 3) -> str:
    known = [value for value in values if not math.isnan(value)]
    return _number(fmean(known), digits) if known else "–"


def _number(value: float, digits: int = 3) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"
