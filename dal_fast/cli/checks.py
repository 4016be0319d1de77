"""``dal-fast checks``: does the method do what it should, step by step?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dal_fast.cli.console import Weights, app, progress, refusals, status


@app.command()
def checks(
    data: Annotated[Path, typer.Option(help="BIDS derivative, as for train.")],
    out: Annotated[Path, typer.Option(help="Folder of the page.")] = Path("checks"),
    weights: Weights = "default",
    seed: Annotated[int, typer.Option(help="Of deformation, lesions and noise.")] = 0,
    at_most: Annotated[int | None, typer.Option(help="Subjects.")] = None,
) -> None:
    """Check the method step by step, on held-out healthy brains.

    1. Do the tissue maps of one brain's contrasts agree? 2. How much of a lesion does the
    pseudo-healthy image keep (contrast, and mutual information)? 3. Does its modality vector stay
    where the scan's is? Prints the numbers; OUT/index.html has the plots.
    """
    with refusals():
        from dal_fast.imaging.atomic import write_text
        from dal_fast.imaging.folders import check_folder, make_folder
        from dal_fast.synthesis.brains import bids_sources, load_brains

        check_folder(out)
        sources = bids_sources(data, held_out=True)[:at_most]
        with status("loading the model"):
            from dal_fast.evaluation import checks as checks_of
            from dal_fast.evaluation.agreement import agreement
            from dal_fast.evaluation.report.checks_page import checks_page, print_checks
            from dal_fast.evaluation.report.plots import figure
            from dal_fast.evaluation.report.terminal import print_agreement
            from dal_fast.models import load_weights

            figure(1, 1, 1, 1)  # before the work, not after it
            model = load_weights(weights)
        brains = load_brains(sources, model.config.voxel_mm)
        paths = checks_of.paths(model)
        agreements = []
        leaks: list[checks_of.Leak] = []
        vectors: list[checks_of.Vectors] = []
        with progress(len(brains), "checking") as advance:
            for brain in brains:
                agreements.append(agreement(model, brain, seed))
                leaks += checks_of.leaks(paths, brain, seed)
                vectors += checks_of.vectors(model, brain, seed)
                advance(None)
        moved = checks_of.shift(vectors)
        print_agreement(agreements, model.config.tissues)
        print_checks(leaks, moved)
        about = {
            "weights": weights,
            "data": str(data),
            "held-out brains": len(brains),
            "seed": seed,
        }
        page = checks_page(
            "Checks of the method", agreements, model.config.tissues, leaks, vectors, moved, about
        )
        make_folder(out)
        write_text(out / "index.html", page)
        typer.echo(f"plots: {out / 'index.html'}")
