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

from dal_fast.imaging.mask import sphericity
from dal_fast.imaging.morphology import Bool, bounding_box

WIDTH, HEIGHT = (0.62, 0.98), (0.58, 1.02)
"""Limits of width and height, as shares of the length."""
LEAST_SYMMETRY = 0.9
LEAST_END, FOREMOST_MIDDLE = -0.003, 0.49
ROUNDEST = 0.95
"""Sphericity above which nothing is a brain (0.83 to 0.89)."""
_SHARES = (0.01, 0.02, 0.05, 0.5, 0.95, 0.98, 0.99)  # of the volume
_WORLD_MM = 3.0  # voxels of :func:`in_world`
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


def odd_mask(mask: Bool, affine: NDArray[np.float64]) -> list[str]:
    """What is unusual about the shape of a brain mask and about how it lies in the world.

    Args:
        mask: ``(I, J, K)`` bool on a scan's grid.
        affine: of that grid, to world millimetres.

    Returns:
        A clause each; empty for a usual one.
    """
    world = in_world(mask, affine)
    clauses = unusual_shape(world)
    if world.any() and sphericity(world, (_WORLD_MM,) * 3) > ROUNDEST:
        clauses.append("it is rounder than a brain")
    return clauses


def in_world(mask: Bool, affine: NDArray[np.float64]) -> Bool:
    """A mask, its nearest voxels, on a grid of 3 mm along the axes of the world.

    Args:
        mask: ``(I, J, K)`` bool.
        affine: of its grid, to world millimetres.
    """
    box = bounding_box(mask)
    if not all(side.stop for side in box):
        return np.zeros((0, 0, 0), bool)
    ends = np.meshgrid(*((side.start - 0.5, side.stop - 0.5) for side in box))
    corners = affine[:3, :3] @ np.reshape(ends, (3, 8)) + affine[:3, 3:]
    x, y, z = (
        np.arange(low + _WORLD_MM / 2, high, _WORLD_MM)
        for low, high in zip(corners.min(1), corners.max(1), strict=True)
    )
    inside, index = np.ones((len(x), len(y), len(z)), bool), []
    for (a, b, c, offset), size in zip(np.linalg.inv(affine)[:3], mask.shape, strict=True):
        at = np.rint((a * x)[:, None, None] + ((b * y)[:, None] + (c * z + offset)))
        inside &= (at >= 0) & (at < size)
        index.append(at.clip(0, size - 1).astype(np.intp))
    return inside & mask[tuple(index)]


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
    size, middle = mask.shape[0], _quantiles(mask, 0)[3]
    offset = round(2 * (middle + size)) - 3 * size  # brings the mirrored middle onto the middle
    best = 0
    for shift in range(offset - _SHIFTS, offset + _SHIFTS + 1):
        low, high = max(0, shift), min(size, size + shift)
        both = mask[low:high] & mask[::-1][low - shift : high - shift]
        best = max(best, int(np.count_nonzero(both)))
    return best / max(1, int(np.count_nonzero(mask)))
