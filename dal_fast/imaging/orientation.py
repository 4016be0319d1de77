"""Where a scan's voxels lie in the patient, and what its header leaves in doubt.

A NIfTI header can hold two affines, the sform and the qform, each with a code that says what its
coordinates mean; 0 means that it is not set. The sform is used where it is set, then the qform,
then the voxel sizes alone, as nibabel does. Readers differ in what they make of a header that sets
neither (nibabel and SPM take it for LAS, ITK for LPS), so that left and right cannot be known then.
Such doubts do not stop a screening; they are noted, and become quality flags.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dal_fast.errors import Code, InputError

FINEST_MM, COARSEST_MM = 0.05, 20.0
"""Voxel sizes outside this range are refused."""
FARTHEST_MM = 1e6
"""Distances of the first voxel from the origin up to this are read; float32 holds 0.06 mm there."""
SIDE_UNKNOWN = "orientation-unknown"
"""The note on every header in which left and right cannot be known."""
POSITION_UNCERTAIN = "position-uncertain"
"""The note on headers whose two affines name the same sides and different places."""
SIZE_UNCERTAIN = "voxel-size-uncertain"
"""The note on headers whose sform and ``pixdim`` name different voxel sizes."""
SHEARED = "sheared"
"""The note on headers whose axes are not at right angles, which no scanner's are."""
SFORM_UNUSABLE = "sform-unusable"
"""The note on headers whose qform had to stand in for a broken sform."""

Affine = NDArray[np.float64]

_LAST_CODE = 5  # NIFTI_XFORM_TEMPLATE_OTHER
_QUATERNION_EXCESS = 0.01  # by which b² + c² + d² may exceed 1: rounding of a text or of a float
_MOST_SHEAR = 1.0  # degrees; affines that were registered and stored are a little off
_ANOTHER_AXIS = 45.0  # degrees from which two affines disagree about which side is left
_SAME_PLACE_DEGREES, _SAME_PLACE_MM = 10.0, 20.0
_OTHER_UNITS = {1: "metres", 3: "micrometres"}
_SAME_SIZE = 0.25  # share by which the voxel sizes of sform and pixdim may differ
_DEFAULTS = ((1, 1, 1), (-1, -1, 1))  # signs of the diagonals that numpy and ITK users get unasked


@dataclass(frozen=True)
class Note:
    """A doubt about a file that can be read.

    Attributes:
        code: short, in kebab-case.
        message: one sentence.
    """

    code: str
    message: str


def read_affine(raw: Any, shape: tuple[int, int, int], name: str) -> tuple[Affine, list[Note]]:
    """The affine of a header, and what is doubtful about it.

    What would keep other programs from reading a map that is written with this header is repaired
    in it: a quaternion that is a little too long, ``pixdim[0]``, and the code of a broken sform.

    Args:
        raw: nibabel's header object, repaired in place.
        shape: (I, J, K) voxels.
        name: of the file, for messages.

    Returns:
        (4, 4) float64 from voxel index to world millimetres (RAS+), and notes.

    Raises:
        InputError: ``affine-invalid``, ``affine-nonfinite``, ``affine-singular`` or ``voxel-size``.
    """
    sform_code, qform_code = int(raw["sform_code"]), int(raw["qform_code"])
    if sform_code > 0:
        sform = np.asarray(raw.get_sform(), np.float64)
        fault = affine_fault(sform, name)
        if fault is None:
            notes = _doubts(raw, sform, shape)
            return sform, notes
        if qform_code <= 0:
            raise fault
        qform = _usable(_qform(raw, name), name)
        why = "all zero" if not sform[:3, :3].any() else "not usable"
        doubts = [*_default_doubts(qform), *_pixdim_doubts(raw, qform)]
        _repair_qform(raw)
        raw["sform_code"] = 0
        note = Note(SFORM_UNUSABLE, f"the header's sform is {why}; its qform was used instead")
        return qform, [note, *doubts]
    if qform_code > 0:
        qform = _usable(_qform(raw, name), name)
        doubts = [*_code_doubts(raw), *_default_doubts(qform), *_pixdim_doubts(raw, qform)]
        _repair_qform(raw)
        return qform, doubts
    neither = Note(
        SIDE_UNKNOWN,
        "the header does not say how the patient lay (its sform and qform codes are 0); "
        "left and right may be swapped",
    )
    affine = _usable(_without_orientation(shape, _sizes(raw)), name)
    sizes = [note for note in _pixdim_doubts(raw, affine) if note.code == SIZE_UNCERTAIN]
    return affine, [neither, *sizes]


