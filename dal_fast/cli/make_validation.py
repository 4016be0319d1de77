"""``dal-fast make-validation``: a validation set with synthetic lesions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dal_fast.cli.console import app, progress, refusals


@app.command("make-validation")
def make_validation(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    data: Annotated[
        Path,
        typer.Option(help="BIDS derivative at 2 mm: sub-*/anat brain T1w and dseg, dseg.tsv."),
    ],
    patients: Annotated[
        Path | None,
        typer.Option(help="BIDS folder of real scans with sub-*_label-lesion_mask; listed too."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of lesions and degradations.")] = 0,
    at_most: Annotated[int | None, typer.Option(help="Subjects.")] = None,
    skip: Annotated[int, typer.Option(help="Leave out this many subjects first.")] = 0,
) -> None:
    """Write a validation set: held-out healthy brains with synthetic lesions of known masks.

    Each subject gives three contrasts (real T1w, T2w-like, FLAIR-like), healthy and with bright and
    dark lesions of changing size. Another seed is another draw.
    """
    with refusals():
        from dal_fast.evaluation import validation_set
        from dal_fast.imaging.atomic import check_folder
        from dal_fast.synthesis.brains import bids_sources, load_brains

        check_folder(out)
        real, failures = validation_set.patient_rows(patients) if patients else ([], [])
        for name, code, message in failures:
            typer.echo(f"failed [{code}] {name}: {message}", err=True)
        brains = load_brains(bids_sources(data, held_out=True)[skip:][:at_most])
        made = []
        with progress(9 * len(brains), "writing") as advance:
            for case in validation_set.make_validation(out, brains, seed):
                made.append(case)
                advance(None)
        validation_set.write_set(out, [*made, *real], seed)
        typer.echo(f"{len(made)} scans of {len(brains)} brains, {len(real)} of patients: {out}")
    raise typer.Exit(1 if failures else 0)
