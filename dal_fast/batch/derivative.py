"""What makes a folder of results a BIDS derivative, and its subjects' pages."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from dal_fast._version import generated_by
from dal_fast.batch.records import Record
from dal_fast.imaging.atomic import write_json, write_text
from dal_fast.imaging.bids import STRUCTURAL
from dal_fast.imaging.folders import make_folder
from dal_fast.imaging.text import one_line, printable
from dal_fast.report.index import Failure, IndexEntry, index_page

BIDS_VERSION = "1.10.0"
_NOT_BIDS = ("*.html", "*.png", "/scores.tsv", "/brains*.tsv", "/failures*.tsv")


def write_derivative(
    out: Path, source: Path, suffixes: Iterable[str], what: str = "anomaly maps"
) -> None:
    """Write ``dataset_description.json``, ``.bidsignore``, and what images of a suffix share.

    Args:
        out: the folder of results.
        source: the dataset that was screened.
        suffixes: of the images, such as ``"T1w"``.
        what: the results are.

    Raises:
        OutputError: ``output-unwritable``, ``disk-full``.
    """
    make_folder(out)
    description = {
        "Name": f"dal_fast {what} of {printable(dataset_name(source))}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [generated_by()],
    }
    write_json(out / "dataset_description.json", description)
    write_text(out / ".bidsignore", "".join(f"{name}\n" for name in _NOT_BIDS))
    for suffix in STRUCTURAL & set(suffixes):
        write_json(out / f"{suffix}.json", {"SkullStripped": True})


def dataset_name(source: Path) -> str:
    """The name of a dataset's folder, as it was given: not that of a link's target."""
    return Path(os.path.abspath(source)).name


def write_subject(out: Path, label: str, records: list[Record], failures: list[Failure]) -> None:
    """Write ``sub-LABEL.html``: the subject's scans, with links to their reports."""
    entries = [index_entry(record) for record in records]
    write_text(out / f"sub-{label}.html", index_page(f"sub-{label}", entries, failures))


def index_entry(record: Record) -> IndexEntry:
    """A record as a line of an overview."""
    return IndexEntry(
        name=record.name,
        score=record.score,
        volume_ml=record.volume_ml,
        flags=record.flags,
        page=record.page,
        thumbnail=record.thumbnail,
    )


def write_tsv(path: Path, head: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Write a table; control characters within its cells, such as tabs, become escapes.

    Args:
        path: of the file.
        head: names of the columns.
        rows: of as many cells.

    Raises:
        OutputError: ``output-unwritable``, ``disk-full``.
    """
    lines = ("\t".join(map(one_line, row)) + "\n" for row in (head, *rows))
    write_text(path, "".join(lines))
