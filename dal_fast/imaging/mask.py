"""The brain mask of a scan: given, found beside it, or its non-zero voxels if it is stripped.

Where there is none of these, the brain is extracted, in :mod:`dal_fast.screening`.

Whether a scan is skull-stripped is decided from its non-zero voxels alone. The limits were measured
on 185 stripped T1w brains, one stripped T1w, T2w and FLAIR at 1 mm, and five whole heads. These
were also tried with their background set to zero by a threshold, with and without holes filled:

=============================== ================= ================ =======
non-zero voxels                 stripped          whole head       limit
=============================== ================= ================ =======
share of the field of view      0.10 to 0.17      0.27 to 0.68     0.7
volume                          1.1 to 1.9 L      2.8 to 7.0 L     2.3 L
sphericity                      0.82 to 0.89      0.18 to 0.31     0.5
=============================== ================= ================ =======

A scanner's background is never quite zero, so that an untouched head fills its field of view. A
head with a masked background is larger than any brain. A child's head is not, but it is rough: its
surface, air spaces and specks of noise have several times the area of a brain of that volume. One
kind of head is not recognised: a newborn's whose background was cleaned and whose holes were filled
by hand (sphericity up to 0.75).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dal_fast.errors import Code, InputError
from dal_fast.imaging.mask_files import mask_files
from dal_fast.imaging.mask_origin import MaskQuality, mask_origin
from dal_fast.imaging.morphology import Bool, empty_slices, largest_component_filled
from dal_fast.imaging.nifti import Volume, read_volume
from dal_fast.imaging.orientation import Note, voxel_ml

FULLEST_VIEW, LARGEST_BRAIN_ML, ROUGHEST_BRAIN = 0.7, 2300.0, 0.5
"""Limits of a stripped brain's non-zero voxels, see the table above."""
LARGEST_MASK_ML = 3500.0
"""Of a mask that is given: a brain with its fluid, wide ventricles included."""
GRID_TOLERANCE = 0.1
"""Voxels by which the corners of a mask may be off the scan's."""
_LISTED_MASKS = 5  # in a refusal


@dataclass(frozen=True, eq=False)
class BrainMask:
    """Where the brain is.

    Attributes:
        data: (I, J, K) bool on the scan's grid.
        source: ``"file"`` as given, ``"bids"`` found beside the scan, ``"nonzero"``, or what
            extracted it: ``"dal_fast"`` or ``"hd-bet"``.
        path: of the mask's file, ``None`` without one.
        sha256: of that file's bytes, ``None`` without one.
        quality: of a mask that ``"dal_fast"`` extracted, now or when it wrote the file.
        notes: what is doubtful about a mask that was extracted.
    """

    data: Bool
    source: Literal["file", "bids", "nonzero", "dal_fast", "hd-bet"]
    path: Path | None = None
    sha256: str | None = None
    quality: MaskQuality | None = None
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class NoMask:
    """A scan that shows the whole head, and no mask of its brain was found.

    Attributes:
        reason: why the scan is not skull-stripped, a sentence's predicate.
        not_taken: the masks that were found and why none of them was taken; empty without any.
    """

    reason: str
    not_taken: str


def brain_mask(volume: Volume, path: str | Path | None = None) -> BrainMask:
    """The brain mask of a scan, as :func:`find_mask` finds it.

    Raises:
        InputError: ``skull-present`` where there is none, and those of :func:`find_mask`.
    """
    mask = find_mask(volume, path)
    if isinstance(mask, NoMask):
        raise skull_present(volume, mask)
    return mask


def skull_present(volume: Volume, missing: NoMask) -> InputError:
    """The refusal of a whole head where its brain must be given."""
    return InputError(
        Code.SKULL_PRESENT,
        f"{volume.shown} does not look skull-stripped: {missing.reason}. {_ways_out(volume)}"
        f"{missing.not_taken}",
    )


def _ways_out(volume: Volume) -> str:
    if volume.title:  # no file, so that no mask can lie beside it
        return "Let its brain be found (--brain auto)"
    return (
        "Let dal-fast screen find the brain (--brain auto) or write its mask with dal-fast strip, "
        "pass a mask (--mask), or save one as ..._desc-brain_mask.nii.gz beside the scan"
    )


def find_mask(volume: Volume, path: str | Path | None = None) -> BrainMask | NoMask:
    """The brain mask of a scan, where it is known without looking for the brain.

    In this order: the file at ``path``; a BIDS ``desc-brain_mask`` of the scan that lies on its
    grid; the scan's non-zero voxels, when it is skull-stripped. A file that ``dal-fast strip``
    wrote, and that nobody has changed since, keeps what was said of it.

    Raises:
        InputError: ``mask-grid`` when the file is on another grid, ``mask-empty``,
            ``mask-too-large``, or what reading the mask's file refuses.
    """
    if path is not None:
        mask = _read_mask(path)
        difference = grid_difference(mask, volume)
        if difference is not None:
            raise InputError(
                Code.MASK_GRID,
                f"the mask {path} is not on the grid of {volume.path}: {difference}. Resample it "
                "to the scan, with nearest-neighbour interpolation",
            )
        return _from_file(mask, "file")
    not_taken: list[tuple[Path, str]] = []
    for found in mask_files(volume.path, "desc", "brain"):
        why_not = found.why_not
        if why_not is None:
            mask = _read_mask(found.path)
            why_not = grid_difference(mask, volume)
            if why_not is None:
                return _from_file(mask, "bids")
        not_taken.append((found.path, why_not))
    return nonzero_mask(volume, _listed(not_taken))


