"""What is wrong with the voxels of a scan, seen from the scan and its brain mask alone.

No defect stops a screening: each becomes a quality flag. The limits are ours. Beside each of them
stands the most extreme value of 185 healthy stripped T1w brains (IXI, 2 mm), none of which is
flagged.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dal_fast.imaging.morphology import (
    Bool,
    bounding_box,
    empty_slices,
    slice_areas,
    thin_slices,
)
from dal_fast.imaging.nifti import Volume
from dal_fast.imaging.noisy_background import has_noisy_background
from dal_fast.imaging.normalise import STANDARDISED_SHARE
from dal_fast.imaging.orientation import Note
from dal_fast.imaging.text import counted

MAX_MISSING = 0.05
"""Share of the brain mask without signal (0.0002)."""
MAX_END = 0.35
"""Area of a brain's first or last slice, as a share of its largest slice (0.13)."""
MAX_DARKEST = 0.36
"""0.1st percentile of the brain, as a share of its 99th (0.06)."""
MIN_BACKGROUND, MAX_BACKGROUND = -0.1, 0.5
"""1st percentile of what lies outside the brain, as a share of the brain's median (0)."""
MAX_NEGATIVE = 0.02
"""Share of negative brain voxels; from 0.1 on the scan counts as standardised (0)."""
MAX_CLIPPED = 0.01
"""Share of brain voxels that have the highest value (0.0015)."""
MIN_LEVELS = 32
"""Different values in the brain (91)."""

AIR_HU, SOFT_TISSUE_HU = (-1100.0, -900.0), (0.0, 100.0)
"""Values that a CT has in air and in soft tissue."""
LEAST_AIR, LEAST_SOFT_TISSUE = 0.1, 0.25
"""Shares of a CT's voxels: of air among all, of soft tissue among those above -200."""

_ENOUGH = 50_000  # voxels for a percentile
_SIDES = (("left", "right"), ("posterior", "anterior"), ("inferior", "superior"))

_INVERTED = Note(
    "inverted-intensities",
    "most of what lies outside the brain is brighter than the brain; are the intensities inverted?",
)

_CT = Note(
    "looks-like-ct",
    "the values are those of a CT (Hounsfield units: air near -1000, soft tissue from 0 to 100); "
    "dal_fast is made for MRI, and what it says of a CT means nothing",
)

Values = NDArray[np.float32]


def find_defects(volume: Volume, brain: Bool) -> list[Note]:
    """Every defect, in a fixed order.

    Args:
        volume: the scan.
        brain: its mask, (I, J, K) bool.
    """
    box = bounding_box(brain)
    data, inside = volume.data[box], brain[box]
    signal = inside & (data != 0)
    if not signal.any():
        return []
    values = _thinned(data, signal)
    clipped = _clipped(values)
    checks = (
        _missing(inside, signal),
        _cut(volume, box, signal),
        _empty_slices(volume.data),
        _repeated_slices(data, signal),
        *_levels(volume, brain, values, clipped is not None),
        clipped,
        _few_levels(values),
    )
    notes = [note for note in checks if note is not None]
    if _INVERTED in notes and has_noisy_background(volume):  # it says nothing about the head
        notes.remove(_INVERTED)
    return notes


def looks_like_ct(volume: Volume) -> bool:
    """Whether a volume's values are Hounsfield units, by what air and soft tissue have in them."""
    step = _step(volume.data.size)
    thin = volume.data[:, ::step, ::step]
    if thin.min() > AIR_HU[1]:  # any scan but a CT
        return False
    air = (thin > AIR_HU[0]) & (thin < AIR_HU[1])
    soft = (thin > SOFT_TISSUE_HU[0]) & (thin < SOFT_TISSUE_HU[1])
    denser = max(1, int(np.count_nonzero(thin > -200)))
    share = int(np.count_nonzero(soft)) / denser
    return bool(air.mean() >= LEAST_AIR and share >= LEAST_SOFT_TISSUE)


def _step(count: int) -> int:
    """Along two axes, so that about ``_ENOUGH`` of ``count`` voxels are taken."""
    return max(1, round((count / _ENOUGH) ** 0.5))


def _thinned(data: Values, signal: Bool) -> Values:
    """About ``_ENOUGH`` voxels of the brain, from whole rows along the first axis."""
    step = _step(int(np.count_nonzero(signal)))
    rows: Values = data[:, ::step, ::step].T[signal[:, ::step, ::step].T]
    return rows


