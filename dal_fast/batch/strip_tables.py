"""What stands beside the brain masks of a folder: a table, failures, and a page of outlines.

Their names are other than those of a screening, which may write into the same folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dal_fast.batch.derivative import dataset_name, write_derivative, write_tsv
from dal_fast.batch.job import Outcome
from dal_fast.batch.outputs import strip_names
from dal_fast.batch.records import flag_codes
from dal_fast.batch.tables import Tally, read_results, tally_of, write_failures
from dal_fast.imaging.atomic import write_text
from dal_fast.imaging.bids import LeftOut, parse_name
from dal_fast.imaging.mask_origin import read_sidecar
from dal_fast.report.brains import BrainEntry, brains_page
from dal_fast.screening.scan import ORIGINS

_COLUMNS = ("scan", "volume_ml", "confidence", "mask_from", "flags")


def write_strip_tables(
    source: Path, out: Path, outcomes: Sequence[Outcome], left_out: Sequence[LeftOut] = ()
) -> Tally:
    """Write ``brains.tsv``, ``brains_failures.tsv``, ``brains.html``, and what BIDS asks for.

    Args:
        source: the folder of the scans.
        out: of the masks.
        outcomes: of the scans.
        left_out: what the folder holds besides.

    Raises:
        OutputError: ``output-unwritable``, ``disk-full``.
    """
    entries, failures = read_results(
        source, outcomes, left_out, lambda outcome: _read_entry(outcome, out)
    )
    entries.sort(key=lambda entry: entry.name)
    suffixes = {parse_name(outcome.scan).suffix for outcome in outcomes}
    write_derivative(out, source, {suffix for suffix in suffixes if suffix}, "brain masks")
    write_tsv(out / "brains.tsv", _COLUMNS, [_row(entry) for entry in entries])
    write_failures(out / "brains_failures.tsv", failures)
    write_text(out / "brains.html", brains_page(dataset_name(source), entries, failures))
    return tally_of(failures, (entry.flags for entry in entries))


def _read_entry(outcome: Outcome, out: Path) -> BrainEntry | None:
    names = strip_names(outcome.scan)
    facts = read_sidecar(outcome.folder / names["sidecar"])
    if facts is None:
        return None
    below = outcome.folder.relative_to(out)
    brain = facts["Brain"]
    return BrainEntry(
        name=(below / parse_name(outcome.scan).stem).as_posix(),
        volume_ml=brain["VolumeML"],
        confidence=brain.get("Confidence"),
        origin=ORIGINS[brain["Source"]],
        flags=flag_codes(facts),
        picture=(below / names["picture"]).as_posix(),
    )


def _row(entry: BrainEntry) -> tuple[str, ...]:
    sure = "n/a" if entry.confidence is None else f"{entry.confidence:.3f}"
    return (entry.name, f"{entry.volume_ml:.1f}", sure, entry.origin, ",".join(entry.flags))
