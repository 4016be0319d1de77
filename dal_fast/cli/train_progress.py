"""The progress of ``dal-fast train``: a bar on a terminal, now and then a line in a log."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.progress import track as rich_track

from dal_fast.training import train
from dal_fast.training.loop import Step
from dal_fast.training.validation import ValidationResult

_LINE_EVERY = 50  # steps, where there is no terminal


@contextlib.contextmanager
def follow(steps: int, first: bool) -> Iterator[train.Progress]:
    """Show the progress of the first process; the others are silent.

    Args:
        steps: of the whole training.
        first: whether this is the first process.
    """
    console = Console(stderr=True, quiet=not first)

    def reading(files: Iterable[Any]) -> Iterable[Any]:
        return rich_track(files, "reading brains into the cache", console=console)

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("starting", total=steps)

        def show(step: Step, total: int, line: str) -> None:
            line = f"{line}, {step.seconds:.2f} s a step"
            bar.update(task, completed=step.number, description=line)
            if not console.is_terminal and step.number % _LINE_EVERY == 0:
                console.print(f"step {step.number} of {total}, {line}", highlight=False)

        def validated(step: int, result: ValidationResult) -> None:
            metrics = ", ".join(f"{name} {value:.3f}" for name, value in result.metrics.items())
            console.print(f"step {step}: held-out {metrics}", highlight=False)

        yield train.Progress(reading, show, validated)
