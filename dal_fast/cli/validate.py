"""``dal-fast validate``: a weight file beside detectors that learned nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dal_fast.cli.console import Device, Median, Runtime, Weights, app, progress, refusals, status


@app.command()
def validate(
    sets: Annotated[
        list[Path],
        typer.Argument(metavar="SET...", help="Folders that make-validation wrote, draws of one."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("validation"),
    weights: Weights = "default",
    median: Median = None,
    atlas: Annotated[
        bool, typer.Option(help="Also the atlas floor, which needs SimpleITK and nilearn.")
    ] = True,
    device: Device = "auto",
    runtime: Runtime = "auto",
) -> None:
    """Compare every score of a weight file with detectors that learned nothing.

    Prints average precision by contrast and sign, the paired difference to the best floor with its
    spread over cases and draws, lesions found by size, and healthy thresholds; OUT/cases.csv has
    every number.
    """
    with refusals():
        from dal_fast.evaluation.cases import read_table
        from dal_fast.imaging.atomic import check_folder

        tables = {folder: read_table(folder) for folder in sets}
        check_folder(out)
        out.mkdir(parents=True, exist_ok=True)  # before the work, not after it
        with status("loading the model"):
            from dal_fast.evaluation import summary
            from dal_fast.evaluation import validate as run
            from dal_fast.screening.screener import Screener

            screener = Screener(weights, runtime, device, median=median)
        results = []
        with progress(sum(map(len, tables.values())), "validating") as advance:
            for folder, cases in tables.items():
                results.append(
                    run.validate(
                        cases, screener, folder.name, atlas=atlas, advance=lambda: advance(None)
                    )
                )
        rows = [row for result in results for row in result.rows]
        run.write_rows(out / "cases.csv", rows)
        summary.show(results)
        typer.echo(f"every case: {out / 'cases.csv'}")
