"""``dal-fast evaluate``: detectors judged by the field's protocols."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dal_fast.cli.console import app, progress, refusals, status


@app.command()
def evaluate(
    maps: Annotated[
        list[str],
        typer.Argument(
            metavar="MAPS...",
            help="One a detector: FOLDER of anomaly maps, NAME=FOLDER, or detector:NAME of an "
            "installed package (intensity and darkness come along).",
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            help="BIDS dataset with *_label-lesion_mask.nii.gz, or a CSV or TSV of paths "
            "(scan, brain, lesion)."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("evaluation"),
    protocol: Annotated[str, typer.Option(help="default, uad-imag, pddpm or luo2023.")] = "default",
    healthy: Annotated[
        str | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Scans without a lesion mask that are healthy, by a column of participants.tsv, "
            "an entity of the name, or suffix; 'all'.",
        ),
    ] = None,
    validation: Annotated[
        str | None,
        typer.Option(
            metavar="KEY=VALUE", help="Scans that thresholds come from, and that are not judged."
        ),
    ] = None,
    suffix: Annotated[
        list[str] | None, typer.Option(help="Only these images, such as T2w; repeatable.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Instead of the protocol's; one for all detectors.")
    ] = None,
    pictures: Annotated[bool, typer.Option(help="A small picture of every case.")] = True,
) -> None:
    """Compare anomaly maps with lesion masks, for one detector or several side by side.

    [bold]Examples[/bold]

    dal-fast evaluate dal=out-dal/ ae=out-ae/ --data ds/ --healthy group=control
    --validation split=val

    dal-fast evaluate maps/ --data test.csv --protocol uad-imag --threshold 0.2

    MAPS may come from dal-fast screen or bids, or from any other program: NIfTI on the scan's grid,
    or .npy, named as the scan. detector:NAME calls a function that a package offers under the entry
    point dal_fast.detectors. OUT/index.html shows it all; cases.csv, groups.csv, comparisons.csv
    and summary.json have every number.
    """
    with refusals():
        from dal_fast.batch.outputs import check_folder
        from dal_fast.evaluation.ground_truth import bids_truths, matching, table_truths
        from dal_fast.imaging.atomic import write_bytes

        check_folder(out)
        if data.is_dir():
            truths = bids_truths(data, healthy, suffix or ())
        else:
            truths = [t for t in table_truths(data, healthy) if not suffix or t.suffix in suffix]
        reserved = matching(truths, validation) if validation else []
        with status("loading torch"):
            from dal_fast.evaluation.detectors import source_of
            from dal_fast.evaluation.evaluate import evaluate as run
            from dal_fast.evaluation.page import PICTURES, evaluation_page
            from dal_fast.evaluation.pictures import case_picture
            from dal_fast.evaluation.plots import figure
            from dal_fast.evaluation.protocols import protocol as by_name
            from dal_fast.evaluation.results import sum_up, write_results
            from dal_fast.evaluation.statistics import scipy_stats
            from dal_fast.memory import keep_freed_memory

        scipy_stats()  # what is missing is told before the work, not after it
        figure(1, 1, 1, 1)
        keep_freed_memory()
        detectors = [source_of(text) for text in maps]
        judging = by_name(protocol)
        folder = out / PICTURES
        (folder if pictures else out).mkdir(parents=True, exist_ok=True)

        def draw(anatomy, shown, thresholds) -> None:  # type: ignore[no-untyped-def]
            if pictures:
                picture = case_picture(anatomy, shown, thresholds)
                write_bytes(folder / f"{anatomy.truth.name}.png", picture)

        with progress(len(truths), "judging") as advance:
            found = run(
                truths, detectors, judging, reserved, threshold, lambda: advance(None), draw
            )
        results = sum_up(found, judging, {truth.name: truth.facts for truth in truths})
        about = {
            "data": str(data),
            "maps": maps,
            "healthy": healthy,
            "validation": validation,
        }
        write_results(out, results, about)
        page = evaluation_page(results, about, data.resolve().name, pictures)
        write_bytes(out / "index.html", page.encode())
        for one in found:
            numbers = ", ".join(
                f"{name.replace('_', ' ')} {results.value(one.name, name):.3f}"
                for name in judging.headline
            )
            typer.echo(f"{one.name}: {numbers} ({one.sick} of {len(one.rows)} scans with lesions)")
        typer.echo(f"everything: {out / 'index.html'}")
