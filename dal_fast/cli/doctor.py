"""``dal-fast doctor``: what a bug report needs."""

from __future__ import annotations

import typer

from dal_fast.cli.console import app, refusals


@app.command()
def doctor() -> None:
    """Print what a bug report needs: versions, processor, backends, weights, extras."""
    with refusals():
        from dal_fast.doctor import report

        lines, healthy = report()
    typer.echo("\n".join(lines))
    raise typer.Exit(0 if healthy else 1)