def _missing(inside: Bool, signal: Bool) -> Note | None:
    share = 1 - int(np.count_nonzero(signal)) / int(np.count_nonzero(inside))
    if share <= MAX_MISSING:
        return None
    return Note("missing-signal", f"{share:.0%} of the brain mask has no signal in the scan")


def _cut(volume: Volume, box: tuple[slice, ...], signal: Bool) -> Note | None:
    """A brain ends in small slices; one that ends in a large one was cut."""
    directions = np.abs(volume.affine[:3, :3] / volume.voxel_mm).argmax(0)
    for axis, (side, areas) in enumerate(
        zip(bounding_box(signal), slice_areas(signal), strict=True)
    ):
        world = int(directions[axis])
        forward = int(volume.affine[world, axis] > 0)
        first, second = (other for other in range(3) if other != axis)
        face = volume.voxel_mm[first] * volume.voxel_mm[second] / 100  # cm²
        for index, end in ((side.start, 1 - forward), (side.stop - 1, forward)):
            if box[axis].start + index in (0, volume.data.shape[axis] - 1):
                continue  # at the edge of the field of view: see cropped-brain
            if areas[index] > MAX_END * areas.max():
                area = face * np.count_nonzero(np.take(signal, index, axis))
                return Note(
                    "cut-brain",
                    f"the brain ends at its {_SIDES[world][end]} side in a flat face of "
                    f"{area:.0f} cm²; a part of it seems to be missing",
                )
    return None


def _empty_slices(data: Values) -> Note | None:
    count = empty_slices(data)
    if count == 0:
        return None
    holds = "holds" if count == 1 else "hold"
    return Note("empty-slices", f"{counted(count, 'slice')} between others {holds} nothing but 0")


def _repeated_slices(data: Values, signal: Bool) -> Note | None:
    """Neighbouring slices with the same voxels."""
    most = 0
    for axis in range(3):
        slices, filled = thin_slices(data, axis), thin_slices(signal, axis)
        either = filled[1:] | filled[:-1]
        same = ((slices[1:] == slices[:-1]) | ~either).all((1, 2)) & (either.sum((1, 2)) > 20)
        varied = [len(np.unique(slices[i][filled[i]])) > 1 for i in np.flatnonzero(same)]
        most = max(most, sum(varied))
    if most == 0:
        return None
    verb = "slice repeats its" if most == 1 else "slices repeat their"
    return Note(
        "repeated-slices", f"{most} {verb} neighbour; the scan is coarser than its voxels say"
    )


def _levels(volume: Volume, brain: Bool, values: Values, clipped: bool) -> list[Note | None]:
    """Where the brain's and the background's intensities lie."""
    if looks_like_ct(volume):
        return [_CT]
    data = volume.data
    negative = float(np.mean(values < 0))
    median = float(np.median(values))
    step = _step(data.size)
    thin = data[:, ::step, ::step]
    outside = thin.T[~brain[:, ::step, ::step].T]
    background = float(np.percentile(outside, 1)) if outside.size else 0.0
    dark, bright = (float(level) for level in np.percentile(values, (0.1, 99)))
    if negative > STANDARDISED_SHARE or median <= 0:  # standardised: its zero means nothing
        above = outside.size and float(np.median(outside)) > bright
        return [_INVERTED] if above else []
    notes: list[Note | None] = []
    if negative > MAX_NEGATIVE:
        notes.append(
            Note("negative-intensities", f"{negative:.0%} of the brain is negative and taken for 0")
        )
    if background < MIN_BACKGROUND * median:
        notes.append(
            Note(
                "negative-intensities",
                f"the background is {background:.4g}, not 0; it mixes with the brain's surface",
            )
        )
    if outside.size and float(np.median(outside)) > median:
        notes.append(_INVERTED)
    elif (dark > MAX_DARKEST * bright and not clipped) or background > MAX_BACKGROUND * median:
        what, level = "brain", dark
        if background > MAX_BACKGROUND * median:
            what, level = "background", background
        notes.append(
            Note(
                "intensity-offset",
                f"the darkest of the {what} has {level / median:.0%} of the brain's median "
                "intensity; a constant seems to have been added",
            )
        )
    return notes


def _clipped(values: Values) -> Note | None:
    top = float(values.max())
    share = float(np.mean(values == top))
    if share <= MAX_CLIPPED:
        return None
    return Note("clipped-intensities", f"{share:.0%} of the brain has the highest value, {top:.4g}")


def _few_levels(values: Values) -> Note | None:
    count = len(np.unique(values))
    if count >= MIN_LEVELS:
        return None
    return Note(
        "few-intensities",
        f"the brain has only {count} different values; is this a label map or a mask?",
    )
