"""``dal-fast make-validation``: a validation set with synthetic lesions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dal_fast.cli.console import app, progress, refusals
from dal_fast.imaging.text import counted, one_line


@app.command("make-validation")
def make_validation(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    data: Annotated[
        Path,
        typer.Option(help="BIDS derivative at 2 mm: sub-*/anat brain T1w and dseg, dseg.tsv."),
    ],
    masks: Annotated[
        Path | None,
        typer.Option(help="Folder of *_lesion.nii.gz in MNI152 space, for --generator masks."),
    ] = None,
    generator: Annotated[
        list[str] | None,
        typer.Option(
            help="ellipsoids, shifted (other shapes and laws, strong bias, decoys) or masks "
            "(given ones); may be repeated. Default: all that --masks allows."
        ),
    ] = None,
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
    dark lesions of changing size, by each generator. Another seed is another draw.
    """
    with refusals():
        from dal_fast.evaluation import validation_set
        from dal_fast.evaluation.validation_samples import GENERATORS, plans
        from dal_fast.imaging.folders import check_folder
        from dal_fast.imaging.paths import check_apart
        from dal_fast.synthesis.brains import bids_sources, load_brains
        from dal_fast.synthesis.given_masks import read_masks

        check_folder(out)
        check_apart(out, data)
        lesions = read_masks(masks) if masks else []
        generators = generator or [name for name in GENERATORS if lesions or name != "masks"]
        validation_set.check_generators(generators, lesions)
        real, failures = validation_set.patient_rows(patients) if patients else ([], [])
        for name, code, message in failures:
            typer.echo(one_line(f"failed [{code}] {name}: {message}"), err=True)
        brains = load_brains(bids_sources(data, held_out=True)[skip:][:at_most])
        made = []
        total = len(brains) * sum(len(plans(name, 0)) for name in generators)
        with progress(total, "writing") as advance:
            for case in validation_set.make_validation(out, brains, seed, generators, lesions):
                made.append(case)
                advance(None)
        validation_set.write_set(out, [*made, *real], seed)
        scans, of = counted(len(made), "scan"), counted(len(brains), "brain")
        typer.echo(f"{scans} of {of}, {len(real)} of patients: {out}")
    raise typer.Exit(1 if failures else 0)
