"""``dal-fast compare``: a weight file beside baselines, on the built-in validation set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dal_fast.cli.console import Device, Median, Runtime, Weights, app, progress, refusals, status
from dal_fast.cli.failures import FailureList


@app.command()
def compare(
    sets: Annotated[
        list[Path],
        typer.Argument(metavar="SET...", help="Folders that make-validation wrote, draws of one."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("comparison"),
    weights: Weights = "default",
    median: Median = None,
    atlas: Annotated[
        bool, typer.Option(help="Also the atlas baseline, which needs SimpleITK and nilearn.")
    ] = True,
    device: Device = "auto",
    runtime: Runtime = "auto",
) -> None:
    """Compare every score of a weight file with detectors that were not trained.

    Prints average precision by contrast and sign, the paired difference to the best baseline with
    its spread over cases and draws, lesions found by size, and healthy thresholds; OUT/cases.csv
    has every number. Cases that cannot be evaluated are listed, and in OUT/failures.tsv; the status
    is then 1.
    """
    with refusals():
        from dal_fast.evaluation.validation_set import read_sets
        from dal_fast.imaging.folders import check_folder, make_folder

        listed = read_sets(sets)
        check_folder(out)
        make_folder(out)  # before the work, not after it
        with FailureList(out, [f for cases in listed for f in cases.failures]) as failures:
            with status("loading the model"):
                from dal_fast.evaluation.compare import Hooks, check_cases
                from dal_fast.evaluation.model_scores import ModelScores
                from dal_fast.evaluation.report.results import write_cases
                from dal_fast.evaluation.report.terminal import print_comparison
                from dal_fast.evaluation.validation_comparison import (
                    compare_on_set,
                    measured_cases,
                )
                from dal_fast.screening.screener import Screener

                screener = Screener(weights, runtime, device, median=median)
                detector = ModelScores(screener, atlas=atlas)
            hooks = Hooks(case_failed=failures.add)
            usable = [check_cases(cases, [detector], hooks)[0] for cases, _ in listed]
            failures.check_any_left(sum(map(len, usable)))
            comparisons = []
            with progress(sum(map(len, usable)), "comparing") as advance:
                for cases in usable:
                    hooks = Hooks(lambda: advance(None), failures.add)
                    comparisons.append(compare_on_set(cases, detector, hooks))
            write_cases(out / "cases.csv", measured_cases(comparisons))
            failures.check_any_left(sum(1 for _ in measured_cases(comparisons)))
            print_comparison(comparisons)
            typer.echo(f"every case: {out / 'cases.csv'}")
    raise typer.Exit(1 if failures.failed else 0)
