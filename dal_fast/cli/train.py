"""``dal-fast train``: train a model from brains with label maps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dal_fast.cli.console import Device, app, refusals, status


@app.command()
def train(
    config: Annotated[
        str,
        typer.Argument(metavar="CONFIG", help="TOML file, or the name of a recipe of dal_fast."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of checkpoint, logs, pictures and weights.")],
    data: Annotated[
        Path | None,
        typer.Option(
            help="BIDS derivative: sub-*/anat/*_desc-brain_T1w.nii.gz (T2w and FLAIR too, where "
            "there are), *_dseg.nii.gz, and dseg.tsv with the columns index and tissue. Brain "
            "extraction needs none."
        ),
    ] = None,
    maps: Annotated[
        Path | None,
        typer.Option(
            help="Folder of FreeSurfer label maps *_dseg.nii.gz; of whole heads, with labels from "
            "500 on outside the brain, for brain extraction."
        ),
    ] = None,
    device: Device = "auto",
    devices: Annotated[int, typer.Option(help="Processes on this machine, one a device.")] = 1,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Forget the training that OUT holds.")
    ] = False,
) -> None:
    """Train a model from brains with label maps.

    [bold]Examples[/bold]

    dal-fast train default --data bids-derivative/ --maps label-maps/ --out run-1/

    dal-fast train my.toml --data bids-derivative/ --out run-2/ --devices 4

    dal-fast train strip --maps head-maps/ --out run-3/

    torchrun --nproc-per-node 4 -m dal_fast.cli train my.toml --data ... --out ...

    One subject in six, by a hash of the name, is held out. Run the same command again to resume
    after a crash: the end is the same to the last bit (one device). OUT/weights.safetensors is what
    --weights of the other commands takes; OUT/log.csv, OUT/validation.csv, OUT/pictures/ and, where
    TensorBoard is installed, OUT/tensorboard/ show how it went.
    """
    with refusals():
        from dal_fast.imaging.folders import check_folder
        from dal_fast.memory import keep_freed_memory
        from dal_fast.training.config import read_config

        described = read_config(config)
        check_folder(out)
        keep_freed_memory()
        with status("loading torch"):
            from dal_fast.cli.train_progress import follow
            from dal_fast.training import train as training

        if overwrite:
            (out / "last.ckpt").unlink(missing_ok=True)
        fabric = training.make_fabric(device, devices, described)
        with follow(described.steps, fabric.is_global_zero) as shown:
            weights = training.run(described, data, out, fabric, maps, shown)
        if fabric.is_global_zero:
            typer.echo(f"weights: {weights}")
