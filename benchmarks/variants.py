"""What each variant of DAL is worth: every recipe trained alike, compared on the same sets.

    python -m benchmarks.variants SET [SET ...] --data derivative/ --out runs/ [--maps label-maps/]

Every stage of every recipe gets the same number of steps, and every network the same small size
(``SMALL``), so that two cores train all of them in an hour or two. What a recipe takes from the
default weights it takes from the run of ``default`` of the same seed. A run that is there already
is not repeated. The numbers compare variants; they are not those of the shipped weights.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean, stdev

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from dal_fast.evaluation.case_metrics import CaseMetrics
from dal_fast.evaluation.cases import Case
from dal_fast.evaluation.model_scores import AUTO, ModelScores
from dal_fast.evaluation.report.results import write_cases
from dal_fast.evaluation.validation_comparison import (
    compare_on_set,
    is_synthetic,
    measured_cases,
)
from dal_fast.evaluation.validation_set import read_sets
from dal_fast.models.weights import read_card
from dal_fast.screening.screener import Screener
from dal_fast.training import train
from dal_fast.training.config import TrainConfig, read_config

RECIPES = ("default", "published", "corrupted", "lesions", "means", "edges", "evidence")
SMALL = {
    "patch": 2,
    "tissue_widths": (16, 32, 64),
    "anatomy_widths": (16, 32, 64),
    "anatomy_channels": 8,
    "decoder_width": 8,
}
SCORES = (AUTO, "hybrid", "absolute")
_LOG_WIDTH = 180
Rows = list[tuple[str, CaseMetrics]]
"""Score and measures of every case."""
Results = dict[tuple[str, int, str], Rows]
"""By recipe, seed and draw."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.variants", description=__doc__)
    parser.add_argument("sets", type=Path, nargs="+", help="folders of dal-fast make-validation")
    parser.add_argument("--data", type=Path, required=True, help="as for dal-fast train")
    parser.add_argument("--maps", type=Path, help="as for dal-fast train")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--recipes", nargs="+", default=RECIPES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--steps", type=int, default=400, help="of every stage")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    sets = [cases for cases, _ in read_sets(options.sets)]
    runs = {}
    for seed in options.seeds:
        for name in dict.fromkeys(("default", *options.recipes)):
            first = runs.get(("default", seed))
            runs[name, seed] = _train(name, seed, first, options)
    results = _compare(runs, sets)
    for (name, seed, draw), rows in results.items():
        write_cases(options.out / f"{name}-{seed}" / f"{draw}.csv", rows)
    console = Console(width=None if sys.stdout.isatty() else _LOG_WIDTH)
    console.print(_table(runs, results, options.steps))
    return 0


def _train(name: str, seed: int, first: Path | None, options: argparse.Namespace) -> Path:
    out: Path = options.out / f"{name}-{seed}"
    if (out / train.WEIGHTS).is_file():
        return out / train.WEIGHTS
    config = small(read_config(name), seed, options.steps, first)
    fabric = train.make_fabric(options.device, 1, config)

    def read(files: Iterable[train.BrainFiles]) -> Iterable[train.BrainFiles]:
        return track(files, f"{name}, seed {seed}: reading")

    def show(step: train.Step, total: int, line: str) -> None:
        if step.number % 50 == 0:
            print(f"{name}, seed {seed}: step {step.number} of {total}, {line}", flush=True)

    return train.run(
        config, options.data, out, fabric, options.maps, train.Progress(reading=read, step=show)
    )


def small(config: TrainConfig, seed: int, steps: int, first: Path | None) -> TrainConfig:
    """The recipe at the size and length of this comparison."""
    return config.model_copy(
        update={
            "model": config.model.model_copy(update=SMALL),
            "stages": tuple(s.model_copy(update={"steps": steps}) for s in config.stages),
            "init": str(first) if config.init else None,
            "seed": seed,
        }
    )


def _compare(runs: dict[tuple[str, int], Path], sets: Sequence[Sequence[Case]]) -> Results:
    results = {}
    for (name, seed), weights in track(runs.items(), "comparing"):
        detector = ModelScores(Screener(weights), SCORES)
        for cases in sets:
            rows = list(measured_cases([compare_on_set(cases, detector)]))
            results[name, seed, cases[0].facts["draw"]] = rows
    return results


def _table(runs: dict[tuple[str, int], Path], results: Results, steps: int) -> Table:
    strata: dict[tuple[str, str], None] = {}
    for rows in results.values():
        strata |= {_stratum(case): None for _, case in rows if is_synthetic(case)}
    columns = sorted(strata)
    heads = ("variant", "Dice", "agreement", *(f"{c} {s}" for c, s in columns), *SCORES, "runs")
    title = f"average precision of auto by column; mean (SD over cases); {steps} steps a stage"
    table = Table(*heads, title=title)
    for name in dict.fromkeys(name for name, _ in runs):
        of_recipe = {key: rows for key, rows in results.items() if key[0] == name}
        cards = [read_card(path)["metrics"] for key, path in runs.items() if key[0] == name]
        dice = fmean(v for card in cards for k, v in card.items() if k.startswith("dice"))
        cells = [f"{dice:.3f}", f"{fmean(card['agreement'] for card in cards):.3f}"]
        every = [row for rows in of_recipe.values() for row in rows]
        for column in columns:
            chosen = [row for row in every if _stratum(row[1]) == column]
            cells.append(_mean(_precisions(chosen, AUTO)))
        cells += [_mean(_precisions(every, score)) for score in SCORES]
        runs_of = [fmean(_precisions(rows, AUTO)) for rows in of_recipe.values()]
        table.add_row(name, *cells, " ".join(f"{value:.3f}" for value in runs_of))
    return table


def _stratum(case: CaseMetrics) -> tuple[str, str]:
    return case.facts["contrast"], case.facts["sign"]


def _precisions(rows: Iterable[tuple[str, CaseMetrics]], score: str) -> list[float]:
    """By case, mean over the seeds of training."""
    by_case = defaultdict(list)
    for name, case in rows:
        if is_synthetic(case) and name == score:
            by_case[case.facts["draw"], case.case].append(case.values["average_precision"])
    return [fmean(values) for values in by_case.values()]


def _mean(values: list[float]) -> str:
    spread = f" ({stdev(values):.3f})" if len(values) > 1 else ""
    return f"{fmean(values):.3f}{spread}"


if __name__ == "__main__":
    torch.set_num_threads(2)
    sys.exit(main())
