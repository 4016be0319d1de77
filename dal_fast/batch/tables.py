"""What stands beside the results of a plain folder: scores, failures, and the overview."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dal_fast.batch.derivative import index_entry, write_derivative, write_tsv
from dal_fast.batch.job import Outcome
from dal_fast.batch.outputs import output_names
from dal_fast.batch.records import read_record
from dal_fast.imaging.atomic import write_bytes
from dal_fast.report.index import Failure, index_page


def write_tables(source: Path, out: Path, outcomes: Sequence[Outcome]) -> None:
    """``scores.tsv``, ``failures.tsv``, ``index.html`` and what makes a BIDS derivative.

    Args:
        source: the folder that was screened.
        out: of the results.
        outcomes: of its scans.

    Raises:
        InputError: ``output-unwritable``, ``disk-full``.
    """
    sidecars = [
        outcome.folder / output_names(outcome.scan)["sidecar"]
        for outcome in outcomes
        if outcome.status != "failed"
    ]
    records = [record for path in sidecars if (record := read_record(path, out)) is not None]
    records.sort(key=lambda record: (-record.score, record.name))
    failures = list_failures(source, outcomes)
    write_derivative(out, source, {record.suffix for record in records})
    scores = [(r.name, f"{r.score:.6g}", f"{r.volume_ml:.3f}", ",".join(r.flags)) for r in records]
    write_tsv(out / "scores.tsv", ("scan", "score", "volume_ml", "flags"), scores)
    write_failures(out / "failures.tsv", failures)
    entries = [index_entry(record) for record in records]
    page = index_page(source.resolve().name, entries, failures)
    write_bytes(out / "index.html", page.encode())


def list_failures(source: Path, outcomes: Sequence[Outcome]) -> list[Failure]:
    """Scans without a result, by name."""
    return sorted(
        (str(outcome.scan.relative_to(source)), outcome.code, outcome.message)
        for outcome in outcomes
        if outcome.status == "failed"
    )


def write_failures(path: Path, failures: Sequence[Failure]) -> None:
    """The table of scans without a result; there is one even where all went well."""
    write_tsv(path, ("scan", "code", "message"), failures)
