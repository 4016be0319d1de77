"""Tables on disk: a column a field of a dataclass, a line a row."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dal_fast.imaging.atomic import write_text

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def write_table(
    path: Path, kind: type[DataclassInstance], rows: Iterable[DataclassInstance], delimiter: str
) -> None:
    """Atomically write ``rows``, all of one ``kind``, under a header.

    Raises:
        OutputError: ``output-unwritable`` or ``disk-full``.
    """
    names = [field.name for field in fields(kind)]
    write_rows(path, names, (asdict(row) for row in rows), delimiter)


def write_rows(
    path: Path, names: Sequence[str], rows: Iterable[Mapping[str, Any]], delimiter: str
) -> None:
    """Atomically write ``rows`` under a header of ``names``; what a row lacks is left empty.

    Raises:
        OutputError: ``output-unwritable`` or ``disk-full``.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, names, delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