def _from_file(mask: Volume, source: Literal["file", "bids"]) -> BrainMask:
    """A mask that was read, with what dal_fast said of it when it wrote it."""
    brain, origin = _brain_of(mask), mask_origin(mask.path, mask.sha256)
    if origin is None:
        return BrainMask(brain, source, mask.path, mask.sha256)
    return BrainMask(brain, source, mask.path, mask.sha256, origin.quality, origin.notes)


def nonzero_mask(volume: Volume, not_taken: str = "") -> BrainMask | NoMask:
    """The non-zero voxels of a scan as its brain mask, where it is skull-stripped."""
    nonzero = volume.data != 0
    reason = skull_reason(nonzero, volume.voxel_mm)
    if reason is not None:
        return NoMask(reason, not_taken)
    return BrainMask(largest_component_filled(nonzero), "nonzero")


def _listed(not_taken: list[tuple[Path, str]]) -> str:
    """The masks that were found, and why none of them was taken."""
    if not not_taken:
        return ""
    named = "; ".join(f"{path} ({why})" for path, why in not_taken[:_LISTED_MASKS])
    more = len(not_taken) - _LISTED_MASKS
    return f". Masks that were found and not taken: {named}{f'; {more} more' if more > 0 else ''}"


def _read_mask(path: str | Path) -> Volume:
    try:
        return read_volume(path, nonfinite="replace")
    except InputError as error:
        if error.code == Code.ALL_ZERO:
            raise InputError(Code.MASK_EMPTY, f"every voxel of the mask {path} is 0") from None
        if error.code == Code.CONSTANT:
            raise InputError(
                Code.CONSTANT,
                f"every voxel of the mask {path} is the same, so that it marks no brain",
            ) from None
        raise


def grid_difference(mask: Volume, volume: Volume) -> str | None:
    """How a mask's grid differs from a scan's, in words; ``None`` where it does not.

    Grids are the same when they have the same shape and their corners are at most
    :data:`GRID_TOLERANCE` voxels apart.
    """
    first, second = (volume_corners(each) for each in (mask, volume))
    apart = float(np.linalg.norm(first - second, axis=0).max())
    if mask.data.shape != volume.data.shape:
        sizes = ["×".join(map(str, each.data.shape)) for each in (mask, volume)]
        return (
            f"it has {sizes[0]} voxels and the scan {sizes[1]}, and its corners are up to "
            f"{apart:.1f} mm off"
        )
    if apart <= GRID_TOLERANCE * min(volume.voxel_mm):
        return None
    doubts = [f" ({note.message})" for each in (mask, volume) for note in each.notes]
    return f"its corners are up to {apart:.2g} mm off{''.join(doubts)}"


def volume_corners(volume: Volume) -> NDArray[np.float64]:
    """World coordinates (3, 8) of the corner voxels' centres, in millimetres."""
    ends = np.array(np.meshgrid(*((0, size - 1) for size in volume.data.shape))).reshape(3, -1)
    corners: NDArray[np.float64] = volume.affine[:3, :3] @ ends + volume.affine[:3, 3:]
    return corners


def _brain_of(mask: Volume) -> Bool:
    """The voxels that a mask's file marks, if a brain may be as large.

    Raises:
        InputError: ``mask-empty``, ``mask-too-large``.
    """
    inside = mask.data > 0.5
    if not inside.any():
        raise InputError(Code.MASK_EMPTY, f"no voxel of the mask {mask.path} is above 0.5")
    millilitres = int(np.count_nonzero(inside)) * voxel_ml(mask.affine)
    if millilitres > LARGEST_MASK_ML:
        raise InputError(
            Code.MASK_TOO_LARGE,
            f"the mask {mask.path} marks {millilitres:,.0f} mL, more than any brain has "
            f"({LARGEST_MASK_ML:,.0f} mL at most); is it a mask of the head, or a scan? Pass the "
            "mask of the brain, or write one with dal-fast strip",
        )
    return inside


def skull_reason(nonzero: Bool, voxel_mm: tuple[float, float, float]) -> str | None:
    """Why the non-zero voxels (I, J, K) of a scan are no stripped brain; ``None`` if they are."""
    count = int(np.count_nonzero(nonzero))
    share = count / nonzero.size
    if share > FULLEST_VIEW:
        return f"{share:.0%} of its voxels are non-zero, its background is not 0"
    volume_mm3 = count * float(np.prod(voxel_mm))
    if volume_mm3 > LARGEST_BRAIN_ML * 1000:
        return f"its non-zero voxels take {volume_mm3 / 1e6:.1f} L, more than a brain"
    shape = sphericity(nonzero, voxel_mm)
    if shape < ROUGHEST_BRAIN and (empty := empty_slices(nonzero)):
        predicate = "holds nothing but 0 and lies" if empty == 1 else "hold nothing but 0 and lie"
        return f"{empty} of its slices {predicate} between others"
    if shape < ROUGHEST_BRAIN:
        return f"its non-zero voxels are too rough for a brain (sphericity {shape:.2f})"
    return None


def sphericity(mask: Bool, voxel_mm: tuple[float, float, float]) -> float:
    """π^⅓ (6 V)^⅔ / A: 1 for a ball, less the rougher the mask.

    A is the area of the faces between inside and outside, over 1.5: what the faces of a voxelised
    surface add up to, averaged over directions. Faces on the field of view's edge count.
    """
    volume = np.count_nonzero(mask) * float(np.prod(voxel_mm))
    area = 0.0
    for axis, size in enumerate(voxel_mm):
        along = np.moveaxis(mask, axis, 0)
        faces = np.count_nonzero(along[1:] != along[:-1])
        faces += np.count_nonzero(along[0]) + np.count_nonzero(along[-1])
        area += faces * float(np.prod(voxel_mm)) / size / 1.5
    return float(np.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / area)
