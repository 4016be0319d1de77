"""Cases that cannot be evaluated: a line each on stderr, and a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import typer

from dal_fast.errors import Code, InputError
from dal_fast.imaging.text import one_line

if TYPE_CHECKING:
    from dal_fast.report.index import Failure


class FailureList:
    """Prints failures as they are found, and writes them all to ``OUT/failures.tsv`` at the end.

    Args:
        out: folder of the table.
        failures: that are known already: case, code and message.
    """

    def __init__(self, out: Path, failures: Sequence[Failure] = ()) -> None:
        self.out = out
        self.rows: list[Failure] = []
        for failure in failures:
            self.add(failure)

    def add(self, failure: Failure) -> None:
        """Print and keep one."""
        name, code, message = failure
        self.rows.append(failure)
        word = "left out" if code == Code.LEFT_OUT else "failed"
        typer.echo(one_line(f"{word} [{code}] {name}: {message}"), err=True)

    @property
    def failed(self) -> bool:
        """Whether a case failed; what is left out for a good reason does not count."""
        return any(code != Code.LEFT_OUT for _, code, _ in self.rows)

    def check_any_left(self, cases: int) -> None:
        """Refuse to sum up nothing.

        Raises:
            InputError: ``no-cases``.
        """
        if not cases:
            raise InputError(
                Code.NO_CASES,
                f"none of the cases can be evaluated; see {self.out / 'failures.tsv'}",
            )

    def __enter__(self) -> FailureList:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None or (isinstance(error, InputError) and self.rows):
            from dal_fast.batch.tables import write_failures
            from dal_fast.imaging.folders import make_folder

            make_folder(self.out)
            write_failures(self.out / "failures.tsv", self.rows)
