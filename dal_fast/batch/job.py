"""Many scans: what is to be done, how each one ends, and the three stages on the way.

Every scan ends as done, kept (complete from an earlier run) or failed; one scan never stops the
others. Nothing here imports torch before a scan is computed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import dal_fast
from dal_fast.batch.outputs import output_names, read_sidecar, write_result
from dal_fast.errors import Code, DalFastError
from dal_fast.imaging.bids import find_brain_masks
from dal_fast.screening.result import Result
from dal_fast.screening.scan import Scan, load_scan

if TYPE_CHECKING:
    from dal_fast.screening.screener import Screener

T = TypeVar("T")
STAGES = ("read", "compute", "write")


@dataclass(frozen=True)
class Job:
    """One scan to screen, and the folder of its outputs."""

    scan: Path
    folder: Path


@dataclass(frozen=True)
class Outcome:
    """How one scan ended.

    Attributes:
        scan: its path.
        folder: of its outputs.
        status: ``"done"``, ``"kept"`` (complete from an earlier run) or ``"failed"``.
        code, message: why it failed.
    """

    scan: Path
    folder: Path
    status: Literal["done", "kept", "failed"]
    code: str = ""
    message: str = ""


class Stages:
    """Reading, computing and writing of jobs, to be called one after the other, from any thread.

    What a stage gives is what the next one takes: a scan, a result, an outcome, or the outcome of
    a job that has ended already.

    Args:
        screener: resident model and parameters.
        overwrite: compute again what is complete.
    """

    def __init__(self, screener: Screener, overwrite: bool = False) -> None:
        self.screener = screener
        self.overwrite = overwrite

    def read(self, job: Job) -> Scan | Outcome:
        def work() -> Scan | Outcome:
            parameters = self.screener.parameters
            if not self.overwrite and is_unchanged(job, parameters):
                return Outcome(job.scan, job.folder, "kept")
            return load_scan(job.scan, nonfinite=self.screener.nonfinite)

        return attempt(job, work)

    def compute(self, job: Job, scan: Scan | Outcome) -> tuple[Scan, Result] | Outcome:
        if isinstance(scan, Outcome):
            return scan
        return attempt(job, lambda: (scan, self.screener.screen_scan(scan)))

    def write(self, job: Job, work: tuple[Scan, Result] | Outcome) -> Outcome:
        if isinstance(work, Outcome):
            return work

        def write() -> Outcome:
            save(*work, job.folder)
            return Outcome(job.scan, job.folder, "done")

        return attempt(job, write)


def attempt(job: Job, work: Callable[[], T]) -> T | Outcome:
    """``work()``, or the failure that it ended with."""
    try:
        return work()
    except DalFastError as error:
        return failed(job, error.code, error.message)
    except MemoryError:
        return failed(job, Code.OUT_OF_MEMORY, f"{job.scan} needs more memory")
    except Exception as error:
        return failed(job, Code.UNEXPECTED, f"{type(error).__name__}: {error}".splitlines()[0])


def failed(job: Job, code: str, message: str) -> Outcome:
    return Outcome(job.scan, job.folder, "failed", code, message)


def save(scan: Scan, result: Result, folder: Path) -> dict[str, Path]:
    """All outputs of one scan, and the picture that stands for it in the index."""
    from dal_fast.report.page import scan_pictures
    from dal_fast.report.png import encode

    page, thumbnail = scan_pictures(result)
    return write_result(result, scan.volume, page, encode(thumbnail), folder)


def up_to_date(scan: Scan, folder: Path, parameters: dict[str, Any]) -> bool:
    """Whether ``folder`` holds complete outputs of this very scan and mask, with these parameters.

    Told by the hashes of the files, wherever they lie now.
    """
    return _made_from(scan.volume.path, folder, parameters) == (
        scan.volume.sha256,
        scan.mask.sha256,
    )


def is_unchanged(job: Job, parameters: dict[str, Any]) -> bool:
    """Whether a job is complete, told from hashes of its files, without decoding the scan.

    Only for scans whose mask was not given by hand; false where the answer takes more than that.
    """
    made_from = _made_from(job.scan, job.folder, parameters)
    if made_from is None:
        return False
    mask = next(iter(find_brain_masks(job.scan)), None)
    return made_from == (_sha256(job.scan), _sha256(mask) if mask else None)


def _made_from(
    scan: Path, folder: Path, parameters: dict[str, Any]
) -> tuple[str | None, str | None] | None:
    """Hashes of the scan and mask that complete outputs with these parameters were made from."""
    old = read_sidecar(scan, folder)
    if (
        old is None
        or old.get("GeneratedBy") != {"Name": "dal_fast", "Version": dal_fast.__version__}
        or old.get("Requested") != json.loads(json.dumps(parameters))
        or not all((folder / name).is_file() for name in output_names(scan).values())
    ):
        return None
    source = old.get("Source")
    return (source.get("sha256"), source.get("mask_sha256")) if isinstance(source, dict) else None


def _sha256(path: Path) -> str:
    """Of a file's bytes; empty where they cannot be read."""
    if not path.is_file():  # a pipe would be waited for
        return ""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
