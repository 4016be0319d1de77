"""What each variant of DAL is worth: every recipe trained alike, judged on the same sets.

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

from dal_fast.evaluation.cases import ValidationCase, read_table
from dal_fast.evaluation.validate import Row, validate, write_rows
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
METHODS = ("auto", "hybrid", "absolute")
_LOG_WIDTH = 180
Found = dict[tuple[str, int, str], list[Row]]
"""Rows by recipe, seed and draw."""


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
    sets = {folder.name: read_table(folder) for folder in options.sets}
    runs = {}
    for seed in options.seeds:
        for name in dict.fromkeys(("default", *options.recipes)):
            first = runs.get(("default", seed))
            runs[name, seed] = _train(name, seed, first, options)
    found = _judge(runs, sets)
    for (name, seed, draw), rows in found.items():
        write_rows(options.out / f"{name}-{seed}" / f"{draw}.csv", rows)
    console = Console(width=None if sys.stdout.isatty() else _LOG_WIDTH)
    console.print(_table(runs, found, options.steps))
    return 0


def _train(name: str, seed: int, first: Path | None, options: argparse.Namespace) -> Path:
    out: Path = options.out / f"{name}-{seed}"
    if (out / train.WEIGHTS).is_file():
        return out / train.WEIGHTS
    config = small(read_config(name), seed, options.steps, first)
    fabric = train.make_fabric(options.device, 1, config)

    def read(sources: Iterable[train.Source]) -> Iterable[train.Source]:
        return track(sources, f"{name}, seed {seed}: reading")

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


def _judge(runs: dict[tuple[str, int], Path], sets: dict[str, list[ValidationCase]]) -> Found:
    found = {}
    for (name, seed), weights in track(runs.items(), "validating"):
        screener = Screener(weights)
        for draw, cases in sets.items():
            found[name, seed, draw] = validate(cases, screener, draw, methods=METHODS).rows
    return found


def _table(runs: dict[tuple[str, int], Path], found: Found, steps: int) -> Table:
    kinds: dict[tuple[str, str], None] = {}
    for rows in found.values():
        kinds |= {(r.contrast, r.sign): None for r in rows if r.synthetic}
    columns = sorted(kinds)
    heads = ("variant", "Dice", "agreement", *(f"{c} {s}" for c, s in columns), *METHODS, "runs")
    title = f"average precision of auto by column; mean (SD over cases); {steps} steps a stage"
    table = Table(*heads, title=title)
    for name in dict.fromkeys(name for name, _ in runs):
        own = {key: rows for key, rows in found.items() if key[0] == name}
        cards = [read_card(path)["metrics"] for key, path in runs.items() if key[0] == name]
        dice = fmean(v for card in cards for k, v in card.items() if k.startswith("dice"))
        cells = [f"{dice:.3f}", f"{fmean(card['agreement'] for card in cards):.3f}"]
        every = [row for rows in own.values() for row in rows]
        for column in columns:
            chosen = [r for r in every if (r.contrast, r.sign) == column]
            cells.append(_mean(_precisions(chosen, "auto")))
        cells += [_mean(_precisions(every, method)) for method in METHODS]
        runs_of = [fmean(_precisions(rows, "auto")) for rows in own.values()]
        table.add_row(name, *cells, " ".join(f"{value:.3f}" for value in runs_of))
    return table


def _precisions(rows: Iterable[Row], method: str) -> list[float]:
    """By case, mean over the seeds of training."""
    cases = defaultdict(list)
    for row in rows:
        if row.synthetic and row.method == method:
            cases[row.draw, row.case].append(row.average_precision)
    return [fmean(values) for values in cases.values()]


def _mean(values: list[float]) -> str:
    spread = f" ({stdev(values):.3f})" if len(values) > 1 else ""
    return f"{fmean(values):.3f}{spread}"


if __name__ == "__main__":
    torch.set_num_threads(2)
    sys.exit(main())