def affine_fault(affine: Affine, name: str) -> InputError | None:
    """Why an affine cannot be used: not finite, not invertible, or implausible lengths."""
    if not np.isfinite(affine).all():
        return InputError(
            Code.AFFINE_NONFINITE,
            f"{name} has NaN or infinity in its affine; copy the header of the original scan to it",
        )
    axes = affine[:3, :3]
    sizes = np.linalg.norm(axes, axis=0)
    if sizes.min() == 0 or abs(np.linalg.det(axes / sizes)) < 1e-3:
        return InputError(
            Code.AFFINE_SINGULAR,
            f"{name} has an affine that cannot be inverted, {axes.tolist()}; copy the header of "
            "the original scan to it",
        )
    if sizes.min() < FINEST_MM or sizes.max() > COARSEST_MM:
        shown = " × ".join(f"{size:.3g}" for size in sizes)
        return InputError(
            Code.VOXEL_SIZE,
            f"{name} has voxels of {shown} mm, outside {FINEST_MM} to {COARSEST_MM:g} mm; "
            "if its affine is in another unit, write it in millimetres",
        )
    farthest = float(np.abs(affine[:3, 3]).max())
    if farthest > FARTHEST_MM:
        return InputError(
            Code.AFFINE_INVALID,
            f"{name} puts its first voxel {farthest:.3g} mm from the origin; copy the header of "
            "the original scan to it",
        )
    return None


def voxel_ml(affine: Affine) -> float:
    """Millilitres of a voxel, by its affine in millimetres."""
    return float(abs(np.linalg.det(affine[:3, :3]))) / 1000


def position_in_words(place: Sequence[float], side_known: bool = True) -> str:
    """A point in words, such as ``28 mm left, 0 mm anterior, 19 mm superior``.

    Args:
        place: world coordinates in mm (RAS+).
        side_known: whether the header says which side is left.
    """
    words = []
    for value, (minus, plus) in zip(
        place, (("left", "right"), ("posterior", "anterior"), ("inferior", "superior")), strict=True
    ):
        distance = round(float(value))
        words.append(f"{abs(distance)} mm {minus if distance < 0 else plus}")
        if plus == "right" and (not side_known or distance == 0):
            words[-1] = f"{abs(distance)} mm left or right"
    return ", ".join(words)


def _usable(affine: Affine, name: str) -> Affine:
    fault = affine_fault(affine, name)
    if fault is not None:
        raise fault
    return affine


def _qform(raw: Any, name: str) -> Affine:
    """The affine of the quaternion, as the NIfTI library reads it.

    A quaternion that rounding made a little longer than 1 is shortened; a ``pixdim[0]`` below 0
    counts as -1, any other as 1.
    """
    vector = _vector(raw)
    with np.errstate(all="ignore"):
        if vector @ vector - 1 > _QUATERNION_EXCESS:
            shown = ", ".join(f"{value:.4g}" for value in vector)
            raise InputError(
                Code.AFFINE_INVALID,
                f"{name} has no usable orientation: its quaternion ({shown}) is no rotation; copy "
                "the header of the original scan to it",
            )
        header = raw.copy()
        _repair_qform(header)
        return np.asarray(header.get_qform(), np.float64)


def _vector(raw: Any) -> Affine:
    return np.array([raw["quatern_b"], raw["quatern_c"], raw["quatern_d"]], np.float64)


def _sizes(raw: Any) -> Affine:
    """Voxel sizes in mm; a size of 0 counts as 1, as other readers take it."""
    sizes = np.abs(np.asarray(raw["pixdim"][1:4], np.float64))
    return np.where(sizes == 0, 1.0, sizes)


def _repair_qform(header: Any) -> None:
    """``pixdim[0]`` becomes 1 or -1, sizes positive, and a quaternion longer than 1 becomes 1."""
    if header["pixdim"][0] not in (-1, 1):
        header["pixdim"][0] = -1 if header["pixdim"][0] < 0 else 1
    if not (header["pixdim"][1:4] > 0).all():
        header["pixdim"][1:4] = _sizes(header)
    vector = _vector(header)
    length = float(np.linalg.norm(vector))
    if length**2 - 1 > header.quaternion_threshold:
        header["quatern_b"], header["quatern_c"], header["quatern_d"] = vector / length


def _without_orientation(shape: tuple[int, int, int], sizes: Affine) -> Affine:
    """LAS with the origin in the middle: what nibabel and SPM take where nothing is known."""
    scale = sizes * (-1, 1, 1)
    affine = np.diag([*scale, 1.0])
    affine[:3, 3] = -scale * (np.array(shape) - 1) / 2
    return affine


def _doubts(raw: Any, sform: Affine, shape: tuple[int, int, int]) -> list[Note]:
    """What is doubtful about a header whose sform is used."""
    notes = [*_code_doubts(raw), *_default_doubts(sform), *_pixdim_doubts(raw, sform, qfac=False)]
    notes += _shear(sform)
    if int(raw["qform_code"]) > 0:
        try:
            qform = _qform(raw, "")
        except InputError:
            return notes  # nobody reads it
        if affine_fault(qform, "") is None:
            notes += _contradictions(raw, sform, qform, shape)
    return notes


