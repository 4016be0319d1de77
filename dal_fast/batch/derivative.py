"""What makes a folder of results a BIDS derivative, and its subjects' pages."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dal_fast._version import generated_by
from dal_fast.batch.records import Record
from dal_fast.imaging.atomic import write_bytes, write_json
from dal_fast.imaging.bids import STRUCTURAL
from dal_fast.report.index import Failure, IndexEntry, index_page

BIDS_VERSION = "1.10.0"
_NOT_BIDS = ("*.html", "*.png", "/scores.tsv", "/failures*.tsv")


def write_derivative(out: Path, source: Path, suffixes: Iterable[str]) -> None:
    """``dataset_description.json``, ``.bidsignore``, and what all images of a suffix share.

    Args:
        out: the folder of results.
        source: the dataset that was screened.
        suffixes: of the images, such as ``"T1w"``.

    Raises:
        InputError: ``output-unwritable``, ``disk-full``.
    """
    out.mkdir(parents=True, exist_ok=True)
    description = {
        "Name": f"dal_fast anomaly maps of {source.resolve().name}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [generated_by()],
    }
    write_json(out / "dataset_description.json", description)
    write_bytes(out / ".bidsignore", "".join(f"{name}\n" for name in _NOT_BIDS).encode())
    for suffix in STRUCTURAL & set(suffixes):
        write_json(out / f"{suffix}.json", {"SkullStripped": True})


def write_subject(out: Path, label: str, records: list[Record], failures: list[Failure]) -> None:
    """``sub-LABEL.html``: the subject's scans, with links to their reports."""
    entries = [index_entry(record) for record in records]
    write_bytes(out / f"sub-{label}.html", index_page(f"sub-{label}", entries, failures).encode())


def index_entry(record: Record) -> IndexEntry:
    """The record's line in an overview."""
    return IndexEntry(
        name=record.name,
        score=record.score,
        volume_ml=record.volume_ml,
        flags=record.flags,
        page=record.page,
        thumbnail=record.thumbnail,
    )


def write_tsv(path: Path, head: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """A table, whatever its cells hold: white space within them becomes a blank."""

    def line(row: Iterable[str]) -> str:
        return "\t".join(" ".join(cell.split()) for cell in row) + "\n"

    write_bytes(path, "".join(map(line, (head, *rows))).encode())
