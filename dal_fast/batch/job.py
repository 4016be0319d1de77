"""One scan of many: the job, how it ended, and the three stages on the way.

Every job ends as done, kept (complete from an earlier run) or failed; none stops the others.
Nothing here imports torch before a scan is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from dal_fast.batch.outputs import write_result
from dal_fast.batch.resume import is_unchanged
from dal_fast.errors import Code, DalFastError
from dal_fast.screening.result import Result
from dal_fast.screening.scan import Head, Scan, load_scan_or_head

if TYPE_CHECKING:
    from dal_fast.batch.resident import AnyScreener

T = TypeVar("T")
STAGES = ("read", "compute", "write")
Task = Literal["screen", "strip", "dicom"]
"""What workers do with scans."""


@dataclass(frozen=True)
class Job:
    """One scan to screen, and the folder of its outputs."""

    scan: Path
    folder: Path


def jobs_of(source: Path, out: Path, scans: Sequence[Path]) -> list[Job]:
    """Jobs for the scans of a folder; ``out`` gets the same folders as ``source``.

    Paths are absolute, and links in them stay: where a scan lies says where its masks are.
    """
    return [
        Job(scan.absolute(), (out / scan.relative_to(source)).parent.absolute()) for scan in scans
    ]


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


class AnyStages(Protocol):
    """What a worker does with its jobs: :class:`Stages`, or those of another task."""

    @property
    def parameters(self) -> dict[str, Any]:
        """Everything that decides about the results, JSON-ready."""
        ...

    def read(self, job: Job) -> Any: ...

    def compute(self, job: Job, scan: Any) -> Any: ...

    def write(self, job: Job, work: Any) -> Outcome: ...


class Stages:
    """Reading, computing and writing of jobs, to be called one after the other, from any thread.

    What a stage gives is what the next one takes: a scan, a result, an outcome, or the outcome of
    a job that has ended already.

    Args:
        screener: resident model and parameters.
        overwrite: compute again what is complete.
    """

    def __init__(self, screener: AnyScreener, overwrite: bool = False) -> None:
        self.screener = screener
        self.overwrite = overwrite

    @property
    def parameters(self) -> dict[str, Any]:
        """Of the screener."""
        return self.screener.parameters

    def read(self, job: Job) -> Scan | Head | Outcome:
        def work() -> Scan | Head | Outcome:
            if not self.overwrite and is_unchanged(job.scan, job.folder, self.parameters):
                return Outcome(job.scan, job.folder, "kept")
            screener = self.screener
            return load_scan_or_head(job.scan, None, screener.nonfinite, screener.brain)

        return attempt(job, work)

    def compute(
        self, job: Job, scan: Scan | Head | Outcome
    ) -> tuple[Scan | Head, Result] | Outcome:
        if isinstance(scan, Outcome):
            return scan
        return attempt(job, lambda: (scan, self.screener.screen_scan(scan)))

    def write(self, job: Job, work: tuple[Scan | Head, Result] | Outcome) -> Outcome:
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
    except Exception as error:
        return failure(job, error)


def failure(job: Job, error: BaseException) -> Outcome:
    """The outcome of a job that ended with an exception."""
    if isinstance(error, DalFastError):
        return failed(job, error.code, error.message)
    if isinstance(error, MemoryError):
        return failed(job, Code.OUT_OF_MEMORY, f"{job.scan} needs more memory than there is")
    return failed(job, Code.UNEXPECTED, f"{type(error).__name__}: {error}".splitlines()[0])


def failed(job: Job, code: str, message: str) -> Outcome:
    """The outcome of a job that failed for a reason with a code."""
    return Outcome(job.scan, job.folder, "failed", code, message)


def save(scan: Scan | Head, result: Result, folder: Path) -> dict[str, Path]:
    """All outputs of one scan, and the picture that stands for it in the index."""
    from dal_fast.report.page import scan_pictures
    from dal_fast.report.png import encode

    page, thumbnail = scan_pictures(result)
    return write_result(result, scan.volume, page, encode(thumbnail), folder)
