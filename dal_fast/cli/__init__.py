"""The command line: parses, calls, and turns refusals into one line and an exit status.

Exit status: 0 all done, 1 some scans of a folder failed, 2 wrong usage or input that was refused.
"""

from __future__ import annotations

from typing import Annotated

import typer

from dal_fast import __version__
from dal_fast.cli import bids, evaluate, research, screen
from dal_fast.cli.console import app

__all__ = ["app", "bids", "evaluate", "main", "research", "screen"]


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
