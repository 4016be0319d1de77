"""What stands beside the results of a plain folder: scores, failures, and the overview."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from dal_fast.batch.derivative import dataset_name, index_entry, write_derivative, write_tsv
from dal_fast.batch.job import Outcome
from dal_fast.batch.outputs import output_names
from dal_fast.batch.records import BRAIN_COLUMNS, Record, read_record
from dal_fast.errors import Code
from dal_fast.imaging.atomic import write_text
from dal_fast.imaging.bids import LeftOut
from dal_fast.imaging.folders import file_refusals
from dal_fast.imaging.lock import locked
from dal_fast.imaging.mask_origin import ODD_SHAPE, UNCERTAIN
from dal_fast.imaging.text import one_line
from dal_fast.report.index import Failure, index_page

T = TypeVar("T")
_ATTEMPTS, _PAUSE = 20, 0.1  # seconds, while another run replaces a result


class Tally(NamedTuple):
    """Of the scans of a run.

    Attributes:
        failed: those that have no result, files that cannot be read included.
        flagged: those with quality flags.
        doubtful: those whose brain mask is in doubt.
    """

    failed: int
    flagged: int
    doubtful: int


def tally_of(failures: Sequence[Failure], flags: Iterable[Sequence[str]]) -> Tally:
    """Count scans.

    Args:
        failures: scans without a result, and files that were left out.
        flags: codes of the quality flags of each scan with a result.
    """
    raised = [codes for codes in flags if codes]
    doubtful = sum(UNCERTAIN in codes or ODD_SHAPE in codes for codes in raised)
    return Tally(count_failures(failures), len(raised), doubtful)


def write_tables(
    source: Path, out: Path, outcomes: Sequence[Outcome], left_out: Sequence[LeftOut] = ()
) -> Tally:
    """Write ``scores.tsv``, ``failures.tsv``, ``index.html`` and what makes a BIDS derivative.

    Args:
        source: the folder that was screened.
        out: of the results.
        outcomes: of its scans.
        left_out: what the folder holds besides.

    Raises:
        OutputError: ``output-unwritable``, ``disk-full``.
    """
    records, failures = read_results(
        source,
        outcomes,
        left_out,
        lambda outcome: wait_for_record(
            outcome.folder / output_names(outcome.scan)["sidecar"], out
        ),
    )
    write_derivative(out, source, {record.suffix for record in records})
    write_overview(out, dataset_name(source), records, failures)
    return tally_of(failures, (record.flags for record in records))


def write_overview(
    out: Path, title: str, records: Iterable[Record], failures: Sequence[Failure]
) -> None:
    """Write ``scores.tsv``, the highest score first, ``failures.tsv`` and ``index.html``.

    Raises:
        OutputError: ``output-unwritable``, ``disk-full``.
    """
    records = sorted(records, key=lambda record: (-record.score, record.name))
    head = ("scan", "score", "volume_ml", "flags", *BRAIN_COLUMNS)
    scores = [
        (r.name, f"{r.score:.6g}", f"{r.volume_ml:.3f}", ",".join(r.flags), *r.brain_cells)
        for r in records
    ]
    write_tsv(out / "scores.tsv", head, scores)
    write_failures(out / "failures.tsv", failures)
    entries = [index_entry(record) for record in records]
    write_text(out / "index.html", index_page(title, entries, failures))


def read_results(
    source: Path,
    outcomes: Sequence[Outcome],
    left_out: Sequence[LeftOut],
    read: Callable[[Outcome], T | None],
) -> tuple[list[T], list[Failure]]:
    """What the scans that did not fail have on disk, and all failures, by their path.

    Args:
        source: the folder of the scans.
        outcomes: of the scans.
        left_out: what the folder holds besides.
        read: a result; None where it is gone, which is a failure too.
    """
    results, failures = list[T](), list_failures(source, outcomes, left_out)
    for outcome in outcomes:
        if outcome.status == "failed":
            continue
        result = read(outcome)
        if result is not None:
            results.append(result)
        else:
            name, reason = outcome.scan.relative_to(source), "its results have been removed since"
            failures.append((str(name), Code.FILE_MISSING, reason))
    return results, sorted(failures)


def list_failures(
    source: Path, outcomes: Sequence[Outcome], left_out: Sequence[LeftOut] = ()
) -> list[Failure]:
    """Scans without a result and files that were left out, by their path below ``source``."""
    rows = [(o.scan, o.code, o.message) for o in outcomes if o.status == "failed"]
    rows += [(left.path, left.code, left.reason) for left in left_out]
    return sorted((str(path.relative_to(source)), code, reason) for path, code, reason in rows)


def count_failures(failures: Sequence[Failure]) -> int:
    """How many are failures, not files that were rightly left out."""
    return sum(code != Code.LEFT_OUT for _, code, _ in failures)


def write_failures(path: Path, failures: Sequence[Failure]) -> None:
    """Write the table of scans without a result; there is one even where all went well.

    Raises:
        OutputError: ``output-unwritable``, ``disk-full``.
    """
    write_tsv(path, ("scan", "code", "message"), failures)


def update_failures(path: Path, failures: Sequence[Failure], seen: Iterable[str]) -> list[Failure]:
    """Put the failures of a run into a table that other runs share, one after the other.

    Args:
        path: of the table; its folder must exist.
        failures: of this run.
        seen: paths of all that this run looked at; rows of everything else stay.

    Returns:
        The rows of the table.

    Raises:
        OutputError: ``output-unwritable``, ``disk-full``.
    """
    anew = {one_line(name) for name in seen}
    with locked(path.parent):
        rows = merge_failures(path, failures, anew.__contains__)
        write_failures(path, rows)
    return rows


def merge_failures(
    path: Path, failures: Sequence[Failure], seen: Callable[[str], bool]
) -> list[Failure]:
    """The rows of a table of failures with those of a run; nothing is written.

    Args:
        path: of the table, which may not exist.
        failures: of this run.
        seen: whether this run looked at what a row of the table names; all other rows stay.

    Raises:
        OutputError: ``output-unwritable`` where the table cannot be read.
    """
    before = read_failures(path) if path.exists() else []
    return sorted([*failures, *(row for row in before if not seen(row[0]))])


def read_failures(path: Path) -> list[Failure]:
    """The rows of a table of scans without a result; none where it is not ours.

    Raises:
        OutputError: ``output-unwritable`` where it cannot be read.
    """
    with file_refusals(path), path.open(encoding="utf-8", errors="replace", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [
        (row["scan"], row["code"], row["message"])
        for row in rows
        if row.get("scan") and row.get("code") and row.get("message")
    ]


def wait_for_record(sidecar: Path, out: Path) -> Record | None:
    """What was screened; another run that replaces it at this moment is waited for."""
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE)
        record = read_record(sidecar, out)
        if record is not None:
            return record
    return None
