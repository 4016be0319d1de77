"""What stands beside the studies in a folder of results, whatever runs put them there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dal_fast.batch.job import Outcome
from dal_fast.batch.records import read_record
from dal_fast.batch.tables import merge_failures, read_results, wait_for_record, write_overview
from dal_fast.dicom.outputs import sidecar_name
from dal_fast.imaging.lock import locked

if TYPE_CHECKING:
    from dal_fast.dicom.study import Studies


def write_tables(studies: Studies, out: Path, outcomes: Sequence[Outcome]) -> int:
    """Write ``scores.tsv``, ``failures.tsv`` and ``index.html`` of all studies of a folder.

    Scores are those of every complete series that lies in the folder. Failures of studies and files
    that this run did not look at stay. Runs that end at once write one after the other.

    Args:
        studies: of this run.
        out: folder of the results.
        outcomes: of the series that were to be screened.

    Returns:
        How many series, studies and files of this run failed.

    Raises:
        OutputError: ``output-unwritable``, ``disk-full``.
    """
    _, failed = read_results(
        studies.source,
        outcomes,
        (),
        lambda outcome: wait_for_record(outcome.folder / sidecar_name(outcome.scan.name), out),
    )
    tag = f", input {hashlib.sha256(os.fsencode(studies.source)).hexdigest()[:12]}"
    study_names = {study.name for study in studies.studies}
    left_out = [
        (name if name in study_names else f"{name}{tag}", code, reason)
        for name, code, reason in studies.left_out()
    ]
    own = [*left_out, *failed]
    looked_at = study_names | {f"{job.folder.name}/{job.scan.name}" for job in studies.jobs(out)}

    def seen(name: str) -> bool:
        ours = name in looked_at or name.endswith(tag)
        return ours or (studies.whole and name.partition("/")[0] in study_names)

    with locked(out):
        rows = merge_failures(out / "failures.tsv", own, seen)
        without = {name for name, _, _ in rows}
        found = (read_record(path, out) for path in sorted(out.glob("study-*/series-*.json")))
        records = [record for record in found if record and record.name not in without]
        write_overview(out, "DICOM studies", records, rows)
    return len(own)
