"""The command line: parses, calls, and turns refusals into one line and an exit status.

Exit status: 0 all done, 1 some scans of a folder failed, 2 wrong usage or input that was refused,
128 + N stopped by signal N.
"""

from __future__ import annotations

import inspect
import sys
from typing import Annotated

import typer

from dal_fast import __version__
from dal_fast.cli import (
    bids,
    bundle,
    calibrate,
    checks,
    compare,
    demo,
    dicom,
    doctor,
    evaluate,
    export,
    make_validation,
    screen,
    strip,
    train,
)
from dal_fast.cli.console import app, check_arguments, check_working_directory, refusals
from dal_fast.cli.terminal import terminal

__all__ = [
    "app",
    "bids",
    "bundle",
    "calibrate",
    "checks",
    "compare",
    "demo",
    "dicom",
    "doctor",
    "evaluate",
    "export",
    "main",
    "make_validation",
    "screen",
    "strip",
    "train",
]

_PANELS = {
    "Screen scans": ("screen", "bids", "dicom", "strip", "demo"),
    "Evaluate detectors": ("evaluate", "make-validation", "compare", "checks"),
    "Train models and take them elsewhere": ("train", "calibrate", "export", "bundle", "embed"),
    "This installation": ("doctor",),
}


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
    with refusals():
        check_working_directory()
        check_arguments(sys.argv[1:])


def _flowing(text: str) -> str:
    """Paragraphs of one line each, for a terminal of any width to break."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split("\n")) for paragraph in paragraphs)


def _arrange() -> None:
    """Put the commands into panels of ``--help``, in the order of ``_PANELS``."""
    commands = {
        command.name or getattr(command.callback, "__name__", ""): command
        for command in app.registered_commands
    }
    app.registered_commands.clear()
    for panel, names in _PANELS.items():
        for name in names:
            commands[name].rich_help_panel = panel
            commands[name].help = _flowing(getattr(commands[name].callback, "__doc__", None) or "")
            app.registered_commands.append(commands[name])


_arrange()


def main() -> None:
    """Entry point of the ``dal-fast`` command."""
    with terminal():
        app()
