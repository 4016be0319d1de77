"""How commands screen many scans: worker processes, a bar with the pace, a line a failure."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from dal_fast.batch.limits import check_limits
from dal_fast.errors import Code, InputError, OutputError
from dal_fast.imaging.paths import outside
from dal_fast.imaging.text import counted, one_line

if TYPE_CHECKING:
    from dal_fast.batch.job import Job, Outcome, Task
    from dal_fast.batch.pool import WorkerPool
    from dal_fast.batch.ray_pool import RayPool
    from dal_fast.batch.tables import Tally
    from dal_fast.imaging.bids import LeftOut

_DOING: dict[Task, str] = {"screen": "screening", "strip": "stripping", "dicom": "screening"}
_DONE: dict[Task, str] = {"screen": "screened", "strip": "stripped", "dicom": "screened"}
_PAGE: dict[Task, str] = {"screen": "index.html", "strip": "brains.html"}
_DICOM_WORKER = (sys.executable, "-m", "dal_fast.dicom.worker")
_LINE_EVERY = 60.0  # seconds, where there is no terminal

Workers = Annotated[
    int,
    typer.Option(
        min=1,
        help="Processes that screen side by side, each with a model of its own in memory; the "
        "cores are shared out.",
    ),
]
Patience = Annotated[
    float,
    typer.Option(
        help="Seconds after which a scan that does not move on is given up, and its worker "
        "replaced."
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Compute again what is complete and unchanged.")
]


class WriteTables(Protocol):
    """Writes what stands beside the results of a folder, and counts them."""

    def __call__(
        self,
        source: Path,
        out: Path,
        outcomes: Sequence[Outcome],
        left_out: Sequence[LeftOut],
        /,
    ) -> Tally: ...


class Engine(StrEnum):
    """Where the workers are."""

    LOCAL = "local"
    RAY = "ray"


@dataclass(frozen=True)
class PoolOptions:
    """See :class:`dal_fast.batch.pool.WorkerPool`.

    Raises:
        InputError: ``value``.
    """

    workers: int
    patience: float
    overwrite: bool
    engine: Engine = Engine.LOCAL
    task: Task = "screen"

    def __post_init__(self) -> None:
        check_limits(self.workers, self.patience)

    def make_pool(self, settings: dict[str, Any], jobs: int) -> WorkerPool | RayPool:
        """A pool of no more workers than there are jobs."""
        from dal_fast.batch.pool import WORKER, WorkerPool
        from dal_fast.batch.ray_pool import RayPool

        workers = min(self.workers, jobs)
        if self.engine is Engine.RAY:
            return RayPool(
                settings, workers=workers, patience=self.patience, overwrite=self.overwrite
            )
        return WorkerPool(
            settings,
            task=self.task,
            workers=workers,
            patience=self.patience,
            overwrite=self.overwrite,
            command=_DICOM_WORKER if self.task == "dicom" else WORKER,
        )


def outside_some(source: Path, out: Path, scans: Sequence[Path]) -> list[Path]:
    """:func:`dal_fast.imaging.paths.outside`, where anything is left.

    Raises:
        InputError: ``no-scans`` where all lie in the folder of the results.
    """
    found = outside(out, scans)
    if not found:
        raise InputError(
            Code.NO_SCANS,
            f"all scans of {source} lie in OUT, {out}, where results go; give another OUT",
        )
    return found


def check_out(out: Path) -> None:
    """Refuse a file in the place of the folder of the results, as when the two were swapped.

    Raises:
        InputError: ``not-a-folder``.
    """
    if out.is_file():
        raise InputError(
            Code.NOT_A_FOLDER,
            f"OUT, {out}, is a file, and results go into a folder; give what is to be read first, "
            "then a folder, which need not exist",
        )


def is_folder(source: Path) -> bool:
    """Whether a command is asked for every scan of a folder, not for one scan."""
    return source.is_dir() and not source.name.endswith((".nii", ".nii.gz"))


def screen_folder(
    source: Path,
    out: Path,
    settings: dict[str, Any],
    options: PoolOptions,
    write_tables: WriteTables,
) -> int:
    """Screen or strip every scan of a folder; returns the number of those that failed.

    Raises:
        InputError: ``no-scans``, and what a screener refuses.
        OutputError: ``output-unwritable``, ``disk-full``.
    """
    from dal_fast.batch.job import jobs_of
    from dal_fast.imaging.bids import find_scans

    page = out / _PAGE[options.task]
    source, out = source.absolute(), out.absolute()
    found = find_scans(source)
    scans = outside_some(source, out, found.scans)
    left_out = [left for left in found.left_out if outside(out, [left.path])]
    outcomes = screen_jobs(source, out, jobs_of(source, out, scans), settings, options, left_out)
    return write_and_say(
        outcomes,
        lambda: write_tables(source, out, outcomes, left_out),
        str(page),
        f"overview: {page}",
    )


def screen_jobs(
    source: Path,
    out: Path,
    jobs: Sequence[Job],
    settings: dict[str, Any],
    options: PoolOptions,
    left_out: Sequence[LeftOut] = (),
) -> list[Outcome]:
    """Screen or strip all jobs of ``source``, and say how it went and what was left out.

    A full disk ends the run: what was not tried by then has failed, too.

    Raises:
        InputError: what a screener refuses.
        OutputError: ``output-unwritable``, ``disk-full``.
    """
    from dal_fast.imaging.folders import check_folder

    check_folder(out)
    pool = options.make_pool(settings, len(jobs))
    outcomes: list[Outcome] = []
    for left in left_out:
        kind = "left out" if left.code == Code.LEFT_OUT else f"failed [{left.code}]"
        _say(f"{left.path.relative_to(source)}: {kind}: {left.reason}")
    start = time.monotonic()
    with pool, _pace(len(jobs), _DOING[options.task]) as advance:
        for outcome in pool.screen(jobs):
            outcomes.append(outcome)
            failure = f"failed [{outcome.code}]: {outcome.message}"
            shown = outcome.scan.relative_to(source)
            advance(f"{shown}: {failure}" if outcome.status == "failed" else None)
            if outcome.code == Code.DISK_FULL:
                break
    outcomes += _not_tried(jobs, outcomes)
    seconds = time.monotonic() - start
    count = {s: sum(o.status == s for o in outcomes) for s in ("done", "kept", "failed")}
    rightly = sum(left.code == Code.LEFT_OUT for left in left_out)
    count["failed"] += len(left_out) - rightly
    typer.echo(
        f"{count['done']} {_DONE[options.task]}, {count['kept']} already there, "
        f"{count['failed']} failed{f', {rightly} left out' if rightly else ''} "
        f"in {_span(seconds)}{_rate(count['done'], seconds)}, {pool.effort()}"
    )
    return outcomes


def _not_tried(jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> list[Outcome]:
    """What became of the jobs that a full disk left without an outcome."""
    from dal_fast.batch.job import failed

    ended = {outcome.scan for outcome in outcomes}
    rest = [job for job in jobs if job.scan not in ended]
    if rest:
        _say(
            f"the disk is full: {counted(len(rest), 'scan')} not tried; free space or choose "
            "another folder, and run the same command again"
        )
    return [failed(job, Code.DISK_FULL, "not tried, as the disk was full") for job in rest]


def write_and_say(
    outcomes: Sequence[Outcome], write: Callable[[], Tally], page: str, closing: str
) -> int:
    """Write tables and pages, and say what is in them and where they lie.

    Returns:
        How many scans have no result; all where a full disk left no tables.
    """
    with told_if_full(outcomes):
        tally = write()
        say_doubts(tally, page)
        typer.echo(closing)
        return tally.failed
    return len(outcomes)


@contextlib.contextmanager
def told_if_full(outcomes: Sequence[Outcome]) -> Iterator[None]:
    """Where a full disk ended a run, it is no other failure that tables do not fit on it, too."""
    try:
        yield
    except OutputError as error:
        if error.code != Code.DISK_FULL or all(o.code != Code.DISK_FULL for o in outcomes):
            raise
        _say(f"tables were not written [{error.code}]: {error.message}")


def say_doubts(tally: Tally, page: str) -> None:
    """A line on quality flags, where there are any."""
    if tally.flagged:
        doubtful = f", {tally.doubtful} with a doubtful brain mask" if tally.doubtful else ""
        typer.echo(f"{counted(tally.flagged, 'scan')} with quality flags{doubtful}: see {page}")


def _say(line: str) -> None:
    typer.echo(one_line(line), err=True)


@contextlib.contextmanager
def _pace(total: int, doing: str) -> Iterator[Callable[[str | None], None]]:
    """A bar with volumes a minute and the time left; in a log, a line a minute."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    pace = TextColumn("{task.fields[pace]}")
    columns = (doing, BarColumn(), MofNCompleteColumn(), pace, TimeRemainingColumn())
    start = last_line = time.monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task, count = bar.add_task(doing, total=total, pace="loading the model"), 0

        def advance(failure: str | None) -> None:
            nonlocal count, last_line
            count += 1
            now = time.monotonic()
            pace = f"{60 * count / (now - start):.1f} volumes a minute"
            if failure is not None:
                bar.console.print(one_line(failure), markup=False, highlight=False, soft_wrap=True)
            bar.update(task, completed=count, pace=pace)
            if not console.is_terminal and now - last_line > _LINE_EVERY:
                last_line = now
                left = _span((now - start) / count * (total - count))
                console.print(f"{count} of {total}, {pace}, {left} left", highlight=False)

        yield advance


def _rate(done: int, seconds: float) -> str:
    """In words, where anything was computed."""
    return f": {60 * done / seconds:.1f} volumes a minute" if done else ""


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
