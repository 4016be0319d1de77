"""Heads in a background of noise as bright as the head: the uniform image of an MP2RAGE.

That image, ``re(conj(a) b) / (|a|^2 + |b|^2)`` of two inversions ``a`` and ``b``, has no signal to
divide by outside of the head, where it takes every value between its ends alike. What finds a brain
was never shown that. Here the noise is found by its roughness and set to the darkest value, for
brain extraction alone; "robust" combinations of scanners (UNI-DEN) look the same. The limits are
ours: between neighbours of uniform noise the mean step is a third of the range.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dal_fast.imaging.nifti import Volume
from dal_fast.imaging.orientation import Note

NOTE = Note(
    "noisy-background",
    "the background is noise as bright as the head, as in the uniform image of an MP2RAGE; it was "
    "taken out before the brain was extracted. The scanner's denoised image suits better",
)
_SPIKE, _MOST = 0.5, 0.01
"""How far a spike stands out from both neighbours, in ranges of the image, and the share of spikes
that makes a background noisy. Of uniform noise a twelfth are spikes, of 15 real heads 0.0009."""
_ROUGH = 0.21
"""Mean step, in ranges of the image, above which a place counts as noise."""
_WINDOW = 3  # voxels, of that mean
_EVERY = 4  # voxels, in the search for spikes
_ENDS = 0.5, 99.5  # percentiles, of the range


def has_noisy_background(volume: Volume) -> bool:
    """Whether a share of the volume is noise as bright as the rest."""
    low, high = _ends(volume.data)
    return high > low and min(_spikes(volume.data, high - low)) >= _MOST


def quiet_background(volume: Volume) -> tuple[Volume, tuple[Note, ...]]:
    """The volume, without noise around a head if there is such noise, and a note that says so."""
    if not has_noisy_background(volume):
        return volume, ()
    data = volume.data
    low, high = _ends(data)
    span = high - low
    quiet = np.where(_mean_steps(data) > _ROUGH * span, np.float32(0), data - np.float32(low))
    return replace(volume, data=quiet), (NOTE,)


def _ends(data: NDArray[np.float32]) -> tuple[float, float]:
    low, high = np.percentile(data[::_EVERY, ::_EVERY, ::_EVERY], _ENDS)
    return float(low), float(high)


def _spikes(data: NDArray[np.float32], span: float) -> list[float]:
    """Share of voxels that stand out from both neighbours along an axis, on every fourth line."""
    shares = []
    for axis in range(3):
        lines: list[Any] = [slice(None, None, _EVERY)] * 3
        lines[axis] = slice(None)
        steps = np.diff(data[tuple(lines)], axis=axis)
        turns = np.sign(steps) * (np.abs(steps) > _SPIKE * span)
        here, there = turns[_along(axis, slice(1, None))], turns[_along(axis, slice(None, -1))]
        shares.append(float(np.mean(here * there < 0)))
    return shares


def _mean_steps(data: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean step between neighbours within a window around each voxel."""
    found = np.zeros_like(data)
    for axis in range(3):
        steps = np.abs(np.diff(data, axis=axis)) / np.float32(6)
        found[_along(axis, slice(None, -1))] += steps
        found[_along(axis, slice(1, None))] += steps
    for axis in range(3):
        width = [(0, 0)] * 3
        width[axis] = (_WINDOW // 2 + 1, _WINDOW // 2)
        sums = np.cumsum(np.pad(found, width, mode="edge"), axis=axis, dtype=np.float32)
        upper, lower = _along(axis, slice(_WINDOW, None)), _along(axis, slice(None, -_WINDOW))
        found = (sums[upper] - sums[lower]) / np.float32(_WINDOW)
    return found


def _along(axis: int, part: slice) -> tuple[slice, ...]:
    return tuple(part if number == axis else slice(None) for number in range(3))
