"""The BIDS App: ``dal-fast bids BIDS_DIR OUT_DIR participant|group``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

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
    tracked,
)
from dal_fast.cli.pool import (
    Engine,
    Overwrite,
    Patience,
    PoolOptions,
    Workers,
    check_out,
    outside_some,
    screen_jobs,
    write_and_say,
)
from dal_fast.errors import Code, InputError
from dal_fast.imaging.text import counted, one_line

if TYPE_CHECKING:
    from dal_fast.batch.job import Outcome
    from dal_fast.batch.tables import Tally
    from dal_fast.imaging.bids import FoundScans

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

    Heads need no preparation: a desc-brain mask that lies beside a scan or in a derivative is used,
    else the brain is extracted. What is complete and unchanged is not computed again; a scan that
    fails is listed in OUT_DIR/failures.tsv, and the status is then 1.
    """
    settings: dict[str, Any] = {
        "weights": weights,
        "score": score,
        "threshold": threshold,
        "median": median,
        "contrast": contrast,
        "device": device,
        "runtime": runtime,
        "brain": brain.value,
        "nonfinite": nonfinite.value,
    }
    with refusals():
        check_out(out)
        if part_id >= num_parts:
            raise InputError(
                Code.VALUE, f"--part-id counts from 0 to {num_parts - 1}, not {part_id}"
            )
        labels = (participants or (), sessions or (), suffixes or ())
        _check_level(level, healthy, labels, num_parts)
        if level is Level.GROUP:
            _group(dataset, out, healthy)
            return
        if work is not None:
            os.environ["XDG_CACHE_HOME"] = str(work.resolve())
        chosen, scans = _choose(dataset.absolute(), out.absolute(), labels, num_parts, part_id)
        part = f"_part-{part_id}of{num_parts}" if num_parts > 1 else ""
        options = PoolOptions(workers, patience, overwrite, engine)
        table = out / f"failures{part}.tsv"
        failed = _participant(dataset, out, chosen, scans, settings, options, table, any(labels))
    raise typer.Exit(1 if failed else 0)


def _check_level(
    level: Level, healthy: str | None, labels: tuple[Sequence[str], ...], num_parts: int
) -> None:
    """Refuse what the other level alone would heed."""
    given = [name for name, values in zip(_LISTS, labels, strict=True) if values]
    given += ["--num-parts"] if num_parts > 1 else []
    if level is Level.GROUP and given:
        raise InputError(
            Code.VALUE,
            f"the group level is of all results in OUT_DIR, {given[0]} chooses none of them; leave "
            "it out",
        )
    if level is Level.PARTICIPANT and healthy is not None:
        raise InputError(
            Code.VALUE, "--healthy belongs to the group level, which compares all participants"
        )


def _choose(
    dataset: Path, out: Path, labels: tuple[Sequence[str], ...], num_parts: int, part_id: int
) -> tuple[FoundScans, list[Path]]:
    """The scans that were asked for and what was left out of them, and all scans there are."""
    from dal_fast.imaging.bids import FoundScans, find_scans, part_of, select_scans

    found = find_scans(dataset).with_bids_names()
    scans = outside_some(dataset, out, select_scans(dataset, *labels, found=found))
    chosen = part_of(scans, num_parts, part_id)
    own = {_participant_of(scan) for scan in chosen}
    everybody = {_participant_of(scan) for scan in found.scans}
    first = part_id == 0 and not any(labels)
    left_out = [
        left
        for left in found.left_out
        if _participant_of(left.path) in own
        or (first and _participant_of(left.path) not in everybody)
    ]
    return FoundScans(chosen, left_out), found.scans


def _participant_of(path: Path) -> str | None:
    """The label of a file's name or of a folder that it lies in."""
    names = (path.name, *reversed(path.parts))
    return next((name[4:].split("_")[0] for name in names if name.startswith("sub-")), None)


def _participant(
    dataset: Path,
    out: Path,
    chosen: FoundScans,
    scans: Sequence[Path],
    settings: dict[str, Any],
    options: PoolOptions,
    table: Path,
    some: bool,
) -> int:
    """Screen scans and write the pages of their subjects; returns the number that failed.

    ``some`` says that labels chose the scans: rows of others in the table of failures stay.
    """
    from dal_fast.batch.job import jobs_of

    if not chosen.scans:
        typer.echo("this part holds no scan")
        return 0
    source = dataset.absolute()
    jobs = jobs_of(source, out, chosen.scans)
    outcomes = screen_jobs(source, out, jobs, settings, options, chosen.left_out)
    pages = str(out / "sub-*.html")
    return write_and_say(
        outcomes,
        lambda: _write_pages(dataset, out, chosen, scans, outcomes, table, some),
        pages,
        f"one page for each participant: {pages}; tables and an overview of all: run the same "
        "command with group in place of participant",
    )


def _write_pages(
    dataset: Path,
    out: Path,
    chosen: FoundScans,
    scans: Sequence[Path],
    outcomes: Sequence[Outcome],
    table: Path,
    some: bool,
) -> Tally:
    """Write what makes a derivative, the table of failures, and the pages of the subjects."""
    from dal_fast.batch.derivative import write_derivative, write_subject
    from dal_fast.batch.outputs import output_names
    from dal_fast.batch.records import records_of
    from dal_fast.batch.tables import list_failures, tally_of, update_failures, write_failures
    from dal_fast.imaging.bids import parse_name

    source = dataset.absolute()
    names = [parse_name(scan) for scan in chosen.scans]
    write_derivative(out, dataset, {name.suffix for name in names if name.suffix})
    failures = list_failures(source, outcomes, chosen.left_out)
    listed = failures
    if some:
        looked_at = [*chosen.scans, *(left.path for left in chosen.left_out)]
        seen = [str(path.relative_to(source)) for path in looked_at]
        listed = update_failures(table, failures, seen)
    else:
        write_failures(table, failures)
    failed = {one_line(name) for name, *_ in listed}
    of_this_run = {o.folder / output_names(o.scan)["anomaly"] for o in outcomes}
    flags: list[tuple[str, ...]] = []
    for label in sorted({name.entities["sub"] for name in names}):
        own = [failure for failure in listed if _participant_of(Path(failure[0])) == label]
        theirs = [scan for scan in scans if parse_name(scan).entities["sub"] == label]
        records = records_of(theirs, source, out, failed)
        write_subject(out, label, records, own)
        flags += [
            record.flags
            for record in records
            if (record.folder / record.outputs["anomaly"]).absolute() in of_this_run
        ]
    return tally_of(failures, flags)


def _group(dataset: Path, out: Path, healthy: str | None) -> None:
    from dal_fast.batch.cohort import FEWEST
    from dal_fast.batch.group import write_group

    done, missing, compared, gone = write_group(dataset, out, healthy, tracked)
    typer.echo(f"{counted(done, 'scan')} with a result, {missing} without: {out / 'index.html'}")
    if gone:
        typer.echo(
            f"not counted: {counted(gone, 'result')} of scans that {dataset} no longer holds, or "
            "holds under other names; remove what is not needed"
        )
    if healthy is not None and compared < done:
        typer.echo(
            f"{compared} of {done} were compared with healthy ones; that takes {FEWEST} other "
            "healthy participants with a scan of the same suffix"
        )
