"""The gate between frames and voxels: parallel planes at even distances, or a refusal with a code.

Order and distances come from positions alone, never from instance numbers, thicknesses or spacings
that a header states. Nothing is interpolated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dal_fast.dicom.frames import Frame
from dal_fast.errors import Code, InputError
from dal_fast.imaging.header import LARGEST_SIDE, MOST_VOXELS, SMALLEST_SIDE
from dal_fast.imaging.orientation import Note, affine_fault
from dal_fast.imaging.text import counted

FEWEST_SLICES, SHORTEST_MM = 12, 100.0
"""Of a stack that may hold a brain; the extent counts along the normal, ends included."""
GAP_SHARE, GAP_MM = 0.01, 0.02
"""A gap may differ from the median gap by the larger of a share of it and a length."""
ROUNDED_MM = 0.1
"""Slices no farther from even places are put there, with a flag: their positions were rounded."""
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


def make_stack(
    group: Sequence[Frame],
    title: str,
    same: Callable[[Frame, Frame], bool],
    whole: bool,
) -> Stack:
    """The stack of a group.

    Args:
        group: of frames.
        title: of their series, for messages.
        same: whether two frames hold equal pixels.
        whole: the group is all of the series, so that a stated count is its own.

    Raises:
        InputError: one of the ``dicom-…`` codes.
    """
    _check_frames(group, title)
    orientation = _orthonormal(np.median([frame.orientation for frame in group], axis=0))
    normal = np.cross(*orientation)
    positions = np.array([frame.position for frame in group])
    order = np.argsort(positions @ normal, kind="stable")
    frames, positions = [group[i] for i in order], positions[order]
    frames, positions, repeated = _once(frames, positions, normal, title, same)
    _check_count(frames, title, whole)
    first, step, rounded = _even_step(positions, normal, title)
    spacing = np.median([frame.spacing for frame in frames], axis=0)
    affine = np.eye(4)
    affine[:3, 0] = _TO_RAS @ orientation[0] * spacing[1]
    affine[:3, 1] = _TO_RAS @ orientation[1] * spacing[0]
    affine[:3, 2] = _TO_RAS @ step
    affine[:3, 3] = _TO_RAS @ first
    _check_size(frames, affine, float(step @ normal), title)
    notes = [
        *repeated,
        *rounded,
        *_shear(step, normal),
        *_order_doubts(frames),
        *_references(frames),
    ]
    return Stack(tuple(frames), affine, tuple(notes))


def _orthonormal(axes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Row and column directions (2, 3) of unit length at a right angle, as decimals were cut."""
    left, _, right = np.linalg.svd(axes, full_matrices=False)
    nearest: NDArray[np.float64] = left @ right
    return nearest


def _check_frames(group: Sequence[Frame], title: str) -> None:
    """What every frame must say of itself."""
    first = group[0]
    if "MOSAIC" in first.image_type:
        raise InputError(Code.DICOM_MOSAIC, f"{title} is a mosaic: each image holds several slices")
    if any(frame.text("BurnedInAnnotation").upper() == "YES" for frame in group):
        raise InputError(Code.DICOM_BURNED_IN, f"{title} has text burned into its pixels")
    if min(first.shape) < SMALLEST_SIDE:
        raise InputError(
            Code.TOO_SMALL, f"{title} has {first.shape[0]} rows × {first.shape[1]} columns"
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
                f"{title}: {frame.file.source.name} has no usable {' and '.join(lacks)}; "
                "export the original images",
            )
    references = len({frame.text("FrameOfReferenceUID") for frame in group})
    if 1 < references < len(group) or (references > 1 and len(group) < FEWEST_SLICES):
        raise InputError(Code.DICOM_MIXED, f"{title} mixes frames of reference; export it again")


def _once(
    frames: list[Frame],
    positions: NDArray[np.float64],
    normal: NDArray[np.float64],
    title: str,
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
                f"{title} holds different slices at {along[i]:.2f} mm along its normal, "
                "and nothing tells them apart",
            )
    left_out = len(frames) - len(kept)
    notes = []
    if left_out:
        verb = "slice was" if left_out == 1 else "slices were"
        notes = [Note("doubled-slices", f"{left_out} {verb} there twice with the same pixels")]
    return [frames[i] for i in kept], positions[kept], notes


def _check_count(frames: Sequence[Frame], title: str, whole: bool) -> None:
    """Where the header says how many there should be, none may be missing."""
    stated = [frame.number("ImagesInAcquisition") or 0 for frame in frames]
    expected = int(max(stated)) if whole else 0
    if len(frames) < expected and len(set(stated)) == 1:
        raise InputError(
            Code.DICOM_MISSING_SLICES,
            f"{title} has {counted(len(frames), 'slice')} and its header says {expected}; export "
            "all of it",
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
            f"{title} was sent in {total} parts, of which {len(parts)} "
            f"{'is' if len(parts) == 1 else 'are'} there; export all of it",
        )


