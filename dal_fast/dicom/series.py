"""From frames to stacks: splitting a series, ordering by geometry, and the gate before reading.

A stack is a set of parallel planes at even distances, which one affine places exactly. Order and
distances come from positions alone, never from instance numbers, thicknesses or spacings that
a header states. What does not fit is refused with a code; nothing is interpolated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dal_fast.dicom.classes import MR_CLASSES
from dal_fast.dicom.files import DicomFile, StudyFiles
from dal_fast.dicom.frames import Frame, frames_of, header_value
from dal_fast.errors import Code, InputError
from dal_fast.imaging.header import LARGEST_SIDE, MOST_VOXELS, SMALLEST_SIDE
from dal_fast.imaging.orientation import Note, affine_fault

FEWEST_SLICES, SHORTEST_MM = 12, 100.0
"""Of a stack that may hold a brain; the extent counts along the normal, ends included."""
GAP_SHARE, GAP_MM = 0.01, 0.02
"""A gap may differ from the median gap by the larger of a share of it and a length."""
SAME_DIRECTION = 1e-3
"""Difference of direction cosines within one stack."""
SAME_PLACE_MM = 1e-3
"""Planes that are closer lie at the same place."""
SHEARED = 2e-3
"""Tangent of the angle between slice vector and normal, from which a stack counts as sheared."""

_TO_RAS = np.diag([-1.0, -1.0, 1.0])
_LISTED = 3  # positions in a message


@dataclass(frozen=True, eq=False)
class Stack:
    """Parallel planes at even distances.

    Attributes:
        frames: from the first to the last along the normal.
        affine: (4, 4), index (column, row, slice) to mm (RAS+).
        notes: what is odd about it.
    """

    frames: tuple[Frame, ...]
    affine: NDArray[np.float64]
    notes: tuple[Note, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows, slices."""
        rows, columns = self.frames[0].shape
        return columns, rows, len(self.frames)

    @property
    def voxel_mm(self) -> tuple[float, float, float]:
        """Along columns, rows and slices."""
        a, b, c = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(a), float(b), float(c)


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
        parts: its stacks, and what is none.
    """

    uid: str
    files: list[DicomFile] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)

    @property
    def header(self) -> Any:
        """Of its first file."""
        return self.files[0].header

    @property
    def number(self) -> int:
        """The series number, 0 where there is none."""
        value = header_value(self.header, "SeriesNumber")
        return int(value) if value is not None else 0

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
    large = [group for group in groups if len(group) >= FEWEST_SLICES]
    odd = [group for group in groups if len(group) == 1] if large else []
    notes = _odd_note(len(odd))
    parts = []
    for group in groups:
        if group in odd:
            continue
        try:
            stack = _stack(group, series, same, whole=len(groups) == 1)
        except InputError as error:
            parts.append(Part(tuple(group), None, error))
        else:
            with_notes = Stack(stack.frames, stack.affine, (*stack.notes, *notes))
            parts.append(Part(tuple(group), with_notes, None))
    return parts


def _odd_note(count: int) -> tuple[Note, ...]:
    if not count:
        return ()
    text = f"{count} slice{'s' * (count > 1)} of the series lie{'s' * (count == 1)} otherwise"
    return (
        Note("odd-slices", f"{text} than the rest, and {'were' if count > 1 else 'was'} left out"),
    )


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


def _split(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Frames that may form a stack; further attributes count only where positions repeat."""
    groups: list[list[Frame]] = []
    for frame in frames:
        for group in groups:
            if _belong_together(group[0], frame):
                group.append(frame)
                break
        else:
            groups.append([frame])
    split: list[list[Frame]] = []
    for group in groups:
        split += _separated(group)
    return split


def _belong_together(first: Frame, second: Frame) -> bool:
    exact = ("shape", "component", "inversion_times")
    if any(getattr(first, name) != getattr(second, name) for name in exact):
        return False
    if first.image_type[2:] != second.image_type[2:] or _echo(first) != _echo(second):
        return False
    for name in ("orientation", "spacing"):
        one, other = getattr(first, name), getattr(second, name)
        if (one is None) != (other is None):
            return False
        if one is not None and np.abs(one - other).max() > SAME_DIRECTION:
            return False
    return True


def _echo(frame: Frame) -> tuple[float | None, str]:
    time = frame.echo_time
    return None if time is None else round(time, 2), frame.text("EchoNumbers")


_SEPARATORS: tuple[Callable[[Frame], Any], ...] = (
    lambda frame: frame.text("AcquisitionNumber"),
    lambda frame: frame.text("TemporalPositionIdentifier") or frame.text("TemporalPositionIndex"),
    lambda frame: frame.b_value,
    lambda frame: frame.text("StackID"),
)
"""By what frames at the same places may be told apart."""


