"""The group level of a BIDS App: one table, one overview, everyone among the healthy."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dal_fast.batch.cohort import (
    Standing,
    healthy_participants,
    rank_scores,
)
from dal_fast.batch.cohort_maps import Track, in_silence, write_cohort_maps
from dal_fast.batch.derivative import index_entry, write_derivative, write_tsv
from dal_fast.batch.outputs import output_names
from dal_fast.batch.records import Record, collect_records
from dal_fast.errors import Code, InputError
from dal_fast.imaging.atomic import write_bytes, write_json
from dal_fast.imaging.bids import select_scans
from dal_fast.imaging.participants import read_participants
from dal_fast.report.index import Failure, index_page

_SCORES = ("participant_id", "session", "suffix", "scan", "score", "z", "percentile", "healthy_n",
           "volume_ml", "flags")  # fmt: skip


def write_group(
    dataset: Path, out: Path, healthy: str | None = None, track: Track = in_silence
) -> tuple[int, int]:
    """``participants.tsv``, ``scores.tsv`` and ``index.html`` of all that lies in ``out``.

    Args:
        dataset: the BIDS dataset.
        out: of the participant level.
        healthy: whom to compare everyone with, see :func:`healthy_participants`: their maps and
            scores; without it there is no comparison.
        track: what goes through the scans whose maps are compared.

    Returns:
        Scans with a result, and without one.

    Raises:
        InputError: ``no-results`` when nothing was screened yet, ``not-bids``, ``healthy-rule``,
            ``output-unwritable``, …
    """
    scans = select_scans(dataset)
    records = collect_records(out)
    if not records:
        raise InputError(
            Code.NO_RESULTS, f"{out} holds no results; run the participant level first"
        )
    columns, rows = read_participants(dataset)
    standings: dict[str, Standing] = {}
    if healthy is not None:
        labels = {record.participant for record in records}
        chosen = healthy_participants(healthy, columns, rows, labels)
        standings = rank_scores(records, chosen)
        write_cohort_maps(records, chosen, track)
    failures = _missing(dataset, out, scans, records)
    write_derivative(out, dataset, {record.suffix for record in records})
    write_tsv(out / "scores.tsv", _SCORES, [_score_row(r, standings.get(r.name)) for r in records])
    _write_participants(out, records, standings, columns, rows)
    entries = [
        replace(index_entry(r), standing=str(standings[r.name]) if r.name in standings else "")
        for r in records
    ]
    page = index_page(dataset.resolve().name, entries, failures)
    write_bytes(out / "index.html", page.encode())
    return len(records), len(failures)


def _missing(
    dataset: Path, out: Path, scans: Sequence[Path], records: Sequence[Record]
) -> list[Failure]:
    """Scans of the dataset without a result, and what the participant level said of them."""
    told: dict[str, tuple[str, str]] = {}
    for table in sorted(out.glob("failures*.tsv")):
        with table.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                told[row["scan"]] = (row["code"], row["message"])
    there = {record.folder / record.outputs["anomaly"] for record in records}
    failures = []
    for scan in scans:
        below = scan.relative_to(dataset)
        if out / below.parent / output_names(scan)["anomaly"] not in there:
            code, message = told.get(str(below), ("not-screened", "run the participant level"))
            failures.append((str(below), code, message))
    return failures


def _score_row(record: Record, standing: Standing | None) -> list[str]:
    compared = ["n/a", "n/a", "n/a"]
    if standing is not None:
        compared = [f"{standing.z:.3f}", f"{standing.percentile:.1f}", str(standing.n)]
    return [
        f"sub-{record.participant}",
        record.session or "n/a",
        record.suffix,
        record.name,
        f"{record.score:.6g}",
        *compared,
        f"{record.volume_ml:.3f}",
        ",".join(record.flags) or "n/a",
    ]


def _write_participants(
    out: Path,
    records: Sequence[Record],
    standings: dict[str, Standing],
    columns: Sequence[str],
    rows: dict[str, dict[str, str]],
) -> None:
    """One row a participant: the dataset's own columns, then the highest score of each suffix."""
    suffixes = sorted({record.suffix for record in records})
    head = ["participant_id", *columns]
    about: dict[str, dict[str, str]] = {}
    for suffix in suffixes:
        head += [f"score_{suffix}", f"z_{suffix}"]
        about[f"score_{suffix}"] = {"Description": f"Highest anomaly score of its {suffix} scans"}
        about[f"z_{suffix}"] = {
            "Description": f"Of that scan's log score among the {suffix} scans of healthy others"
        }
    table = []
    for label in sorted({record.participant for record in records}):
        row = [f"sub-{label}", *(rows.get(label, {}).get(name) or "n/a" for name in columns)]
        for suffix in suffixes:
            own = [r for r in records if (r.participant, r.suffix) == (label, suffix)]
            best = own[0] if own else None  # the highest comes first
            standing = standings.get(best.name) if best else None
            row.append(f"{best.score:.6g}" if best else "n/a")
            row.append(f"{standing.z:.3f}" if standing else "n/a")
        table.append(row)
    write_tsv(out / "participants.tsv", head, table)
    write_json(out / "participants.json", about)