def _even_step(
    positions: NDArray[np.float64], normal: NDArray[np.float64], title: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[Note]]:
    """Where the first slice lies, and the vector from a slice to the next one.

    Raises:
        InputError: ``dicom-few-slices``, ``dicom-missing-slices`` or ``dicom-uneven``.
    """
    count = len(positions)
    if count < 2:
        raise InputError(Code.DICOM_FEW_SLICES, f"{title} has a single slice")
    gaps = np.diff(positions @ normal)
    usual = float(np.median(gaps))
    tolerance = max(GAP_SHARE * usual, GAP_MM)
    step: NDArray[np.float64] = (positions[-1] - positions[0]) / (count - 1)
    even = (np.abs(gaps - usual) <= tolerance).all()
    if even and _off(positions, positions[0], step) <= 2 * tolerance:
        return positions[0], step, []
    if count > 2:
        slopes, first = np.polyfit(np.arange(count), positions, 1)
        off = _off(positions, first, slopes)
        if off <= min(ROUNDED_MM, 0.2 * usual):
            text = f"slices lie up to {off:.2g} mm beside even places, which were used"
            return first, slopes, [Note("rounded-positions", text)]
    _refuse_uneven(positions, normal, title, tolerance)
    raise InputError(
        Code.DICOM_UNEVEN,
        f"{title} has a slice that lies {_off(positions, positions[0], step):.2g} mm beside the "
        "line of the others",
    )


def _off(
    positions: NDArray[np.float64], first: NDArray[np.float64], step: NDArray[np.float64]
) -> float:
    """Farthest distance from even places, mm."""
    line = first + np.arange(len(positions))[:, None] * step
    return float(np.linalg.norm(positions - line, axis=1).max())


def _refuse_uneven(
    positions: NDArray[np.float64], normal: NDArray[np.float64], title: str, tolerance: float
) -> None:
    """Say what is wrong with the distances along the normal, if they are wrong."""
    along = positions @ normal
    gaps = np.diff(along)
    usual = float(np.median(gaps))
    wrong = np.flatnonzero(np.abs(gaps - usual) > tolerance)
    if not len(wrong):
        return
    several = np.round(gaps[wrong] / usual)
    whole = np.abs(gaps[wrong] - several * usual) <= tolerance * np.maximum(several, 1)
    if (whole & (several >= 2)).all():
        after = ", ".join(f"{along[i]:.2f} mm" for i in wrong[:_LISTED])
        lacking = int(several.sum()) - len(wrong)
        raise InputError(
            Code.DICOM_MISSING_SLICES,
            f"{title} lacks {counted(lacking, 'slice')}, behind the "
            f"one{'s' * (len(wrong) > 1)} at {after} along its normal; export all of it",
        )
    raise InputError(
        Code.DICOM_UNEVEN,
        f"{title} has slices {gaps.min():.3g} to {gaps.max():.3g} mm apart; only even "
        "stacks are read",
    )


def _check_size(
    frames: Sequence[Frame], affine: NDArray[np.float64], gap: float, title: str
) -> None:
    """Not too short for a brain, not too large, and of plausible lengths."""
    count, (rows, columns) = len(frames), frames[0].shape
    if max(rows, columns, count) > LARGEST_SIDE or rows * columns * count > MOST_VOXELS:
        raise InputError(
            Code.DICOM_TOO_LARGE,
            f"{title} has {columns} × {rows} × {count} voxels; at most {LARGEST_SIDE} a "
            f"side and {MOST_VOXELS} in all are read",
        )
    if count < FEWEST_SLICES or count * gap < SHORTEST_MM - GAP_MM:
        raise InputError(
            Code.DICOM_FEW_SLICES,
            f"{title} has {counted(count, 'slice')} over {count * gap:.0f} mm; a brain takes at "
            f"least {FEWEST_SLICES} and {SHORTEST_MM:.0f} mm",
        )
    fault = affine_fault(affine, title)
    if fault is not None:
        raise fault


def _shear(step: NDArray[np.float64], normal: NDArray[np.float64]) -> list[Note]:
    across = float(np.linalg.norm(step - (step @ normal) * normal)) / float(step @ normal)
    if across <= SHEARED:
        return []
    degrees = np.degrees(np.arctan(across))
    return [Note("sheared", f"the slices are shifted against each other by {degrees:.1f}°")]


def _references(frames: Sequence[Frame]) -> list[Note]:
    """Whether each slice names a frame of reference of its own, as after some anonymisers."""
    if len({frame.text("FrameOfReferenceUID") for frame in frames}) == 1:
        return []
    text = "every slice names another frame of reference, as after anonymisation; all were taken"
    return [Note("reference-replaced", f"{text} to be one")]


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
