"""``dal-fast bundle`` and ``dal-fast embed``: what a program needs that calls the C library."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dal_fast.cli.console import Weights, app, refusals, status


@app.command()
def bundle(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new file, .dalb.")],
    weights: Weights = "default",
) -> None:
    """Write networks, atlas and calibration for the C library into one file.

    The network that extracts brains goes along. Needs openvino.

    [bold]Example[/bold]

    dal-fast bundle default.dalb
    """
    with refusals():
        from dal_fast.screening.bundle import write_bundle

        with status("writing the bundle"):
            write_bundle(out, weights)
        typer.echo(f"bundle: {out}")


@app.command()
def embed(
    includedir: Annotated[bool, typer.Option("--includedir", help="Where dal_fast.h is.")] = False,
    libdir: Annotated[bool, typer.Option("--libdir", help="Where libdal_fast.so.1 is.")] = False,
    cmakedir: Annotated[
        bool, typer.Option("--cmakedir", help="What dal_fast_DIR is for CMake.")
    ] = False,
    pkgconfigdir: Annotated[
        bool, typer.Option("--pkgconfigdir", help="For PKG_CONFIG_PATH.")
    ] = False,
    bundle_file: Annotated[
        bool,
        typer.Option("--bundle", help="The bundle of the default weights."),
    ] = False,
    engine: Annotated[
        bool, typer.Option("--engine", help="Folder of the openvino package.")
    ] = False,
) -> None:
    """Print where the parts of the C library lie, one line each, in the order of this help.

    [bold]Example[/bold]

    cc screen.c $(PKG_CONFIG_PATH=$(dal-fast embed --pkgconfigdir) pkg-config --cflags --libs
    dal_fast)
    """
    with refusals():
        from dal_fast import embedding

        wanted = {
            embedding.include_folder: includedir,
            embedding.library_folder: libdir,
            embedding.cmake_folder: cmakedir,
            embedding.pkgconfig_folder: pkgconfigdir,
            embedding.default_bundle: bundle_file,
            embedding.engine_folder: engine,
        }
        if not any(wanted.values()):
            raise typer.BadParameter("say what to print, such as --cmakedir")
        for find, asked in wanted.items():
            if asked:
                typer.echo(find())