def _shear(affine: Affine) -> list[Note]:
    """Axes that are not at right angles."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    across = axes.T @ axes - np.eye(3)
    degrees = float(np.degrees(np.arcsin(np.abs(across).max().clip(0, 1))))
    if degrees <= _MOST_SHEAR:
        return []
    text = f"the header's axes are {degrees:.1f}° off right angles"
    return [Note(SHEARED, f"{text}; voxels are placed as they lie")]


def _contradictions(
    raw: Any, sform: Affine, qform: Affine, shape: tuple[int, int, int]
) -> list[Note]:
    """Where the two affines differ.

    With different codes they may well: one of them may lead into the space of a template.
    """
    first, second = _rotation(sform), _rotation(qform)
    if np.linalg.det(first) * np.linalg.det(second) < 0:
        text = "the header's sform and qform are mirror images of each other"
        return [Note(SIDE_UNKNOWN, f"{text}; left and right may be swapped (the sform was used)")]
    turn = (np.trace(first @ second.T) * np.sign(np.linalg.det(first @ second.T)) - 1) / 2
    degrees = float(np.degrees(np.arccos(np.clip(turn, -1, 1))))
    if degrees > _ANOTHER_AXIS:
        text = f"the header's sform and qform differ by {degrees:.0f}°"
        return [Note(SIDE_UNKNOWN, f"{text}; left and right may be wrong (the sform was used)")]
    middle = np.append((np.array(shape) - 1) / 2, 1)
    apart = float(np.linalg.norm(((sform - qform) @ middle)[:3]))
    if int(raw["sform_code"]) == int(raw["qform_code"]) and (
        degrees > _SAME_PLACE_DEGREES or apart > _SAME_PLACE_MM
    ):
        text = f"the header's sform and qform differ by {degrees:.0f}° and {apart:.0f} mm"
        return [Note(POSITION_UNCERTAIN, f"{text}; coordinates are those of the sform")]
    return []


def _rotation(affine: Affine) -> Affine:
    """The orthogonal matrix nearest to an affine's axes, once they have unit length."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    left, _, right = np.linalg.svd(axes)
    rotation: Affine = left @ right
    return rotation


def _code_doubts(raw: Any) -> list[Note]:
    """Codes that the standard does not have: some readers then take the affine for not set."""
    for field in ("sform_code", "qform_code"):
        code = int(raw[field])
        if not 0 <= code <= _LAST_CODE:
            text = f"the header's {field} is {code}, which NIfTI does not have"
            return [Note(SIDE_UNKNOWN, f"{text}; readers differ in which side they call left")]
    return []


def _default_doubts(affine: Affine) -> list[Note]:
    """An affine that programs write when nobody told them the orientation."""
    axes, offset = affine[:3, :3], affine[:3, 3]
    diagonal = np.diag(axes)
    if offset.any() or (axes != np.diag(diagonal)).any():
        return []
    if tuple(int(sign) for sign in np.sign(diagonal)) not in _DEFAULTS:
        return []
    return [
        Note(
            SIDE_UNKNOWN,
            "the header's affine looks like a default (no rotation, the origin at the first "
            "voxel); left and right may be swapped",
        )
    ]


def _pixdim_doubts(raw: Any, affine: Affine, qfac: bool = True) -> list[Note]:
    """What ``pixdim`` says against the affine that is used; ITK takes voxel sizes from it.

    Args:
        raw: the header.
        affine: that is used.
        qfac: whether ``pixdim[0]``, which mirrors the qform, has a say in it.
    """
    first = float(raw["pixdim"][0])
    if qfac and first < 0 and first != -1:
        text = f"the header's pixdim[0] is {first:g}, neither 1 nor -1"
        return [Note(SIDE_UNKNOWN, f"{text}; readers differ in which side they call left")]
    stated = np.asarray(raw["pixdim"][1:4], np.float64)
    shown = " × ".join(f"{size:.3g}" for size in stated)
    if (stated < 0).any():
        text = (
            f"the header's pixdim says {shown} mm, and readers differ in what negative sizes mean"
        )
        return [Note(SIDE_UNKNOWN, f"{text}; left and right may be swapped")]
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    used = " × ".join(f"{size:.3g}" for size in sizes)
    if not (np.abs(stated / sizes - 1) <= _SAME_SIZE).all():
        text = f"the header's pixdim says {shown} mm, and readers differ in what they make of it"
        return [Note(SIZE_UNCERTAIN, f"{text}; voxels of {used} mm were assumed")]
    unit = _OTHER_UNITS.get(int(raw["xyzt_units"]) & 7)
    if unit is not None:
        text = f"the header gives its lengths in {unit}, which would be implausible"
        return [Note(SIZE_UNCERTAIN, f"{text}; millimetres were assumed")]
    return []