def _separated(group: list[Frame]) -> list[list[Frame]]:
    """The group, or parts of it in which no position repeats, where an attribute makes them."""
    if not _repeats(group):
        return [group]
    for key in _SEPARATORS:
        parts: dict[Any, list[Frame]] = {}
        for frame in group:
            parts.setdefault(key(frame), []).append(frame)
        if len(parts) > 1 and not any(_repeats(part) for part in parts.values()):
            return list(parts.values())
    return [group]


def _repeats(group: Sequence[Frame]) -> bool:
    places = [tuple(np.round(f.position, 3)) for f in group if f.position is not None]
    return len(set(places)) < len(places)


def _stack(
    group: Sequence[Frame],
    series: Series,
    same: Callable[[Frame, Frame], bool],
    whole: bool,
) -> Stack:
    """The stack of a group.

    Args:
        group: of frames.
        series: that they belong to.
        same: whether two frames hold equal pixels.
        whole: the group is all of the series, so that a stated count is its own.

    Raises:
        InputError: one of the ``dicom-…`` codes.
    """
    _check_frames(group, series)
    orientation = np.median([frame.orientation for frame in group], axis=0)
    normal = np.cross(*orientation)
    normal /= np.linalg.norm(normal)
    positions = np.array([frame.position for frame in group])
    order = np.argsort(positions @ normal, kind="stable")
    frames, positions = [group[i] for i in order], positions[order]
    frames, positions, repeated = _once(frames, positions, normal, series, same)
    _check_count(frames, series, whole)
    step = _even_step(positions, normal, series)
    spacing = np.median([frame.spacing for frame in frames], axis=0)
    affine = np.eye(4)
    affine[:3, 0] = _TO_RAS @ orientation[0] * spacing[1]
    affine[:3, 1] = _TO_RAS @ orientation[1] * spacing[0]
    affine[:3, 2] = _TO_RAS @ step
    affine[:3, 3] = _TO_RAS @ positions[0]
    _check_size(frames, affine, float(step @ normal), series)
    notes = [*repeated, *_shear(step, normal), *_order_doubts(frames)]
    return Stack(tuple(frames), affine, tuple(notes))


def _check_frames(group: Sequence[Frame], series: Series) -> None:
    """What every frame must say of itself."""
    first = group[0]
    if "MOSAIC" in first.image_type:
        raise InputError(
            Code.DICOM_MOSAIC, f"{series.title} is a mosaic: each image holds several slices"
        )
    if any(frame.text("BurnedInAnnotation").upper() == "YES" for frame in group):
        raise InputError(Code.DICOM_BURNED_IN, f"{series.title} has text burned into its pixels")
    if min(first.shape) < SMALLEST_SIDE:
        raise InputError(
            Code.TOO_SMALL, f"{series.title} has {first.shape[0]} rows × {first.shape[1]} columns"
        )
    for frame in group:
        lacks = [
            keyword
            for keyword, value in (
                ("ImagePositionPatient", frame.position),
                ("ImageOrientationPatient", frame.orientation),
                ("PixelSpacing", frame.spacing),
            )
            if value is None
        ]
        if lacks:
            raise InputError(
                Code.DICOM_NO_GEOMETRY,
                f"{series.title}: {frame.file.source.name} has no usable {' and '.join(lacks)}; "
                "export the original images",
            )
    if len({frame.text("FrameOfReferenceUID") for frame in group}) > 1:
        raise InputError(
            Code.DICOM_MIXED, f"{series.title} mixes frames of reference; export it again"
        )


def _once(
    frames: list[Frame],
    positions: NDArray[np.float64],
    normal: NDArray[np.float64],
    series: Series,
    same: Callable[[Frame, Frame], bool],
) -> tuple[list[Frame], NDArray[np.float64], list[Note]]:
    """Frames in order, each place once; what is left out must be equal."""
    along = positions @ normal
    kept = [0]
    for i in range(1, len(frames)):
        if along[i] - along[kept[-1]] > SAME_PLACE_MM:
            kept.append(i)
            continue
        apart = float(np.linalg.norm(positions[i] - positions[kept[-1]]))
        if apart > SAME_PLACE_MM or not same(frames[kept[-1]], frames[i]):
            raise InputError(
                Code.DICOM_REPEATED_POSITIONS,
                f"{series.title} holds different slices at {along[i]:.2f} mm along its normal, "
                "and nothing tells them apart",
            )
    left_out = len(frames) - len(kept)
    notes = []
    if left_out:
        verb = "slice was" if left_out == 1 else "slices were"
        notes = [Note("doubled-slices", f"{left_out} {verb} there twice with the same pixels")]
    return [frames[i] for i in kept], positions[kept], notes


