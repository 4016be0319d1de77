"""Reading, screening and writing of the series of studies, as a worker or the command does it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dal_fast.batch.job import Job, Outcome, attempt
from dal_fast.dicom import quiet
from dal_fast.dicom.files import HEADER, DicomFile, Source, StudyFiles, read_dataset
from dal_fast.dicom.names import Names
from dal_fast.dicom.outputs import DEFAULT_KINDS, KINDS, is_complete, make_objects, write_finding
from dal_fast.dicom.pixels import read_stack, same_pixels
from dal_fast.dicom.select import Verdict
from dal_fast.dicom.series import find_series
from dal_fast.errors import Code, InputError
from dal_fast.imaging.orientation import Note
from dal_fast.screening.result import Flag, Result
from dal_fast.screening.scan import Head, Scan, scan_or_head

if TYPE_CHECKING:
    from dal_fast.batch.resident import AnyScreener

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """A chosen series as text, for another process.

    Attributes:
        files: path and archive member of each.
        first: UID and frame number of the first slice of its stack.
        contrast, rule, reason: of its verdict.
        notes: code and message of each.
        hidden: names that no message shows.
        suffix: of its name.
    """

    files: list[list[str]]
    first: list[Any]
    contrast: str | None
    rule: str
    reason: str
    notes: list[list[str]]
    hidden: list[str]
    suffix: str = ""

    @classmethod
    def of(cls, verdict: Verdict, names: Names) -> Plan:
        """The plan of a chosen series."""
        first = verdict.stack.frames[0]
        return cls(
            [[str(f.source.path), f.source.member] for f in verdict.series.files],
            [first.sop_uid, first.index],
            verdict.contrast,
            verdict.rule,
            verdict.reason,
            [[note.code, note.message] for note in verdict.notes],
            list(names.words),
            verdict.suffix,
        )

    def verdict(self) -> Verdict:
        """The series, its headers read again.

        Raises:
            InputError: ``dicom-damaged`` where it has changed since, and what reading refuses.
        """
        found = StudyFiles()
        with quiet():
            for path, member in self.files:
                source = Source(Path(path), member)
                found.images.append(DicomFile(read_dataset(source, list(HEADER), False), source))
            for series in find_series(found, same_pixels):
                for part in series.parts:
                    stack = part.stack
                    if stack and [stack.frames[0].sop_uid, stack.frames[0].index] == self.first:
                        notes = tuple(Note(code, message) for code, message in self.notes)
                        return Verdict(
                            series, part, None, self.contrast, self.rule, self.reason, True, notes,
                            self.suffix,
                        )  # fmt: skip
        raise InputError(Code.DICOM_DAMAGED, "the series has changed while it was waiting")


@dataclass(frozen=True, eq=False)
class Ready:
    """A series that was read."""

    verdict: Verdict
    scan: Scan | Head
    instances: str


class DicomStages:
    """As :class:`dal_fast.batch.job.Stages`, for series of DICOM studies.

    Args:
        screener: resident model and parameters.
        verdict_of: the chosen series of a job.
        names_of: what no text about a job may show.
        objects: kinds of objects to write, of :data:`dal_fast.dicom.outputs.KINDS`.
        label_map: write the segmentation as a label map.
        overwrite: compute again what is complete.

    Raises:
        InputError: ``value`` for an unknown kind of object.
    """

    def __init__(
        self,
        screener: AnyScreener,
        verdict_of: Callable[[Job], Verdict],
        names_of: Callable[[Job], Names],
        objects: Sequence[str] = DEFAULT_KINDS,
        label_map: bool = False,
        overwrite: bool = False,
    ) -> None:
        self.screener, self.overwrite = screener, overwrite
        self.objects, self.label_map = check_kinds(objects), label_map
        self._verdict_of, self._names_of = verdict_of, names_of

    @property
    def parameters(self) -> dict[str, Any]:
        """Of the screener and the objects."""
        own = {"objects": list(self.objects), "label_map": self.label_map}
        return {**self.screener.parameters, **own}

    def read(self, job: Job) -> Ready | Outcome:
        def work() -> Ready | Outcome:
            verdict = self._verdict_of(job)
            instances = instances_of(verdict)
            if not self.overwrite and is_complete(verdict, instances, job.folder, self.parameters):
                return Outcome(job.scan, job.folder, "kept")
            volume = read_stack(verdict.stack, job.scan)
            notes = dict.fromkeys((*verdict.notes, *volume.notes))
            title = f"{verdict.series.title} of {job.scan.parent.parent}"
            volume = replace(volume, notes=tuple(notes), title=title)
            scan = scan_or_head(volume, verdict.name, None, self.screener.brain, {})
            return Ready(verdict, scan, instances)

        return self._attempt(job, work)

    def compute(self, job: Job, ready: Ready | Outcome) -> tuple[Ready, Result] | Outcome:
        if isinstance(ready, Outcome):
            return ready

        def work() -> tuple[Ready, Result]:
            scan, verdict = ready.scan, ready.verdict
            result = self.screener.screen_scan(replace(scan, contrast=verdict.contrast))
            source = {
                "path": f"DICOM series {verdict.series.uid}",
                "sha256": scan.volume.sha256,
                "mask": result.source["mask"],
            }
            return ready, replace(result, source=source, requested=self.parameters)

        return self._attempt(job, work)

    def write(self, job: Job, work: tuple[Ready, Result] | Outcome) -> Outcome:
        if isinstance(work, Outcome):
            return work

        def write() -> Outcome:
            self.save(*work, job.folder, self._names_of(job))
            return Outcome(job.scan, job.folder, "done")

        return self._attempt(job, write)

    def save(self, ready: Ready, result: Result, folder: Path, names: Names) -> dict[str, Path]:
        """Write everything of a screened series; paths by what they are.

        Raises:
            OutputError: ``output-unwritable``, ``disk-full``.
        """
        from dal_fast.dicom.objects import Finding
        from dal_fast.report.page import scan_pictures
        from dal_fast.report.png import encode

        flags = [Flag(flag.code, names.hide(flag.message)) for flag in result.flags]
        result = replace(result, flags=flags)
        finding = Finding(ready.verdict, result, ready.scan.volume.sha256)
        objects = make_objects(finding, self.objects, self.label_map)
        page, thumbnail = scan_pictures(result)
        picture = encode(thumbnail)
        return write_finding(finding, objects, page, picture, folder, ready.instances, names)

    def _attempt(self, job: Job, work: Callable[[], T]) -> T | Outcome:
        """``work()``, or the failure that it ended with, without names."""
        ended = attempt(job, work)
        if isinstance(ended, Outcome):
            return replace(ended, message=self._names_of(job).hide(ended.message))
        return ended


def check_kinds(objects: Sequence[str]) -> tuple[str, ...]:
    """Kinds of objects in the order in which they are written.

    Raises:
        InputError: ``value`` for one that does not exist, or for none at all.
    """
    unknown = [kind for kind in objects if kind not in KINDS]
    if unknown or not objects:
        named = f", not {', '.join(unknown)}" if unknown else ""
        raise InputError(Code.VALUE, f"objects are some of {', '.join(KINDS)}{named}")
    return tuple(kind for kind in KINDS if kind in objects)


def instances_of(verdict: Verdict) -> str:
    """A hash of which instances a stack is made of and where they lie, not of their pixels."""
    stack = verdict.stack
    digest = hashlib.sha256(stack.affine.tobytes())
    for frame in stack.frames:
        digest.update(f"{frame.sop_uid}/{frame.index} ".encode())
    return digest.hexdigest()
