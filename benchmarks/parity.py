"""What another engine changes: maps and average precision of the default score, beside eager torch.

python -m benchmarks.parity SET [SET ...] [--runtimes openvino onnx]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from dal_fast.evaluation.cases import ValidationCase, read_table
from dal_fast.evaluation.validate import Row, validate
from dal_fast.screening.model_input import load_case
from dal_fast.screening.screener import Screener

METHOD = "auto"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parity", description=__doc__)
    parser.add_argument("sets", type=Path, nargs="+", help="folders of dal-fast make-validation")
    parser.add_argument("--runtimes", nargs="+", default=["openvino", "onnx"])
    options = parser.parse_args(arguments)
    cases = {folder.name: read_table(folder) for folder in options.sets}
    eager = Screener(runtime="torch")
    own = precisions(eager, cases)
    table = Table(
        "runtime", "cases", "mean AP", "its difference", "largest of a case", "largest of a map",
        title="beside eager torch; a map is 1 where one healthy voxel in a thousand exceeds it",
    )  # fmt: skip
    table.add_row("torch", str(len(own)), f"{fmean(own.values()):.4f}", "", "", "")
    for runtime in options.runtimes:
        screener = Screener(runtime=runtime)
        found = precisions(screener, cases)
        gaps = [found[key] - value for key, value in own.items()]
        worst = max(
            difference(case, eager, screener)
            for case in track([c for own in cases.values() for c in own], "comparing maps")
        )
        table.add_row(
            runtime, str(len(found)), f"{fmean(found.values()):.4f}", f"{fmean(gaps):+.6f}",
            f"{max(map(abs, gaps)):.6f}", f"{worst:.2g}",
        )  # fmt: skip
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    return 0


def precisions(
    screener: Screener, sets: dict[str, list[ValidationCase]]
) -> dict[tuple[str, str], float]:
    """Average precision by draw and case, of the cases with a lesion."""
    rows: list[Row] = []
    for draw, cases in track(sets.items(), screener.runtime.name):
        rows += validate(cases, screener, draw, methods=(METHOD,)).rows
    return {
        (row.draw, row.case): row.average_precision
        for row in rows
        if row.average_precision == row.average_precision
    }


def difference(case: ValidationCase, a: Screener, b: Screener) -> float:
    loaded = load_case(case.scan, case.brain or None)
    maps = [screener.screen_case(loaded).anomaly.data for screener in (a, b)]
    return float(np.abs(maps[0] - maps[1]).max())


if __name__ == "__main__":
    torch.set_num_threads(2)
    sys.exit(main())
