"""Flat views of a volume: which way is up, where a slice lies, its pixels.

Every view is sampled in world millimetres, so that oblique scans, swapped axes and anisotropic
voxels need no care anywhere else. The views follow the radiological convention: the patient's
right side is on the left of axial and coronal views, the nose on the left of sagittal ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dal_fast.inference.result import Image

PIXEL_MM = 1.0  # side of a pixel
_MARGIN_MM = 13.0  # black rim around the brain, where the letters stand


@dataclass(frozen=True)
class View:
    """A direction of looking.

    Args:
        name: axial, coronal or sagittal.
        axis: the world axis (0 x, 1 y, 2 z) through the slice.
        across: world axis and direction from left to right on the page.
        down: world axis and direction from top to bottom.
        letters: what lies at the left, right, top and bottom rim.
    """

    name: str
    axis: int
    across: tuple[int, int]
    down: tuple[int, int]
    letters: tuple[str, str, str, str]


VIEWS = (
    View("axial", 2, (0, -1), (1, -1), ("R", "L", "A", "P")),
    View("coronal", 1, (0, -1), (2, -1), ("R", "L", "S", "I")),
    View("sagittal", 0, (1, -1), (2, -1), ("A", "P", "S", "I")),
)
AXIAL, CORONAL, SAGITTAL = VIEWS


@dataclass(frozen=True)
class Box:
    """World extent that the views show: ``low`` and ``high`` corners in mm."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]


def brain_box(mask: Image) -> Box:
    """The extent of a mask plus a rim; the whole image where the mask is empty."""
    inside = np.argwhere(mask.data)
    if len(inside) == 0:
        inside = np.argwhere(np.ones((2, 2, 2))) * (np.array(mask.data.shape) - 1)
    points = mask.world(inside)
    return Box(points.min(axis=0) - _MARGIN_MM, points.max(axis=0) + _MARGIN_MM)


def plane(view: View, at: NDArray[np.float64], box: Box) -> NDArray[np.float64]:
    """World coordinates ``(H, W, 3)`` of the pixels of the slice through ``at``."""
    points = np.empty((*_pixels(view, box), 3))
    points[..., view.axis] = at[view.axis]
    points[..., view.across[0]] = _ticks(view.across, box)[None, :]
    points[..., view.down[0]] = _ticks(view.down, box)[:, None]
    return points


def position(view: View, at: NDArray[np.float64], box: Box) -> tuple[float, float]:
    """Where ``at`` falls in the view, as fractions of its width and height."""
    height, width = _pixels(view, box)
    return (
        (_along(view.across, at, box) / PIXEL_MM + 0.5) / width,
        (_along(view.down, at, box) / PIXEL_MM + 0.5) / height,
    )


def sample(image: Image, points: NDArray[np.float64], nearest: bool = False) -> NDArray[np.float32]:
    """Values at world ``points (…, 3)``, trilinear or nearest; 0 outside the image."""
    inverse = np.linalg.inv(image.affine)
    index = points @ inverse[:3, :3].T + inverse[:3, 3]
    size = np.array(image.data.shape)
    inside = np.all((index > -0.5 - 1e-6) & (index < size - 0.5 + 1e-6), axis=-1)
    if nearest:
        corner = np.clip(np.rint(index).astype(np.int64), 0, size - 1)
        return np.where(inside, image.data[tuple(np.moveaxis(corner, -1, 0))], 0).astype(np.float32)
    index = np.clip(index, 0, size - 1)
    low = np.minimum(index.astype(np.int64), np.maximum(size - 2, 0))
    high = np.minimum(low + 1, size - 1)
    part = index - low
    value = np.zeros(index.shape[:-1])
    for corner in np.ndindex(2, 2, 2):
        at = np.where(corner, high, low)
        weight = np.prod(np.where(corner, part, 1 - part), axis=-1)
        value += weight * image.data[tuple(np.moveaxis(at, -1, 0))]
    return np.where(inside, value, 0).astype(np.float32)


def _pixels(view: View, box: Box) -> tuple[int, int]:
    return len(_ticks(view.down, box)), len(_ticks(view.across, box))


def _ticks(direction: tuple[int, int], box: Box) -> NDArray[Any]:
    axis, sign = direction
    count = int(np.floor((box.high[axis] - box.low[axis]) / PIXEL_MM)) + 1
    start = box.low[axis] if sign > 0 else box.high[axis]
    ticks: NDArray[Any] = start + sign * PIXEL_MM * np.arange(count)
    return ticks


def _along(direction: tuple[int, int], at: NDArray[np.float64], box: Box) -> float:
    axis, sign = direction
    return float(at[axis] - box.low[axis] if sign > 0 else box.high[axis] - at[axis])
