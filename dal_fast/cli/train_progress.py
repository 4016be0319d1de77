"""How ``dal-fast train`` shows where it is: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.progress import track as rich_track

from dal_fast.synthesis.brains import Source
from dal_fast.training import train
from dal_fast.training.loop import Step
from dal_fast.training.validation import Validation

_LINE_EVERY = 50  # steps, where there is no terminal


@contextlib.contextmanager
def follow(steps: int, first: bool) -> Iterator[train.Progress]:
    """Shows the progress of the first process; the others are silent."""
    console = Console(stderr=True, quiet=not first)

    def reading(sources: Iterable[Source]) -> Iterable[Source]:
        return rich_track(sources, "reading brains into the cache", console=console)

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

        def validated(step: int, seen: Validation) -> None:
            numbers = ", ".join(f"{name} {value:.3f}" for name, value in seen.numbers.items())
            console.print(f"step {step}: held-out {numbers}", highlight=False)

        yield train.Progress(reading, show, validated)
