"""The command line: parses, calls, and turns refusals into one line and an exit status.

Exit status: 0 all done, 1 some scans of a folder failed, 2 wrong usage or input that was refused.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dal_fast import __version__
from dal_fast.errors import InputError

if TYPE_CHECKING:
    from dal_fast.inference.result import Result

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Find what a healthy brain would not show, in a brain MRI of any contrast.

Every scan gets an anomaly map on its own grid, a pseudo-healthy image, one score and an HTML
report. Try it on synthetic data first: [bold]dal-fast demo[/bold]

Research software. Not a medical device.""",
)


class NonFinite(StrEnum):
    """What to do with NaN and infinite voxels."""

    REFUSE = "refuse"
    REPLACE = "replace"


Weights = Annotated[
    str, typer.Option(help="Weight file (.safetensors); 'default' comes with the package.")
]
Runtime = Annotated[
    str,
    typer.Option(
        help="Engine that runs the network: torch (auto), or, on a CPU, openvino or onnx."
    ),
]
Median = Annotated[
    int | None,
    typer.Option(
        help="Median filter in 2 mm voxels: 0 none, 3, or 5. Default: 3 for T1w, else the "
        "strongest of several, so that lesions of any size stay."
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]


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
            "scan, or, if the skull is already stripped, the voxels that are not 0."
        ),
    ] = None,
    weights: Weights = "default",
    score: Annotated[
        str, typer.Option(help="Anomaly score: auto, or a name that an unknown one lists.")
    ] = "auto",
    threshold: Annotated[
        float | None, typer.Option(help="From which anomaly value a voxel is marked.")
    ] = None,
    median: Median = None,
    device: Device = "auto",
    runtime: Runtime = "auto",
    nonfinite: Annotated[
        NonFinite, typer.Option(help="Scans with NaN or infinite voxels: refuse, or replace by 0.")
    ] = NonFinite.REFUSE,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Compute again what is complete and unchanged.")
    ] = False,
) -> None:
    """Screen one scan, or every scan of a folder.

    [bold]Examples[/bold]

    dal-fast screen sub-01_FLAIR.nii.gz out/

    dal-fast screen head.nii.gz out/ --mask brain.nii.gz

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
        "threshold": threshold,
        "nonfinite": nonfinite.value,
    }
    with _refusals():
        if source.is_dir() and not source.name.endswith((".nii", ".nii.gz")):
            if mask is not None:
                raise InputError("mask-for-folder", "--mask belongs to one scan; INPUT is a folder")
            failed = _screen_folder(source, out, settings, overwrite)
            raise typer.Exit(1 if failed else 0)
        _screen_one(source, out, mask, settings, overwrite)


@app.command()
def demo(
    out: Annotated[Path, typer.Argument(metavar="[OUT]", help="Folder of the results.")] = Path(
        "demo-out"
    ),
    weights: Weights = "default",
    runtime: Runtime = "auto",
    device: Device = "auto",
) -> None:
    """Screen a template brain with a lesion painted in, and say what was found.

    Needs nilearn, which carries the MNI152 template: pip install 'dal_fast[demo]'
    """
    with _refusals():
        from dal_fast.demo import LESION_CENTRE, write_demo_scan
        from dal_fast.inference.outputs import check_folder

        check_folder(out)
        scan = write_demo_scan(out)
        x, y, z = LESION_CENTRE
        typer.echo(f"painted a lesion into the MNI152 template at {x:+.0f}, {y:+.0f}, {z:+.0f} mm")
        settings = {"weights": weights, "runtime": runtime, "device": device}
        _screen_one(scan, out, None, settings, overwrite=True)


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
) -> None:
    """Write a validation set: held-out healthy brains with synthetic lesions of known masks.

    Each subject gives three contrasts (real T1w, T2w-like, FLAIR-like), healthy and with bright and
    dark lesions of changing size. Another seed is another draw.
    """
    with _refusals():
        from dal_fast.evaluation import cases
        from dal_fast.inference.outputs import check_folder
        from dal_fast.training.dataset import load_bids

        check_folder(out)
        real = cases.patients(patients) if patients else []
        brains = load_bids(data, held_out=True, at_most=at_most)
        made = []
        with _progress(9 * len(brains), "writing") as advance:
            for case in cases.make_validation(out, brains, seed):
                made.append(case)
                advance(None)
        cases.write_table(out, [*made, *real], seed)
        typer.echo(f"{len(made)} scans of {len(brains)} brains, {len(real)} of patients: {out}")


@app.command()
def validate(
    sets: Annotated[
        list[Path],
        typer.Argument(metavar="SET...", help="Folders that make-validation wrote, draws of one."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("validation"),
    weights: Weights = "default",
    median: Median = None,
    atlas: Annotated[
        bool, typer.Option(help="Also the atlas floor, which needs SimpleITK and nilearn.")
    ] = True,
    device: Device = "auto",
    runtime: Runtime = "auto",
) -> None:
    """Compare every score of a weight file with detectors that learned nothing.

    Prints average precision by contrast and sign, the paired difference to the best floor with its
    spread over cases and draws, lesions found by size, and healthy thresholds; OUT/cases.csv has
    every number.
    """
    with _refusals():
        from dal_fast.evaluation.cases import read_table
        from dal_fast.inference.outputs import check_folder

        tables = {folder: read_table(folder) for folder in sets}
        check_folder(out)
        with _status("loading the model"):
            from dal_fast.evaluation import summary
            from dal_fast.evaluation import validate as run
            from dal_fast.inference.screener import Screener

            screener = Screener(weights, runtime, device, median=median)
        results = []
        with _progress(sum(map(len, tables.values())), "validating") as advance:
            for folder, cases in tables.items():
                results.append(
                    run.validate(
                        cases, screener, folder.name, atlas=atlas, advance=lambda: advance(None)
                    )
                )
        rows = [row for result in results for row in result.rows]
        run.write_rows(out / "cases.csv", rows)
        summary.show(results)
        typer.echo(f"every case: {out / 'cases.csv'}")


@app.command()
def doctor() -> None:
    """Print what a bug report needs: versions, processor, backends, weights, extras."""
    from dal_fast.doctor import report

    lines, healthy = report()
    typer.echo("\n".join(lines))
    raise typer.Exit(0 if healthy else 1)


def _screen_one(
    source: Path, out: Path, mask: Path | None, settings: dict[str, Any], overwrite: bool
) -> None:
    from dal_fast.inference.case import load_case
    from dal_fast.inference.outputs import check_folder, output_names

    case = load_case(source, mask, settings.get("nonfinite", "refuse"))
    check_folder(out)
    with _status("loading the model"):  # torch loads here, after everything that may be refused
        from dal_fast.inference.batch import save, up_to_date
        from dal_fast.inference.screener import Screener

        screener = Screener(**settings)
    if not overwrite and up_to_date(case, out, screener.parameters):
        page = out / output_names(source)["report"]
        typer.echo(f"{source} is already screened with these parameters: {page}")
        return
    with _status("screening"):
        result = screener.screen_case(case)
        paths = save(case, result, out)
    _say(result, paths)


def _screen_folder(source: Path, out: Path, settings: dict[str, Any], overwrite: bool) -> int:
    """Number of scans that failed."""
    from dal_fast.data.bids import collect_scans
    from dal_fast.inference.outputs import check_folder

    scans = [scan for scan in collect_scans(source) if not scan.is_relative_to(out)]
    if not scans:
        raise InputError("no-scans", f"{source} holds no scan outside {out}")
    check_folder(out)
    with _status("loading the model"):
        from dal_fast.inference.batch import screen_folder, write_tables
        from dal_fast.inference.screener import Screener

        screener = Screener(**settings)
    outcomes = []
    with _progress(len(scans)) as advance:
        for outcome in screen_folder(source, out, scans, screener, overwrite):
            outcomes.append(outcome)
            if outcome.status == "failed":
                message = f"failed [{outcome.code}]: {outcome.message}"
                advance(f"{outcome.scan.relative_to(source)}: {message}")
            else:
                advance(None)
    write_tables(source, out, outcomes)
    count = {s: sum(o.status == s for o in outcomes) for s in ("done", "kept", "failed")}
    typer.echo(
        f"{count['done']} screened, {count['kept']} already there, {count['failed']} failed: "
        f"{out / 'index.html'}"
    )
    return count["failed"]


def _say(result: Result, paths: dict[str, Path]) -> None:
    volume = sum(region.volume_ml for region in result.regions)
    typer.echo(
        f"{result.name}: score {result.score:.3f}, {volume:.1f} mL above the threshold "
        f"in {len(result.regions)} regions"
    )
    for region in result.regions[:3]:
        x, y, z = region.centre
        typer.echo(
            f"  {region.volume_ml:6.2f} mL, peak {region.peak:.3f} at "
            f"{x:+.0f}, {y:+.0f}, {z:+.0f} mm (right, anterior, superior)"
        )
    for flag in result.flags:
        typer.echo(f"  note [{flag.code}]: {flag.message}")
    typer.echo(f"report: {paths['report']}\nmap:    {paths['anomaly']}")


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """One line on stderr and status 2 for input that cannot be processed."""
    try:
        yield
    except InputError as error:
        typer.echo(f"error [{error.code}]: {error.message}", err=True)
        raise typer.Exit(2) from None


@contextlib.contextmanager
def _status(what: str) -> Iterator[None]:
    """A spinner on a terminal, nothing in a log."""
    from rich.console import Console

    console = Console(stderr=True)
    with console.status(what) if console.is_terminal else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def _progress(total: int, what: str = "screening") -> Iterator[Any]:
    """A progress bar with the time left; yields ``advance(line or None)``."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (what, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)

        def advance(line: str | None) -> None:
            if line is not None:
                progress.console.print(line, markup=False, highlight=False, soft_wrap=True)
            progress.advance(task)

        yield advance


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dal_fast {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point of the ``dal-fast`` command."""
    app()


if __name__ == "__main__":
    main()
