"""What every command shares: the application, common options, refusals, progress."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from dal_fast.errors import Code, DalFastError, InputError
from dal_fast.imaging.text import counted, one_line

if TYPE_CHECKING:
    from dal_fast.screening.result import Flag, Result

T = TypeVar("T")
_TERMINAL_VARIABLES = ("FORCE_COLOR", "TTY_COMPATIBLE")  # with which rich takes any stream for one

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Find what a healthy brain would not show, in a brain MRI of any contrast.

Every scan gets an anomaly map on its own grid, a pseudo-healthy image, one score and an HTML \
report. Try it on synthetic data first: [bold]dal-fast demo[/bold]

Research software. Not a medical device.""",
)


class OnNonFinite(StrEnum):
    """What to do with NaN and infinite voxels."""

    REFUSE = "refuse"
    REPLACE = "replace"


class BrainSource(StrEnum):
    """Where brain masks come from, see :data:`dal_fast.screening.scan.Brain`."""

    AUTO = "auto"
    GIVEN = "given"
    STRIP = "strip"
    HD_BET = "hd-bet"


Weights = Annotated[
    str,
    typer.Option(
        help="Weight file (.safetensors), or one that comes with the package: 'default', or "
        "'published', the paper's own path."
    ),
]
Runtime = Annotated[
    str,
    typer.Option(
        help="Engine that runs the network: torch; on a CPU openvino, onnx, or openvino-bf16 "
        "(bfloat16, where the processor multiplies that itself); on a GPU tensorrt. "
        "auto: openvino on a CPU where it is installed, else torch."
    ),
]
Median = Annotated[
    int | None,
    typer.Option(
        help="Median filter in 2 mm voxels: 0 none, 3, or 5. Default: none for the default score, "
        "which smooths by itself; for the others what suits the contrast."
    ),
]
Score = Annotated[
    str,
    typer.Option(
        help="How the anomaly map is computed: auto (what suits the weights), or the name of a "
        "score, such as hybrid; an unknown name ends with an error that lists them all."
    ),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        help="From which anomaly value a voxel is marked. Default: what the weights say; 1 for the "
        "default score."
    ),
]
Brain = Annotated[
    BrainSource,
    typer.Option(
        help="Where brain masks come from. auto: a mask that is given or lies beside the scan, or "
        "a scan that is skull-stripped already; else the brain is extracted. given: the same, and "
        "a head without a mask is refused. strip: always extracted. hd-bet: always, by HD-BET."
    ),
]
NonFinite = Annotated[
    OnNonFinite, typer.Option(help="Scans with NaN or infinite voxels: refuse, or replace by 0.")
]
Contrast = Annotated[
    str | None,
    typer.Option(
        help="Of the scans: T1w, T2w or FLAIR. Default: what a file's name says (BIDS), else a "
        "guess by the intensities."
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """One line on stderr and status 2 for input that cannot be processed."""
    try:
        yield
    except DalFastError as error:
        typer.echo(one_line(f"error [{error.code}]: {error.message}"), err=True)
        raise typer.Exit(2) from None


def check_working_directory() -> None:
    """Refuse to work in a directory that has been removed: not even torch can be loaded there.

    Raises:
        InputError: ``file-missing``.
    """
    try:
        os.getcwd()
    except FileNotFoundError:
        raise InputError(
            Code.FILE_MISSING, "the working directory has been removed; change to another one"
        ) from None


def check_arguments(arguments: Sequence[str]) -> None:
    """Refuse an empty argument: as a path it would mean the working directory.

    Args:
        arguments: of the command line.

    Raises:
        InputError: ``value``.
    """
    if "" in arguments:
        raise InputError(
            Code.VALUE, "an argument is empty; does it come from a variable that is not set?"
        )


def say_score(name: str, result: Result) -> None:
    """What a screening found, and the brain that it extracted, a line each."""
    from dal_fast.screening.contrast import GUESSED

    regions, used = counted(len(result.regions), "region"), result.parameters
    typer.echo(
        f"{name}: score {result.score:.3f}, {result.volume_ml:.1f} mL above the threshold in "
        f"{regions} (sign of lesions: {used['sign']})"
    )
    if used.get("contrast_from") == GUESSED:
        typer.echo(f"  contrast guessed: {used['contrast']}; say it with --contrast")
    if (confidence := result.brain.get("Confidence")) is not None:
        typer.echo(
            f"  brain extracted: {result.brain['VolumeML']:.0f} mL, confidence {confidence:.2f}"
        )


def say_flags(flags: Sequence[Flag]) -> None:
    """A line a flag."""
    for flag in flags:
        typer.echo(f"  note [{flag.code}]: {flag.message}")


@contextlib.contextmanager
def status(what: str) -> Iterator[None]:
    """A spinner on a terminal, nothing in a log."""
    forced = any(name in os.environ for name in _TERMINAL_VARIABLES)
    if not (sys.stderr.isatty() or forced):  # the import takes longer than some commands
        yield
        return
    from rich.console import Console

    console = Console(stderr=True)
    with console.status(what) if console.is_terminal else contextlib.nullcontext():
        yield


def tracked(items: Sequence[T], what: str) -> Iterator[T]:
    """Goes through ``items`` with a progress bar."""
    with progress(len(items), what) as advance:
        for item in items:
            yield item
            advance(None)


@contextlib.contextmanager
def progress(total: int, what: str) -> Iterator[Any]:
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