def _check_count(frames: Sequence[Frame], series: Series, whole: bool) -> None:
    """Where the header says how many there should be, none may be missing."""
    stated = [frame.number("ImagesInAcquisition") or 0 for frame in frames]
    expected = int(max(stated)) if whole else 0
    if len(frames) < expected and len(set(stated)) == 1:
        raise InputError(
            Code.DICOM_MISSING_SLICES,
            f"{series.title} has {len(frames)} slices and its header says {expected}; export all",
        )
    parts = {
        (frame.text("ConcatenationUID"), int(frame.number("InConcatenationNumber") or 0))
        for frame in frames
        if frame.text("ConcatenationUID")
    }
    total = max((int(f.number("InConcatenationTotalNumber") or 0) for f in frames), default=0)
    if parts and len(parts) < total:
        raise InputError(
            Code.DICOM_MISSING_SLICES,
            f"{series.title} was sent in {total} parts, of which {len(parts)} are there",
        )


def _even_step(
    positions: NDArray[np.float64], normal: NDArray[np.float64], series: Series
) -> NDArray[np.float64]:
    """The vector from a slice to the next one.

    Raises:
        InputError: ``dicom-few-slices``, ``dicom-missing-slices`` or ``dicom-uneven``.
    """
    count = len(positions)
    if count < 2:
        raise InputError(Code.DICOM_FEW_SLICES, f"{series.title} has a single slice")
    along = positions @ normal
    gaps = np.diff(along)
    usual = float(np.median(gaps))
    tolerance = max(GAP_SHARE * usual, GAP_MM)
    wrong = np.flatnonzero(np.abs(gaps - usual) > tolerance)
    if len(wrong):
        several = np.round(gaps[wrong] / usual)
        whole = np.abs(gaps[wrong] - several * usual) <= tolerance * np.maximum(several, 1)
        if (whole & (several >= 2)).all():
            after = ", ".join(f"{along[i]:.2f} mm" for i in wrong[:_LISTED])
            raise InputError(
                Code.DICOM_MISSING_SLICES,
                f"{series.title} lacks {int(several.sum()) - len(wrong)} slices, behind the ones "
                f"at {after} along its normal; export all of it",
            )
        raise InputError(
            Code.DICOM_UNEVEN,
            f"{series.title} has slices {gaps.min():.3g} to {gaps.max():.3g} mm apart; only even "
            "stacks are read",
        )
    step: NDArray[np.float64] = (positions[-1] - positions[0]) / (count - 1)
    line = positions[0] + np.arange(count)[:, None] * step
    off = float(np.linalg.norm(positions - line, axis=1).max())
    if off > 2 * tolerance:
        raise InputError(
            Code.DICOM_UNEVEN,
            f"{series.title} has a slice that lies {off:.2g} mm beside the line of the others",
        )
    return step


def _check_size(
    frames: Sequence[Frame], affine: NDArray[np.float64], gap: float, series: Series
) -> None:
    """Not too short for a brain, not too large, and of plausible lengths."""
    count, (rows, columns) = len(frames), frames[0].shape
    if max(rows, columns, count) > LARGEST_SIDE or rows * columns * count > MOST_VOXELS:
        raise InputError(
            Code.DICOM_TOO_LARGE,
            f"{series.title} has {columns} × {rows} × {count} voxels; at most {LARGEST_SIDE} a "
            f"side and {MOST_VOXELS} in all are read",
        )
    if count < FEWEST_SLICES or count * gap < SHORTEST_MM - GAP_MM:
        raise InputError(
            Code.DICOM_FEW_SLICES,
            f"{series.title} has {count} slices over {count * gap:.0f} mm; a brain takes at least "
            f"{FEWEST_SLICES} and {SHORTEST_MM:.0f} mm",
        )
    fault = affine_fault(affine, series.title)
    if fault is not None:
        raise fault


def _shear(step: NDArray[np.float64], normal: NDArray[np.float64]) -> list[Note]:
    across = float(np.linalg.norm(step - (step @ normal) * normal)) / float(step @ normal)
    if across <= SHEARED:
        return []
    degrees = np.degrees(np.arctan(across))
    return [Note("sheared", f"the slices are shifted against each other by {degrees:.1f}°")]


def _order_doubts(frames: Sequence[Frame]) -> list[Note]:
    """Numbers that should follow the positions and do not: one of the two is wrong."""
    for keyword in ("SliceLocation", "InStackPositionNumber"):
        numbers = [frame.number(keyword) for frame in frames]
        if None in numbers:
            continue
        steps = np.diff(np.array(numbers, np.float64))
        if not ((steps >= 0).all() or (steps <= 0).all()):
            text = f"the header's {keyword} is in another order than the positions of the slices"
            return [Note("slice-order-uncertain", f"{text} (the positions were used)")]
    return []
