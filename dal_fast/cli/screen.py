"""``dal-fast screen``: one scan, or every scan of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dal_fast.cli.console import (
    Brain,
    BrainSource,
    Contrast,
    Device,
    Median,
    NonFinite,
    OnNonFinite,
    Runtime,
    Score,
    Threshold,
    Weights,
    app,
    refusals,
    say_flags,
    say_score,
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
from dal_fast.errors import Code, InputError
from dal_fast.extras import import_lean

if TYPE_CHECKING:
    from dal_fast.screening.result import Result


@app.command()
def screen(
    source: Annotated[
        Path,
        typer.Argument(metavar="INPUT", help="A NIfTI scan, or a folder of them (BIDS or not)."),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the results.")],
    mask: Annotated[
        Path | None,
        typer.Option(
            help="Brain mask on the scan's grid. Without it: a BIDS desc-brain_mask beside the "
            "scan; if the skull is already stripped, the voxels that are not 0; else the brain "
            "is extracted."
        ),
    ] = None,
    brain: Brain = BrainSource.AUTO,
    weights: Weights = "default",
    score: Score = "auto",
    threshold: Threshold = None,
    median: Median = None,
    contrast: Contrast = None,
    device: Device = "auto",
    runtime: Runtime = "auto",
    nonfinite: NonFinite = OnNonFinite.REFUSE,
    overwrite: Overwrite = False,
    workers: Workers = 1,
    patience: Patience = 600.0,
) -> None:
    """Screen one scan, or every scan of a folder.

    [bold]Examples[/bold]

    dal-fast screen sub-01_FLAIR.nii.gz out/

    dal-fast screen head_T1w.nii.gz out/ --mask brain.nii.gz

    dal-fast screen bids/ bids/derivatives/dal_fast/

    A folder's scans that fail are listed in OUT/failures.tsv, and the run goes on; scores are in
    OUT/scores.tsv, pictures in OUT/index.html. Run the same command again to resume.
    """
    settings: dict[str, Any] = {
        "weights": weights,
        "runtime": runtime,
        "device": device,
        "score": score,
        "median": median,
        "contrast": contrast,
        "threshold": threshold,
        "nonfinite": nonfinite.value,
        "brain": brain.value,
    }
    with refusals():
        check_out(out)
        options = PoolOptions(workers, patience, overwrite)
        if is_folder(source):
            from dal_fast.batch.tables import write_tables

            if mask is not None:
                raise InputError(
                    Code.MASK_FOR_FOLDER,
                    "--mask belongs to one scan, and INPUT is a folder; save each mask beside its "
                    "scan as ..._desc-brain_mask.nii.gz",
                )
            failed = screen_folder(source, out, settings, options, write_tables)
            raise typer.Exit(1 if failed else 0)
        screen_one(source, out, mask, settings, overwrite)


def screen_one(
    source: Path, out: Path, mask: Path | None, settings: dict[str, Any], overwrite: bool
) -> None:
    """Screen one scan, write its outputs and say what was found."""
    from dal_fast.screening.chain import open_early

    nonfinite, brain = settings.get("nonfinite", "refuse"), settings.get("brain", "auto")
    extraction = mask is None and brain != "given"
    opening = open_early(source, settings, screening=True, extraction=extraction)
    import_lean("nibabel")
    from dal_fast.batch.outputs import check_source_stays, output_names
    from dal_fast.imaging.folders import check_folder
    from dal_fast.screening.scan import load_scan_or_head

    scan, names = load_scan_or_head(source, mask, nonfinite, brain), output_names(source)
    check_folder(out)
    check_source_stays(source, out, names)
    with status("loading the model"):  # torch may load here, after everything that may be refused
        from dal_fast.batch.job import save
        from dal_fast.batch.resident import make_screener
        from dal_fast.batch.resume import up_to_date

        screener = make_screener(settings, opening)
    if not overwrite and up_to_date(scan, out, screener.parameters):
        page = out / names["report"]
        typer.echo(f"{source} is already screened with these parameters: {page}")
        return
    with status("screening"):
        result = screener.screen_scan(scan)
        paths = save(scan, result, out)
    _say(result, paths)


def _say(result: Result, paths: dict[str, Path]) -> None:
    say_score(result.name, result)
    for region in result.regions[:3]:
        typer.echo(
            f"  {region.volume_ml:6.2f} mL, peak {region.peak:.3f} at "
            f"{result.place_in_words(region)}"
        )
    say_flags(result.flags)
    typer.echo(f"report: {paths['report']}\nmap:    {paths['anomaly']}")
