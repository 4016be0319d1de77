"""``dal-fast calibrate``: what healthy brains show under a weight file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dal_fast.cli.console import app, refusals, status


@app.command()
def calibrate(
    weights: Annotated[Path, typer.Argument(metavar="WEIGHTS", help="Weight file.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The same with a new calibration.")],
    data: Annotated[Path, typer.Option(help="BIDS derivative, as for train.")],
    seed: Annotated[int, typer.Option(help="Of deformation and noise.")] = 0,
    at_most: Annotated[
        int | None, typer.Option(help="Subjects, of held-out ones and of others.")
    ] = None,
) -> None:
    """Measure anew what healthy brains show, and write it into a weight file.

    Scores, thresholds and signs rest on what held-out healthy brains show under the model, which
    training measures at its end. Here it is measured again, for the way maps are made today; the
    networks stay as they are. How large residuals usually are at each place is taken from 40
    brains of training. OUT may be WEIGHTS.
    """
    with refusals():
        from dal_fast.imaging.folders import check_folder
        from dal_fast.synthesis.brains import bids_sources, load_brains

        check_folder(out.parent)
        held_out, others = (bids_sources(data, which)[:at_most] for which in (True, False))
        with status("loading the model"):
            from dal_fast.evaluation.calibration import calibrate as measure
            from dal_fast.models import load_screening_model, rewrite_card

            model = load_screening_model(weights)
        brains, usual = (load_brains(some, model.config.voxel_mm) for some in (held_out, others))
        with status("looking at healthy brains"):
            healthy = measure(model, brains, seed, usual)
        facts = {"calibrated_on": len(brains), "healthy": healthy.model_dump(mode="json")}
        rewrite_card(weights, out, facts)
        typer.echo(f"{out}: {len(brains)} held-out healthy brains")
