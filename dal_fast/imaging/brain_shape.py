"""Whether a mask has the shape of a brain that lies as its header says.

The measures were taken of 185 stripped T1w brains of adults (IXI, 2 mm):

================================================ ================= =================
measure                                          range             limits
================================================ ================= =================
width / length                                   0.70 to 0.92      0.62 to 0.98
height / length                                  0.69 to 0.96      0.58 to 1.02
Dice with its left-right mirror image            0.91 to 0.98      0.90
lower end, as a share of the height              -0.002 to 0.05    -0.003
middle from behind, as a share of the length     0.42 to 0.46      0.49
================================================ ================= =================

Width, length and height are those between which 96 % of the volume lies, and the middle is what
halves it. The lower end is how far the brain is drawn out below (between 1 and 5 % of its volume)
more than above, and so negative for 184 of the 185 brains when they are upside down. One that lies
on its side is no mirror image of itself (at most 0.90 along the other axes), one that is turned by
90 degrees is wider than long. The limits are wider than the ranges, for other ages and for heads
that are not quite in view.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dal_fast.imaging.morphology import Bool, bounding_box

WIDTH, HEIGHT = (0.62, 0.98), (0.58, 1.02)
"""Limits of width and height, as shares of the length."""
LEAST_SYMMETRY = 0.9
LEAST_END, FOREMOST_MIDDLE = -0.003, 0.49
_SHARES = (0.01, 0.02, 0.05, 0.5, 0.95, 0.98, 0.99)  # of the volume
_SHIFTS = 3  # voxels by which the mirror's plane may be off the middle, times 2


def unusual_shape(mask: Bool) -> list[str]:
    """What is unusual about the shape of a brain mask, a clause each; empty for a usual one.

    Args:
        mask: ``(D, H, W)`` bool on an isotropic grid, axes right, anterior, superior.
    """
    mask = mask[bounding_box(mask)]
    if not mask.any():
        return []
    _, left, *_, right, _ = _quantiles(mask, 0)
    _, back, _, middle, _, front, _ = _quantiles(mask, 1)
    bottom, low, lower, _, upper, high, top = _quantiles(mask, 2)
    length = max(front - back, 1e-6)
    end = ((lower - bottom) - (top - upper)) / max(top - bottom, 1e-6)
    foremost, symmetry = (middle - back) / length, _symmetry(mask)
    usual = (
        _within((right - left) / length, WIDTH),
        _within((high - low) / length, HEIGHT),
        symmetry >= LEAST_SYMMETRY,
        end >= LEAST_END,
        foremost <= FOREMOST_MIDDLE,
    )
    return shape_clauses([not fine for fine in usual], symmetry)


def shape_clauses(unusual: Sequence[bool], symmetry: float) -> list[str]:
    """What is unusual about a shape, a clause each.

    Args:
        unusual: its width, its height, its halves, its end and its middle.
        symmetry: Dice with its mirror image.
    """
    clauses = (
        "its width and length are not a brain's",
        "its height and length are not a brain's",
        f"its halves differ (Dice {symmetry:.2f} when mirrored)",
        "its end is above, as if upside down",
        "it is wider in front than behind, as if turned round",
    )
    return [clause for odd, clause in zip(unusual, clauses, strict=True) if odd]


def _within(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


def _quantiles(mask: Bool, axis: int) -> NDArray[np.float64]:
    """Positions along an axis, in voxels, below which the shares ``_SHARES`` of the volume lie."""
    areas = mask.sum(axis=tuple(other for other in range(3) if other != axis))
    edges = np.concatenate([[0], np.cumsum(areas)]) / areas.sum()
    return np.interp(_SHARES, edges, np.arange(len(edges)))


def _symmetry(mask: Bool) -> float:
    """Dice of a mask with its mirror image along the first axis, across the best plane."""
    size = mask.shape[0]
    padded = np.pad(mask, ((size, size), (0, 0), (0, 0)))
    mirrored = padded[::-1]
    middle = _quantiles(padded, 0)[3]
    offset = round(2 * middle) - len(padded)  # that brings the mirrored middle onto the middle
    best = max(
        int(np.count_nonzero(padded & np.roll(mirrored, offset + shift, axis=0)))
        for shift in range(-_SHIFTS, _SHIFTS + 1)
    )
    return best / max(1, int(np.count_nonzero(mask)))
