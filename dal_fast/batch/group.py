"""The group level of a BIDS App: one table, one overview, everyone among the healthy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from dal_fast.batch.cohort import Rank, healthy_participants, rank_scores
from dal_fast.batch.cohort_maps import Track, quiet, remove_cohort_maps, write_cohort_maps
from dal_fast.batch.derivative import dataset_name, index_entry, write_derivative, write_tsv
from dal_fast.batch.outputs import output_names
from dal_fast.batch.records import BRAIN_COLUMNS, Record, count_others, records_of
from dal_fast.batch.tables import count_failures, list_failures, read_failures
from dal_fast.errors import Code, InputError
from dal_fast.imaging.atomic import write_json, write_text
from dal_fast.imaging.bids import find_scans, select_scans
from dal_fast.imaging.participants import read_participants
from dal_fast.imaging.paths import check_apart, outside
from dal_fast.imaging.text import one_line
from dal_fast.report.index import Failure, index_page

_SCORES = ("participant_id", "session", "suffix", "scan", "score", "z", "percentile", "healthy_n",
           "volume_ml", "flags", *BRAIN_COLUMNS)  # fmt: skip


class GroupCounts(NamedTuple):
    """Of a group level.

    Attributes:
        done: scans with a result.
        missing: scans without one.
        compared: scans that were compared with the healthy ones.
        gone: results of scans that the dataset no longer holds; they are in no table.
    """

    done: int
    missing: int
    compared: int
    gone: int


def write_group(
    dataset: Path, out: Path, healthy: str | None = None, track: Track = quiet
) -> GroupCounts:
    """Write ``participants.tsv``, ``scores.tsv`` and ``index.html`` of all results in ``out``.

    An earlier result of a scan that has changed, and then failed, is none.

    Args:
        dataset: the BIDS dataset.
        out: of the participant level.
        healthy: whose scores and maps everyone's are compared with, see
            :func:`dal_fast.batch.cohort.healthy_participants`; without it there is no comparison.
        track: iterates over the scans whose maps are compared, and may show the progress.

    Raises:
        InputError: ``no-results`` when nothing was screened yet, ``mixed-settings``, ``not-bids``,
            ``healthy-rule``, ``participants-table``; ``value`` where ``out`` is the dataset.
        OutputError: ``output-unwritable``, ``disk-full``.
    """
    check_apart(out, dataset)
    found = find_scans(dataset).with_bids_names()
    scans = outside(out, select_scans(dataset, found=found))
    reasons = _reasons(out)
    records, gone = records_of(scans, dataset, out, reasons), count_others(out, scans, dataset)
    if not records:
        of = f" of scans of {dataset}" if gone else ""
        raise InputError(
            Code.NO_RESULTS, f"{out} holds no results{of}; run the participant level first"
        )
    _check_settings(records)
    columns, rows = read_participants(dataset)
    ranks: dict[str, Rank] = {}
    if healthy is None:
        remove_cohort_maps(records)
    else:
        labels = {record.participant for record in records}
        chosen = healthy_participants(healthy, columns, rows, labels)
        ranks = rank_scores(records, chosen)
        write_cohort_maps(records, chosen, track)
    failures = _missing(dataset, out, scans, records, reasons)
    failures += list_failures(dataset, (), found.left_out)
    write_derivative(out, dataset, {record.suffix for record in records})
    write_tsv(out / "scores.tsv", _SCORES, [_score_row(r, ranks.get(r.name)) for r in records])
    _write_participants(out, records, ranks, columns, rows)
    entries = [
        replace(index_entry(r), rank=str(ranks[r.name]) if r.name in ranks else "") for r in records
    ]
    write_text(out / "index.html", index_page(dataset_name(dataset), entries, failures))
    return GroupCounts(len(records), count_failures(failures), len(ranks), gone)


def _result_of(scan: Path, dataset: Path, out: Path) -> Path:
    """Where the anomaly map of a scan is written."""
    return out / scan.relative_to(dataset).parent / output_names(scan)["anomaly"]


def _check_settings(records: Sequence[Record]) -> None:
    """Refuse scores of one suffix that have different units: there is no order among them."""
    for suffix in sorted({record.suffix for record in records}):
        of_suffix = [record.settings for record in records if record.suffix == suffix]
        values = {name: {settings.get(name, "") for settings in of_suffix} for name in of_suffix[0]}
        differ = [f"{name} {' or '.join(sorted(v))}" for name, v in values.items() if len(v) > 1]
        if differ:
            rarest = min(of_suffix, key=of_suffix.count)
            name = next(record.name for record in records if record.settings == rarest)
            raise InputError(
                Code.MIXED_SETTINGS,
                f"the {suffix} results were made with different settings ({', '.join(differ)}), "
                f"fewest as those of {name}; run the participant level for all of them with the "
                "same options, or remove what is not needed",
            )


def _reasons(out: Path) -> dict[str, tuple[str, str]]:
    """Why scans failed at the participant level, by their path below the dataset."""
    reasons: dict[str, tuple[str, str]] = {}
    for table in sorted(out.glob("failures*.tsv")):
        for name, code, message in read_failures(table):
            reasons[name] = (code, message)
    return reasons


def _missing(
    dataset: Path,
    out: Path,
    scans: Sequence[Path],
    records: Sequence[Record],
    reasons: dict[str, tuple[str, str]],
) -> list[Failure]:
    """Scans of the dataset without a result, with the reason that the participant level gave."""
    complete = {record.folder / record.outputs["anomaly"] for record in records}
    failures = []
    for scan in scans:
        below = scan.relative_to(dataset)
        if _result_of(scan, dataset, out) not in complete:
            unknown = (Code.NOT_SCREENED, "the participant level has not been run for this scan")
            code, message = reasons.get(one_line(str(below)), unknown)
            failures.append((str(below), code, message))
    return failures


def _score_row(record: Record, rank: Rank | None) -> list[str]:
    compared = ["n/a", "n/a", "n/a"]
    if rank is not None:
        compared = [rank.z_cell, f"{rank.percentile:.1f}", str(rank.n)]
    return [
        f"sub-{record.participant}",
        record.session or "n/a",
        record.suffix,
        record.name,
        f"{record.score:.6g}",
        *compared,
        f"{record.volume_ml:.3f}",
        ",".join(record.flags) or "n/a",
        *record.brain_cells,
    ]


def _write_participants(
    out: Path,
    records: Sequence[Record],
    ranks: dict[str, Rank],
    columns: Sequence[str],
    rows: dict[str, dict[str, str]],
) -> None:
    """A row a participant: the columns of the dataset's table, the highest score of each suffix."""
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
            scans = [r for r in records if (r.participant, r.suffix) == (label, suffix)]
            best = scans[0] if scans else None  # the highest score comes first
            rank = ranks.get(best.name) if best else None
            row.append(f"{best.score:.6g}" if best else "n/a")
            row.append(rank.z_cell if rank else "n/a")
        table.append(row)
    write_tsv(out / "participants.tsv", head, table)
    write_json(out / "participants.json", about)
