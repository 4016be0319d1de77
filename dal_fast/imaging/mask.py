"""The brain mask of a scan: given, found beside it, or its non-zero voxels if it is stripped.

Whether a scan is already skull-stripped is told from its non-zero voxels alone. Measured on 185
stripped T1w brains, one stripped T1w, T2w and FLAIR at 1 mm and five whole heads, the latter also
with their background set to zero by a threshold, filled or not:

=============================== ================= ================ =======
non-zero voxels                 stripped          whole head       limit
=============================== ================= ================ =======
share of the field of view      0.10 to 0.17      0.27 to 0.68     0.7
volume                          1.1 to 1.9 L      2.8 to 7.0 L     2.3 L
sphericity                      0.82 to 0.89      0.18 to 0.31     0.5
=============================== ================= ================ =======

A scanner's background is never quite zero, so an untouched head fills its whole field of view;
one with a masked background is larger than any brain; a child's is rough: its surface, air
spaces and noise specks have several times the area of a brain's of that volume. What may pass:
a newborn's head whose background was cleaned and holes filled by hand (sphericity up to 0.75).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dal_fast.errors import Code, InputError
from dal_fast.imaging.bids import find_brain_masks
from dal_fast.imaging.nifti import Volume, read_volume

FULLEST_VIEW, LARGEST_BRAIN_ML, ROUGHEST_BRAIN = 0.7, 2300.0, 0.5
"""Limits of a stripped brain's non-zero voxels, see the table above."""
GRID_TOLERANCE = 0.1
"""Voxels by which the corners of a mask may be off the scan's."""

Bool = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class BrainMask:
    """Where the brain is.

    Attributes:
        data: (I, J, K) bool on the scan's grid.
        source: ``"file"`` as given, ``"bids"`` found beside the scan, or ``"nonzero"``.
        path: of the mask's file, ``None`` for ``"nonzero"``.
        sha256: of that file's bytes, ``None`` for ``"nonzero"``.
    """

    data: Bool
    source: Literal["file", "bids", "nonzero"]
    path: Path | None
    sha256: str | None


def brain_mask(volume: Volume, path: str | Path | None = None) -> BrainMask:
    """The brain mask of a scan.

    In this order: the file at ``path``; a BIDS ``desc-brain_mask`` of the scan that lies on its
    grid; the scan's non-zero voxels, when it is skull-stripped.

    Raises:
        InputError: ``mask-grid`` when the file is on another grid, ``mask-empty``,
            ``skull-present``, or what reading the mask's file refuses.
    """
    if path is not None:
        mask = read_volume(path, nonfinite="replace")
        if not same_grid(mask, volume):
            raise InputError(
                Code.MASK_GRID,
                f"mask {path} {mask.data.shape} is not on the grid of {volume.path} "
                f"{volume.data.shape}; resample it to the scan",
            )
        return BrainMask(_inside(mask), "file", Path(path), mask.sha256)
    for found in find_brain_masks(volume.path):
        mask = read_volume(found, nonfinite="replace")
        if same_grid(mask, volume):
            return BrainMask(_inside(mask), "bids", found, mask.sha256)
    nonzero = volume.data != 0
    reason = skull_reason(nonzero, volume.voxel_mm)
    if reason is not None:
        raise InputError(
            Code.SKULL_PRESENT,
            f"{volume.path} does not look skull-stripped: {reason}. Pass a brain mask (--mask), "
            "save it as ..._desc-brain_mask.nii.gz beside the scan, or strip the scan first, "
            "for example with HD-BET or SynthStrip",
        )
    return BrainMask(solid(nonzero), "nonzero", None, None)


def same_grid(mask: Volume, volume: Volume) -> bool:
    """Same shape, and every corner within :data:`GRID_TOLERANCE` of a voxel of the scan's."""
    if mask.data.shape != volume.data.shape:
        return False
    ends = np.array(np.meshgrid(*((0, size - 1) for size in volume.data.shape))).reshape(3, -1)
    corners = np.vstack([ends, np.ones(ends.shape[1])])
    off = np.linalg.norm(((mask.affine - volume.affine) @ corners)[:3], axis=0)
    return bool(off.max() <= GRID_TOLERANCE * min(volume.voxel_mm))


def _inside(mask: Volume) -> Bool:
    inside = mask.data > 0.5
    if not inside.any():
        raise InputError(Code.MASK_EMPTY, f"no voxel of the mask {mask.path} is above 0.5")
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


def solid(mask: Bool) -> Bool:
    """The largest set of voxels that hang together by their faces, its holes filled.

    A hole is a set of empty voxels that no path over faces joins to the field of view's edge.
    """
    import torch  # not before it is needed: most refusals come earlier
    from torch.nn import functional as F

    from dal_fast.ops import components3d

    box = extent(mask)
    inner = np.ascontiguousarray(mask[box].T)  # scans are in Fortran order: transposed, C
    labels = components3d(torch.from_numpy(inner)[None, None], connectivity=6)
    largest = labels == 1 + int(labels.flatten().bincount()[1:].argmax())
    empty = components3d(F.pad(~largest, [1] * 6, value=True), connectivity=6)
    filled = (empty != empty[0, 0, 0, 0, 0])[0, 0, 1:-1, 1:-1, 1:-1]
    out = np.zeros(mask.shape, bool, order="F")
    out[box] = filled.numpy().T
    return out


def extent(mask: Bool) -> tuple[slice, ...]:
    """The box (I, J, K) of a mask that is not empty."""
    ends = (np.flatnonzero(mask.any(axis=others))[[0, -1]] for others in ((1, 2), (0, 2), (0, 1)))
    return tuple(slice(int(first), int(last) + 1) for first, last in ends)


def run_ends(mask: Bool) -> NDArray[np.intp]:
    """Voxels (P, 3) whose extremes along any direction are the mask's: its runs' ends.

    Runs lie along the axis that is contiguous in memory, the first of a scan. None of an empty one.
    """
    lines = mask.any(axis=0)
    j, k = np.nonzero(lines)
    columns = mask[:, j, k]
    first, last = columns.argmax(0), mask.shape[0] - 1 - columns[::-1].argmax(0)
    return np.concatenate([np.stack([first, j, k], 1), np.stack([last, j, k], 1)])
