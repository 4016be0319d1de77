"""How commands screen many scans: worker processes, a bar with the pace, a line a failure."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from dal_fast.batch.job import Job, Outcome
    from dal_fast.batch.pool import WorkerPool
    from dal_fast.batch.ray_pool import RayPool

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


class Engine(StrEnum):
    """Where the workers are."""

    LOCAL = "local"
    RAY = "ray"


@dataclass(frozen=True)
class PoolOptions:
    """See :class:`dal_fast.batch.pool.WorkerPool`."""

    workers: int
    patience: float
    overwrite: bool
    engine: Engine = Engine.LOCAL

    def crew(self, settings: dict[str, Any], jobs: int) -> WorkerPool | RayPool:
        """No more workers than there are jobs."""
        from dal_fast.batch.pool import WorkerPool
        from dal_fast.batch.ray_pool import RayPool

        kind = RayPool if self.engine is Engine.RAY else WorkerPool
        return kind(
            settings,
            workers=min(self.workers, jobs),
            patience=self.patience,
            overwrite=self.overwrite,
        )


def screen_jobs(
    source: Path, out: Path, jobs: Sequence[Job], settings: dict[str, Any], options: PoolOptions
) -> list[Outcome]:
    """Screen all jobs of ``source``, and say how it went.

    Raises:
        InputError: ``output-unwritable``, ``disk-full``, or what a screener refuses.
    """
    from dal_fast.imaging.atomic import check_folder

    check_folder(out)
    crew = options.crew(settings, len(jobs))
    outcomes: list[Outcome] = []
    start = time.monotonic()
    with crew, _pace(len(jobs)) as advance:
        for outcome in crew.screen(jobs):
            outcomes.append(outcome)
            failure = f"failed [{outcome.code}]: {outcome.message}"
            shown = outcome.scan.relative_to(source)
            advance(f"{shown}: {failure}" if outcome.status == "failed" else None)
    seconds = time.monotonic() - start
    count = {s: sum(o.status == s for o in outcomes) for s in ("done", "kept", "failed")}
    typer.echo(
        f"{count['done']} screened, {count['kept']} already there, {count['failed']} failed "
        f"in {_span(seconds)}: {60 * count['done'] / seconds:.1f} volumes a minute, "
        f"{crew.effort()}"
    )
    return outcomes


@contextlib.contextmanager
def _pace(total: int) -> Iterator[Callable[[str | None], None]]:
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
    columns = ("screening", BarColumn(), MofNCompleteColumn(), pace, TimeRemainingColumn())
    start = told = time.monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task, count = bar.add_task("screening", total=total, pace="loading the model"), 0

        def advance(failure: str | None) -> None:
            nonlocal count, told
            count += 1
            now = time.monotonic()
            pace = f"{60 * count / (now - start):.1f} volumes a minute"
            if failure is not None:
                bar.console.print(failure, markup=False, highlight=False, soft_wrap=True)
            bar.update(task, completed=count, pace=pace)
            if not console.is_terminal and now - told > _LINE_EVERY:
                told = now
                left = _span((now - start) / count * (total - count))
                console.print(f"{count} of {total}, {pace}, {left} left", highlight=False)

        yield advance


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
