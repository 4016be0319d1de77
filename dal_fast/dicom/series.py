"""Series of a study, each split into frames that belong together and that pass the gate or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dal_fast.dicom.classes import MR_CLASSES
from dal_fast.dicom.files import DicomFile, StudyFiles
from dal_fast.dicom.frames import Frame, frames_of, header_value
from dal_fast.dicom.geometry import FEWEST_SLICES, Stack, make_stack
from dal_fast.errors import Code, InputError
from dal_fast.imaging.orientation import Note
from dal_fast.imaging.text import counted

SAME_DIRECTION = 1e-3
"""Difference of direction cosines, and of millimetres of pixel spacing, within one stack."""
SAME_ECHO_MS, SAME_INVERSION_MS = 0.02, 1.0
"""Differences of times within one stack."""


@dataclass(frozen=True, eq=False)
class Part:
    """Frames of a series that belong together, and what became of them.

    Attributes:
        frames: in no order.
        stack: of them, where they passed the gate.
        refusal: why not.
    """

    frames: tuple[Frame, ...]
    stack: Stack | None
    refusal: InputError | None


@dataclass(eq=False)
class Series:
    """All that bears one SeriesInstanceUID.

    Attributes:
        uid: of it.
        files: with an image.
        aside: how many images of another kind are left out, such as screenshots.
        parts: its stacks, and what is none.
    """

    uid: str
    files: list[DicomFile] = field(default_factory=list)
    aside: int = 0
    parts: list[Part] = field(default_factory=list)

    @property
    def header(self) -> Any:
        """Of its first file."""
        return self.files[0].header

    @property
    def number(self) -> int:
        """The series number, 0 where there is none."""
        value = header_value(self.header, "SeriesNumber")
        return int(value) if isinstance(value, (int, float)) else 0

    @property
    def title(self) -> str:
        """Its number in words, for messages."""
        return f"series {self.number}" if self.number else "a series without a number"

    @property
    def study_uid(self) -> str:
        """Of the study that it belongs to; empty where its header does not say."""
        return str(header_value(self.header, "StudyInstanceUID") or "")


def find_series(found: StudyFiles, same: Callable[[Frame, Frame], bool]) -> list[Series]:
    """Series of a study by number, each split into parts that passed the gate or were refused.

    Args:
        found: the study's files.
        same: whether two frames hold equal pixels; asked of doubles only.
    """
    by_uid: dict[str, Series] = {}
    for file in found.images:
        uid = str(file.header.SeriesInstanceUID)
        by_uid.setdefault(uid, Series(uid)).files.append(file)
    series = sorted(by_uid.values(), key=lambda one: (one.study_uid, one.number, one.uid))
    for one in series:
        images = [file for file in one.files if str(file.header.SOPClassUID) in MR_CLASSES]
        if images:
            one.files, one.aside = images, len(one.files) - len(images)
        one.parts = list(_parts(one, same))
    return series


def _parts(series: Series, same: Callable[[Frame, Frame], bool]) -> list[Part]:
    frames: list[Frame] = []
    try:
        _check_identity(series)
        for file in series.files:
            frames += frames_of(file)
        frames = _without_doubles(frames, series, same)
    except InputError as error:
        return [Part(tuple(frames), None, error)]
    except Exception as error:  # functional groups of any damaged shape
        reason = error if isinstance(error, ValueError) else type(error).__name__
        damaged = InputError(
            Code.DICOM_DAMAGED, f"{series.title}: its frames cannot be told apart: {reason}"
        )
        return [Part(tuple(frames), None, damaged)]
    groups = _split(frames)
    large = [group for group, _ in groups if len(group) >= FEWEST_SLICES]
    odd = [group for group, _ in groups if len(group) == 1] if large else []
    notes = (*_odd_note(len(odd)), *_aside_note(series.aside))
    parts = []
    for group, own in groups:
        if group in odd:
            continue
        try:
            stack = make_stack(group, series.title, same, whole=len(groups) == 1)
        except InputError as error:
            parts.append(Part(tuple(group), None, error))
        else:
            with_notes = Stack(stack.frames, stack.affine, (*stack.notes, *own, *notes))
            parts.append(Part(tuple(group), with_notes, None))
    return parts


def _odd_note(count: int) -> tuple[Note, ...]:
    if not count:
        return ()
    text = f"{counted(count, 'slice')} of the series lie{'s' * (count == 1)} otherwise"
    return (
        Note("odd-slices", f"{text} than the rest, and {'were' if count > 1 else 'was'} left out"),
    )


def _aside_note(count: int) -> tuple[Note, ...]:
    if not count:
        return ()
    what = "image of the series is no MR image" if count == 1 else "images are no MR images"
    return (Note("odd-slices", f"{count} {what}, and left out"),)


def _check_identity(series: Series) -> None:
    """One patient, one study, one class that is read."""
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName"):
        values = {str(header_value(file.header, keyword) or "").strip() for file in series.files}
        if len(values) > 1:
            what = "studies" if keyword == "StudyInstanceUID" else "patients"
            raise InputError(
                Code.DICOM_MIXED,
                f"{series.title} holds images of {len(values)} {what} under one series UID; "
                "export it again from the PACS",
            )
    header = series.header
    kinds = {str(file.header.SOPClassUID) for file in series.files}
    modality = str(header_value(header, "Modality") or "")
    if not kinds <= set(MR_CLASSES) or modality not in ("MR", ""):
        raise InputError(
            Code.DICOM_NOT_MR, f"{series.title} is no MR image series (modality {modality!r})"
        )
    for file in series.files:
        sizes = [header_value(file.header, keyword) for keyword in ("Rows", "Columns")]
        if not all(isinstance(size, int) and size > 0 for size in sizes):
            raise InputError(
                Code.DICOM_DAMAGED,
                f"{series.title}: {file.source.name} ends before it says how many pixels it has; "
                "export it again",
            )


def _without_doubles(
    frames: list[Frame], series: Series, same: Callable[[Frame, Frame], bool]
) -> list[Frame]:
    """Each frame once; copies of an instance must agree."""
    kept: dict[tuple[str, int], Frame] = {}
    for frame in frames:
        first = kept.setdefault((frame.sop_uid, frame.index), frame)
        if first is not frame and not (_geometry(first) == _geometry(frame) and same(first, frame)):
            raise InputError(
                Code.DICOM_CONFLICT,
                f"{series.title} holds two different images with one instance UID "
                f"({first.file.source.name} and {frame.file.source.name}); export it again",
            )
    return list(kept.values())


def _geometry(frame: Frame) -> tuple[Any, ...]:
    arrays = (frame.position, frame.orientation, frame.spacing)
    return (frame.shape, *(None if a is None else tuple(a.ravel()) for a in arrays))


def _split(frames: Sequence[Frame]) -> list[tuple[list[Frame], tuple[Note, ...]]]:
    """Frames that may form a stack; further attributes count only where positions repeat."""
    groups: list[list[Frame]] = []
    for frame in frames:
        for group in groups:
            if _belong_together(group[0], frame):
                group.append(frame)
                break
        else:
            groups.append([frame])
    split: list[tuple[list[Frame], tuple[Note, ...]]] = []
    for group in groups:
        parts, notes = _separated(group)
        split += [(part, notes) for part in parts]
    return split


def _belong_together(first: Frame, second: Frame) -> bool:
    if (first.shape, first.component) != (second.shape, second.component):
        return False
    if first.image_type[2:] != second.image_type[2:] or not _same_times(first, second):
        return False
    for name in ("orientation", "spacing"):
        one, other = getattr(first, name), getattr(second, name)
        if (one is None) != (other is None):
            return False
        if one is not None and np.abs(one - other).max() > SAME_DIRECTION:
            return False
    return True


def _same_times(first: Frame, second: Frame) -> bool:
    """Echo and inversion times, to within what scanners round them differently by slice."""
    if first.text("EchoNumbers") != second.text("EchoNumbers"):
        return False
    times = [(f.echo_time, *f.inversion_times) for f in (first, second)]
    if len(times[0]) != len(times[1]) or (times[0][0] is None) != (times[1][0] is None):
        return False
    limits = (SAME_ECHO_MS, *(SAME_INVERSION_MS for _ in times[0][1:]))
    pairs = zip(*times, limits, strict=True)
    return all(a is None or b is None or abs(a - b) <= limit for a, b, limit in pairs)


_SEPARATORS: tuple[Callable[[Frame], Any], ...] = (
    lambda frame: frame.text("AcquisitionNumber"),
    lambda frame: frame.text("TemporalPositionIdentifier") or frame.text("TemporalPositionIndex"),
    lambda frame: frame.b_value,
    lambda frame: frame.text("StackID"),
    lambda frame: frame.text("TriggerTime"),
)
"""By what frames at the same places may be told apart."""


def _separated(group: list[Frame]) -> tuple[list[list[Frame]], tuple[Note, ...]]:
    """The group, or parts of it in which no position repeats, where an attribute makes them."""
    if not _repeats(group):
        return [group], ()
    for key in _SEPARATORS:
        parts: dict[Any, list[Frame]] = {}
        for frame in group:
            parts.setdefault(key(frame), []).append(frame)
        if len(parts) > 1 and not any(_repeats(part) for part in parts.values()):
            return list(parts.values()), ()
    volumes = _by_number(group)
    if not volumes:
        return [group], ()
    text = f"its {len(volumes)} volumes were told apart by the numbers of their slices alone"
    return volumes, (Note("volumes-by-number", text),)


def _by_number(group: list[Frame]) -> list[list[Frame]]:
    """Volumes one after the other, where instance numbers are unique and make whole ones."""
    numbers = [frame.number("InstanceNumber") for frame in group]
    places = len({tuple(np.round(f.position, 3)) for f in group if f.position is not None})
    if None in numbers or len(set(numbers)) < len(group) or len(group) % max(places, 1):
        return []
    ordered = sorted(group, key=lambda frame: frame.number("InstanceNumber") or 0)
    parts = [ordered[n : n + places] for n in range(0, len(group), places)]
    return [] if any(_repeats(part) for part in parts) else parts


def _repeats(group: Sequence[Frame]) -> bool:
    places = [tuple(np.round(f.position, 3)) for f in group if f.position is not None]
    return len(set(places)) < len(places)
