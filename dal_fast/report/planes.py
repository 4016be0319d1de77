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

from dal_fast.data.mask import run_ends
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
    inside = run_ends(mask.data)
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
    index = inverse[:3, :3] @ points.reshape(-1, 3).T + inverse[:3, 3:]
    size = np.array(image.data.shape)[:, None]
    inside = ((index > -0.5 - 1e-6) & (index < size - 0.5 + 1e-6)).all(axis=0)
    flat, step = _flat(image.data)
    index = np.clip(index, 0, size - 1)
    if nearest:
        value = flat.take(step @ np.rint(index).astype(np.int64))
    else:
        low = np.minimum(index.astype(np.int64), np.maximum(size - 2, 0))
        x, y, z = index - low
        first, (di, dj, dk) = step @ low, np.where(size[:, 0] > 1, step, 0)
        faces = []
        for i in (0, di):
            edges = []
            for j in (0, dj):
                near, far = (flat.take(first + (i + j + k)) for k in (0, dk))
                edges.append(near * (1 - z) + far * z)
            faces.append(edges[0] * (1 - y) + edges[1] * y)
        value = faces[0] * (1 - x) + faces[1] * x
    return np.where(inside, value, 0).astype(np.float32).reshape(points.shape[:-1])


def _flat(data: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """A volume as it lies in memory, and how far its neighbours lie apart along each axis."""
    if not data.flags.forc:
        data = np.ascontiguousarray(data)
    return data.ravel(order="K"), np.array(data.strides) // data.itemsize


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
