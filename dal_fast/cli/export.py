"""``dal-fast export``: the networks for another program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dal_fast.cli.console import Weights, app, refusals, status


@app.command()
def export(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder.")],
    to: Annotated[str, typer.Option(help="onnx, openvino or tensorrt.")] = "onnx",
    weights: Weights = "default",
    gpu: Annotated[
        str | None,
        typer.Option(
            help="tensorrt: build for this GPU, e.g. sm80 or sm120 (with tensorrt-rtx, no GPU is "
            "needed). Default: the GPU of this machine."
        ),
    ] = None,
) -> None:
    """Write the networks for another program, with a model.json that says what goes in.

    [bold]Examples[/bold]

    dal-fast export onnx-networks/

    dal-fast export engines/ --to tensorrt --gpu sm80
    """
    with refusals():
        from dal_fast.screening.export import export as write

        with status(f"exporting to {to}"):
            parts = write(weights, out, to, gpu)
        typer.echo(f"networks {', '.join(parts)}: {out}")
