"""A worker that screens series of DICOM studies.

    python -m dal_fast.dicom.worker

See :mod:`dal_fast.batch.worker`. Its settings hold those of the screener, what to write, and the
series of every job.
"""

from __future__ import annotations

import functools
from typing import Any

from dal_fast.batch.job import AnyStages, Job
from dal_fast.batch.ledger import IN_FLIGHT
from dal_fast.batch.worker import main
from dal_fast.dicom.names import Names
from dal_fast.dicom.select import Verdict
from dal_fast.dicom.stages import DicomStages, Plan


def make_stages(task: str, settings: dict[str, Any], overwrite: bool) -> AnyStages:
    """What a worker does with its jobs; loads the model."""
    from dal_fast.batch.resident import make_screener

    plans = {key: Plan(**plan) for key, plan in settings["series"].items()}

    @functools.lru_cache(maxsize=IN_FLIGHT)
    def verdict_of(job: Job) -> Verdict:
        return plans[str(job.scan)].verdict()

    return DicomStages(
        make_screener(settings["screener"]),
        verdict_of,
        lambda job: Names(plans[str(job.scan)].hidden),
        settings["objects"],
        settings["label_map"],
        overwrite,
    )


if __name__ == "__main__":
    main(make_stages)
