"""Read ``participants.tsv``, in whatever encoding programs for tables save it."""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from dal_fast.errors import Code, InputError

_ID = "participant_id"
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16's, which it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)

Row = dict[str, str]


def read_participants(dataset: Path) -> tuple[list[str], dict[str, Row]]:
    """The table of a dataset's participants.

    UTF-8, and every encoding of Unicode whose byte order mark begins the file. Cells may be quoted,
    lines end in any way, and a cell that is missing at the end of a row is ``n/a``.

    Args:
        dataset: the folder of ``participants.tsv``.

    Returns:
        The columns besides ``participant_id``, and the rows by label, without ``sub-``. Both are
        empty where there is no table.

    Raises:
        InputError: ``participants-table`` for a table that cannot be read, in another encoding,
            without the column ``participant_id``, with rows of more cells than columns, or with two
            different rows of one participant.
    """
    path = dataset / "participants.tsv"
    if not os.path.lexists(path):
        return [], {}
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise _refusal(
            path, f"is a link, and its target {os.readlink(path)} is missing (datalad get?)"
        ) from None
    except OSError as error:
        raise _refusal(path, f"cannot be read: {error.strerror}") from None
    try:
        lines = _cells(_decode(content, path))
    except csv.Error as error:
        raise _refusal(path, f"is no table: {error}") from None
    if not lines or _ID not in lines[0][1]:
        raise _refusal(path, f"has no column {_ID}{_columns_hint(lines)}")
    _, columns = lines[0]
    twice = {name for name in columns if name and columns.count(name) > 1}
    if twice:
        raise _refusal(path, f"has more than one column {sorted(twice)[0]}")
    rows: dict[str, Row] = {}
    seen: dict[str, int] = {}
    for number, cells in lines[1:]:
        row = _row(path, number, columns, cells)
        label = row[_ID].removeprefix("sub-")
        if rows.get(label, row) != row:
            raise _refusal(
                path,
                f"lists sub-{label} in rows {seen[label]} and {number} with different values; keep "
                "one row a participant (sessions have a table of their own, sub-…_sessions.tsv)",
            )
        rows[label] = row
        seen.setdefault(label, number)
    return [name for name in columns if name not in ("", _ID)], rows


def _decode(content: bytes, path: Path) -> str:
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        row = 1 + content[: error.start].replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n")
        if encoding != "utf-8":
            raise _refusal(path, f"is damaged: it is no {encoding} at byte {error.start}") from None
        raise _refusal(
            path,
            f"is not in UTF-8: byte 0x{content[error.start]:02X} at position {error.start}, in row "
            f"{row}. Save it as UTF-8, for example with iconv -f latin1 -t utf-8",
        ) from None
    if "\0" in text:
        raise _refusal(
            path,
            f"holds a zero byte at position {content.index(0)}, so it is no UTF-8 text. Save it as "
            "UTF-8, for example with iconv -f utf-16le -t utf-8",
        )
    return text


def _cells(text: str) -> list[tuple[int, list[str]]]:
    """Rows that are not empty, with their numbers from 1.

    Quotes are taken off where they pair within every row; else they are characters like any.
    """
    with contextlib.suppress(csv.Error):
        rows = _split(text, csv.QUOTE_MINIMAL)
        if not any("\n" in cell or "\r" in cell for _, cells in rows for cell in cells):
            return rows
    return _split(text, csv.QUOTE_NONE)


def _split(text: str, quoting: Literal[0, 3]) -> list[tuple[int, list[str]]]:
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter="\t", quoting=quoting, strict=True)
    rows = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    return [(number, cells) for number, cells in rows if any(cells)]


def _columns_hint(lines: Sequence[tuple[int, list[str]]]) -> str:
    if not lines:
        return "; it is empty"
    columns = lines[0][1]
    if len(columns) == 1:
        for separator, name in ((",", "commas"), (";", "semicolons"), (" ", "blanks")):
            if separator in columns[0]:
                return f"; its columns seem to be separated by {name}. Separate them by tabs"
    return f"; its columns are {', '.join(columns)}"


def _row(path: Path, number: int, columns: list[str], cells: list[str]) -> Row:
    """A row by column."""
    while len(cells) > len(columns) and not cells[-1]:
        cells = cells[:-1]
    if len(cells) > len(columns):
        raise _refusal(
            path, f"has {len(cells)} cells in row {number} and {len(columns)} columns; is there a "
            "tab too many?"
        )  # fmt: skip
    row = dict(zip(columns, cells + ["n/a"] * (len(columns) - len(cells)), strict=True))
    row.pop("", None)
    if row[_ID] in ("", "n/a"):
        raise _refusal(path, f"has no {_ID} in row {number}")
    return row


def _refusal(path: Path, what: str) -> InputError:
    return InputError(Code.PARTICIPANTS_TABLE, f"{path} {what}")
