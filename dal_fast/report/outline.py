"""The outline of a brain mask over its scan, in three planes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dal_fast.report import colour
from dal_fast.report.planes import VIEWS, View, plane, sample, world_box
from dal_fast.screening.result import Image

LINE = (64, 224, 255)
"""Colour of the outline."""
MARGIN_MM = 32.0
"""Of the head around the brain."""
_PLACES = (0.3, 0.5, 0.7)  # of the slices, as shares of the brain's extent
_THINNED = 5  # a percentile of so many voxels needs no more than every fifth
_TILE_GAP = 4  # pixels between the tiles of a picture


def outlines(
    scan: Image, mask: Image, window: colour.Window
) -> list[tuple[View, NDArray[np.uint8]]]:
    """Slices of three planes with the mask's outline, each ``(H, W, 3)``, three a plane.

    Args:
        scan: as read.
        mask: bool, on the same grid.
        window: of the scan's grey levels.
    """
    inner, box = world_box(mask, 0.0), world_box(mask, MARGIN_MM)
    pictures = []
    for view in VIEWS:
        for place in _PLACES:
            here = plane(view, inner.low + place * (inner.high - inner.low), box)
            pixels = np.repeat(colour.grey(sample(scan, here), window)[..., None], 3, axis=-1)
            pixels[_edge(sample(mask, here) > 0.5)] = LINE
            pictures.append((view, pixels))
    return pictures


def outline_picture(scan: Image, mask: Image) -> NDArray[np.uint8]:
    """The middle slice of each plane side by side, ``(H, W, 3)``: one picture for an overview."""
    pictures = outlines(scan, mask, scan_window(scan, mask))
    tiles = [pixels for _, pixels in pictures[len(_PLACES) // 2 :: len(_PLACES)]]
    height = max(tile.shape[0] for tile in tiles)
    width = sum(tile.shape[1] + _TILE_GAP for tile in tiles) - _TILE_GAP
    picture = np.zeros((height, width, 3), np.uint8)
    left = 0
    for tile in tiles:
        top = (height - tile.shape[0]) // 2
        picture[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
        left += tile.shape[1] + _TILE_GAP
    return picture


def scan_window(scan: Image, mask: Image) -> colour.Window:
    """The scan's grey levels, by its intensities inside the brain."""
    return colour.window_of(scan.data.T[mask.data.T][::_THINNED])


def _edge(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of an area of which a neighbour over an edge is outside."""
    padded = np.pad(inside, 1)
    surrounded = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside & ~surrounded
