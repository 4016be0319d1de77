"""``dal-fast strip``: the brain mask of one scan, or of every scan of a folder."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dal_fast.cli.console import (
    Device,
    NonFinite,
    OnNonFinite,
    Runtime,
    app,
    refusals,
    say_flags,
    status,
)
from dal_fast.cli.pool import (
    Overwrite,
    Patience,
    PoolOptions,
    Workers,
    check_out,
    is_folder,
    screen_folder,
)
from dal_fast.extras import import_lean

if TYPE_CHECKING:
    from dal_fast.batch.strip import Stripped


class Extractor(StrEnum):
    """What finds the brain."""

    STRIP = "strip"
    HD_BET = "hd-bet"


@app.command()
def strip(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT", help="A NIfTI scan of a head, or a folder of them (BIDS or not)."
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the results.")],
    brain: Annotated[
        Extractor,
        typer.Option(help="strip: dal_fast's own network; hd-bet: HD-BET, where it is installed."),
    ] = Extractor.STRIP,
    device: Device = "auto",
    runtime: Runtime = "auto",
    nonfinite: NonFinite = OnNonFinite.REFUSE,
    overwrite: Overwrite = False,
    workers: Workers = 1,
    patience: Patience = 600.0,
) -> None:
    """Extract brains: a mask and a skull-stripped scan for each head, of any contrast.

    [bold]Examples[/bold]

    dal-fast strip head.nii.gz out/

    dal-fast strip bids/ bids/derivatives/strip/ --workers 2

    The mask of sub-01_T1w is OUT/.../sub-01_space-T1w_desc-brain_mask.nii.gz, the scan without its
    skull sub-01_desc-brain_T1w.nii.gz; beside them lie a picture of the outline and a JSON sidecar
    with the volume, a confidence from 0 to 1 and quality flags. Of a folder, OUT/brains.html shows
    all outlines, the doubtful ones first, and OUT/brains.tsv lists the numbers. dal-fast screen and
    bids use such masks where they lie in a derivative of the dataset.

    A scan in which no brain is found is listed in OUT/brains_failures.tsv, and the status is then
    1. Run the same command again to resume.
    """
    settings: dict[str, Any] = {
        "brain": brain.value,
        "runtime": runtime,
        "device": device,
        "nonfinite": nonfinite.value,
    }
    with refusals():
        check_out(out)
        options = PoolOptions(workers, patience, overwrite, task="strip")
        if is_folder(source):
            from dal_fast.batch.strip_tables import write_strip_tables

            failed = screen_folder(source, out, settings, options, write_strip_tables)
            raise typer.Exit(1 if failed else 0)
        _strip_one(source, out, settings, overwrite)


def _strip_one(source: Path, out: Path, settings: dict[str, Any], overwrite: bool) -> None:
    """Strip one scan, write its mask and say how sure it is."""
    from dal_fast.screening.chain import open_early

    opening = open_early(source, settings, screening=False, extraction=True)
    import_lean("nibabel")
    from dal_fast.batch.outputs import check_source_stays, strip_names
    from dal_fast.imaging.folders import check_folder
    from dal_fast.imaging.nifti import read_volume

    volume, names = read_volume(source, settings["nonfinite"]), strip_names(source)
    check_folder(out)
    check_source_stays(source, out, names)
    with status("loading the model"):  # torch may load here, after everything that may be refused
        from dal_fast.batch.resume import is_unchanged
        from dal_fast.batch.strip import StripStages, write_brain

        stages = StripStages(**settings, opening=opening)
    if not overwrite and is_unchanged(source, out, stages.parameters, names):
        typer.echo(f"{source} is already stripped with these parameters: {out / names['mask']}")
        return
    with status("stripping"):
        stripped = stages.strip(volume)
        paths = write_brain(stripped, stages.parameters, out)
    _say(stripped, paths)


def _say(stripped: Stripped, paths: dict[str, Path]) -> None:
    from dal_fast.screening.scan import ORIGINS

    facts = stripped.scan.brain
    sure = f", confidence {facts['Confidence']:.2f}" if "Confidence" in facts else ""
    typer.echo(
        f"{stripped.scan.name}: brain of {facts['VolumeML']:,.0f} mL, "
        f"{ORIGINS[facts['Source']]}{sure}"
    )
    say_flags(stripped.flags)
    typer.echo(f"mask:  {paths['mask']}\nbrain: {paths['brain']}")
