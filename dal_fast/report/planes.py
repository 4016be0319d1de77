"""Flat views of a volume: which way is up, where a slice lies, its pixels.

Every view is sampled in world millimetres, so that oblique scans, swapped axes and anisotropic
voxels need no care anywhere else. The views follow the radiological convention: the patient's
right side is on the left of axial and coronal views, the nose on the left of sagittal ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dal_fast import arrays
from dal_fast.imaging.morphology import outermost_voxels
from dal_fast.screening.result import Image

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


def world_box(mask: Image, margin_mm: float = _MARGIN_MM) -> Box:
    """The extent of a mask plus a rim; the whole image where the mask is empty."""
    inside = outermost_voxels(mask.data)
    if len(inside) == 0:
        inside = np.argwhere(np.ones((2, 2, 2))) * (np.array(mask.data.shape) - 1)
    points = mask.world(inside)
    return Box(points.min(axis=0) - margin_mm, points.max(axis=0) + margin_mm)


@dataclass(frozen=True, eq=False)
class Plane:
    """A slice and its pixels.

    Attributes:
        shape: rows and columns.
        affine: ``(4, 4)``, (row, column, 0) to world millimetres.
    """

    shape: tuple[int, int]
    affine: NDArray[np.float64]


def plane(view: View, at: NDArray[np.float64], box: Box) -> Plane:
    """The slice of ``view`` through the world point ``at``."""
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    affine[view.axis, 2:] = PIXEL_MM, at[view.axis]
    for column, (axis, sign) in enumerate((view.down, view.across)):
        start = box.low[axis] if sign > 0 else box.high[axis]
        affine[axis, [column, 3]] = sign * PIXEL_MM, start
    return Plane((_pixels(view.down, box), _pixels(view.across, box)), affine)


def position(view: View, at: NDArray[np.float64], box: Box) -> tuple[float, float]:
    """Where ``at`` falls in the view, as fractions of its width and height."""
    height, width = _pixels(view.down, box), _pixels(view.across, box)
    return (
        (_along(view.across, at, box) / PIXEL_MM + 0.5) / width,
        (_along(view.down, at, box) / PIXEL_MM + 0.5) / height,
    )


def sample(
    image: Image, plane: Plane, mode: Literal["linear", "nearest"] = "linear"
) -> NDArray[np.float32]:
    """Pixels ``(H, W)`` of a slice, 0 outside the image; smaller voxels are averaged."""
    shape = (*plane.shape, 1)
    if arrays.enabled():
        nearest = mode == "nearest"
        return arrays.resample(image.data, image.affine, shape, plane.affine, nearest)[..., 0]
    import torch

    from dal_fast.imaging.grid import resample

    voxels = torch.as_tensor(image.data)
    pixels: NDArray[np.float32] = resample(voxels, image.affine, shape, plane.affine, mode).numpy()
    return pixels[..., 0]


def _pixels(direction: tuple[int, int], box: Box) -> int:
    axis, _ = direction
    return int(np.floor((box.high[axis] - box.low[axis]) / PIXEL_MM)) + 1


def _along(direction: tuple[int, int], at: NDArray[np.float64], box: Box) -> float:
    axis, sign = direction
    return float(at[axis] - box.low[axis] if sign > 0 else box.high[axis] - at[axis])
