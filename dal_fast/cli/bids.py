"""The BIDS App: ``dal-fast bids BIDS_DIR OUT_DIR participant|group``."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from dal_fast.cli.console import (
    Device,
    Median,
    Runtime,
    Score,
    Threshold,
    Weights,
    app,
    refusals,
    tracked,
)
from dal_fast.cli.pool import Engine, Overwrite, Patience, PoolOptions, Workers, screen_jobs
from dal_fast.errors import Code, InputError

_LISTS = ("--participant-label", "--session-label", "--suffix")


class Level(StrEnum):
    """Of the analysis."""

    PARTICIPANT = "participant"
    GROUP = "group"


class SpacedLists(TyperCommand):
    """Takes ``--suffix T1w FLAIR`` as BIDS Apps do, for ``--suffix T1w --suffix FLAIR``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        spread: list[str] = []
        option = None
        for word in args:
            if word.replace("_", "-") in _LISTS:
                option = word.replace("_", "-")
            elif word.startswith("-"):
                option = None
                spread.append(word)
            else:
                spread += [option, word] if option else [word]
        return super().parse_args(ctx, spread)


@app.command(cls=SpacedLists)
def bids(
    dataset: Annotated[Path, typer.Argument(metavar="BIDS_DIR", help="A BIDS dataset.")],
    out: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="Folder of the derivative.")],
    level: Annotated[
        Level, typer.Argument(help="participant: screen scans; group: tables and overview of all.")
    ],
    participants: Annotated[
        list[str] | None,
        typer.Option("--participant-label", help="Only these, e.g. 01 02 (after the arguments)."),
    ] = None,
    sessions: Annotated[
        list[str] | None, typer.Option("--session-label", help="Only these sessions.")
    ] = None,
    suffixes: Annotated[
        list[str] | None,
        typer.Option("--suffix", help="Only these, e.g. T1w T2w FLAIR. Default: all structural."),
    ] = None,
    healthy: Annotated[
        str | None,
        typer.Option(
            help="group: compare everyone with these healthy participants: COLUMN=VALUE of "
            "participants.tsv, or all."
        ),
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option("--work-dir", "-w", help="Where compiled engines are kept between runs."),
    ] = None,
    num_parts: Annotated[
        int,
        typer.Option(min=1, help="Share the participants out in parts, for a job array."),
    ] = 1,
    part_id: Annotated[int, typer.Option(min=0, help="Which part, from 0.")] = 0,
    weights: Weights = "default",
    score: Score = "auto",
    threshold: Threshold = None,
    median: Median = None,
    device: Device = "auto",
    runtime: Runtime = "auto",
    overwrite: Overwrite = False,
    workers: Workers = 1,
    patience: Patience = 600.0,
    engine: Annotated[
        Engine,
        typer.Option(
            help="ray: the workers are on the Ray cluster that RAY_ADDRESS names; both folders "
            "must lie where all its machines see them."
        ),
    ] = Engine.LOCAL,
) -> None:
    """Screen a BIDS dataset into a BIDS derivative.

    [bold]Examples[/bold]

    dal-fast bids ds/ ds/derivatives/dal_fast/ participant

    dal-fast bids ds/ out/ participant --participant-label 01 02 --suffix FLAIR

    dal-fast bids ds/ out/ participant --num-parts 40 --part-id $SLURM_ARRAY_TASK_ID

    dal-fast bids ds/ out/ participant --engine ray --workers 16

    dal-fast bids ds/ out/ group --healthy group=control

    Scans must be skull-stripped or have a desc-brain mask, beside them or in a derivative. What
    is complete and unchanged is not computed again; a scan that fails is listed in
    OUT_DIR/failures.tsv, and the status is then 1.
    """
    settings: dict[str, Any] = {
        "weights": weights,
        "score": score,
        "threshold": threshold,
        "median": median,
        "device": device,
        "runtime": runtime,
    }
    with refusals():
        if part_id >= num_parts:
            raise InputError(
                Code.VALUE, f"--part-id counts from 0 to {num_parts - 1}, not {part_id}"
            )
        if level is Level.GROUP:
            _group(dataset, out, healthy)
            return
        from dal_fast.imaging.bids import part_of, select_scans

        scans = select_scans(dataset, participants or (), sessions or (), suffixes or ())
        scans = [scan for scan in scans if not scan.is_relative_to(out)]
        chosen = part_of(scans, num_parts, part_id)
        if work is not None:
            os.environ["XDG_CACHE_HOME"] = str(work.resolve())
        part = f"_part-{part_id}of{num_parts}" if num_parts > 1 else ""
        crew = PoolOptions(workers, patience, overwrite, engine)
        failed = _participant(dataset, out, chosen, settings, crew, f"failures{part}.tsv")
    raise typer.Exit(1 if failed else 0)


def _participant(
    dataset: Path,
    out: Path,
    scans: list[Path],
    settings: dict[str, Any],
    crew: PoolOptions,
    failures_name: str,
) -> int:
    """Number of scans that failed."""
    from dal_fast.batch.derivative import write_derivative, write_subject
    from dal_fast.batch.job import Job
    from dal_fast.batch.records import collect_records
    from dal_fast.batch.tables import list_failures, write_failures
    from dal_fast.imaging.bids import parse_name

    if not scans:
        typer.echo("this part holds no scan")
        return 0
    jobs = [Job(scan, out / scan.relative_to(dataset).parent) for scan in scans]
    outcomes = screen_jobs(dataset, out, jobs, settings, crew)
    names = [parse_name(scan) for scan in scans]
    write_derivative(out, dataset, {name.suffix for name in names if name.suffix})
    failures = list_failures(dataset, outcomes)
    write_failures(out / failures_name, failures)
    for label in sorted({name.entities["sub"] for name in names}):
        own = [failure for failure in failures if parse_name(failure[0]).entities["sub"] == label]
        write_subject(out, label, collect_records(out, label), own)
    typer.echo(f"a page a subject: {out}; then run the group level for tables and an overview")
    return len(failures)


def _group(dataset: Path, out: Path, healthy: str | None) -> None:
    from dal_fast.batch.group import write_group

    done, missing = write_group(dataset, out, healthy, tracked)
    typer.echo(f"{done} scans with a result, {missing} without: {out / 'index.html'}")
