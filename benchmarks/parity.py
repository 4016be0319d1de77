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

from dal_fast.evaluation.cases import Case
from dal_fast.evaluation.model_scores import AUTO, ModelScores
from dal_fast.evaluation.validation_comparison import compare_on_set, measured_cases
from dal_fast.evaluation.validation_set import read_sets
from dal_fast.screening.scan import load_scan
from dal_fast.screening.screener import Screener

Precisions = dict[tuple[str, str], float]
"""Average precision by draw and case, of the cases with a lesion."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parity", description=__doc__)
    parser.add_argument("sets", type=Path, nargs="+", help="folders of dal-fast make-validation")
    parser.add_argument("--runtimes", nargs="+", default=["openvino", "onnx"])
    options = parser.parse_args(arguments)
    sets = [cases for cases, _ in read_sets(options.sets)]
    eager = Screener(runtime="torch")
    expected = precisions(eager, sets)
    table = Table(
        "runtime", "cases", "mean AP", "its difference", "largest of a case", "largest of a map",
        title="beside eager torch; a map is 1 where one healthy voxel in a thousand exceeds it",
    )  # fmt: skip
    table.add_row("torch", str(len(expected)), f"{fmean(expected.values()):.4f}", "", "", "")
    for runtime in options.runtimes:
        screener = Screener(runtime=runtime)
        computed = precisions(screener, sets)
        gaps = [computed[key] - value for key, value in expected.items()]
        worst = max(
            difference(case, eager, screener)
            for case in track([case for cases in sets for case in cases], "comparing maps")
        )
        table.add_row(
            runtime, str(len(computed)), f"{fmean(computed.values()):.4f}", f"{fmean(gaps):+.6f}",
            f"{max(map(abs, gaps)):.6f}", f"{worst:.2g}",
        )  # fmt: skip
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    return 0


def precisions(screener: Screener, sets: Sequence[Sequence[Case]]) -> Precisions:
    """Of the default score."""
    detector = ModelScores(screener, scores=())
    comparisons = [compare_on_set(s, detector) for s in track(sets, screener.runtime.name)]
    return {
        (case.facts["draw"], case.case): case.values["average_precision"]
        for name, case in measured_cases(comparisons)
        if name == AUTO and case.has_lesion
    }


def difference(case: Case, a: Screener, b: Screener) -> float:
    scan = load_scan(case.scan, case.brain)
    maps = [screener.screen_scan(scan).anomaly.data for screener in (a, b)]
    return float(np.abs(maps[0] - maps[1]).max())


if __name__ == "__main__":
    torch.set_num_threads(2)
    sys.exit(main())
