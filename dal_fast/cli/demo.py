"""``dal-fast demo``: a head with a lesion painted in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dal_fast.cli.console import Device, Runtime, Weights, app, refusals
from dal_fast.cli.screen import screen_one


@app.command()
def demo(
    out: Annotated[Path, typer.Argument(metavar="[OUT]", help="Folder of the results.")] = Path(
        "demo-out"
    ),
    weights: Weights = "default",
    runtime: Runtime = "auto",
    device: Device = "auto",
) -> None:
    r"""Screen a head with a lesion painted into its brain, and say what was found.

    Needs nilearn, which carries the MNI152 template: pip install 'dal_fast\[demo]'
    """
    with refusals():
        from dal_fast.demo import LESION_CENTRE, write_demo_scan
        from dal_fast.imaging.folders import check_folder

        check_folder(out)
        scan = write_demo_scan(out)
        x, y, z = LESION_CENTRE
        typer.echo(f"painted a lesion into the MNI152 template at {x:+.0f}, {y:+.0f}, {z:+.0f} mm")
        settings = {"weights": weights, "runtime": runtime, "device": device}
        screen_one(scan, out, None, settings, overwrite=True)
