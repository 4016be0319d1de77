"""Where a synthetic scan looks at a head: pose, size, and field of view in the network's volume."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Generator, Tensor

from dal_fast.imaging.head_grid import HEADROOM_MM
from dal_fast.synthesis.fields import smooth_field
from dal_fast.synthesis.head_maps import HeadMap

_TURN = math.radians(25)  # largest angle about each axis
_USUAL_TURN = math.radians(7)  # standard deviation of most
_SCALE = (0.88, 1.2)
_CHILD = (0.72, 0.86)
_BEYOND_MM = {  # of the field of view beyond the brain: left, right, back, front, below, above
    "wide": ((12, 60), (12, 60), (12, 50), (20, 70), (10, 130), (10, 60)),
    "tight": ((-4, 14), (-4, 14), (-4, 14), (-4, 16), (-6, 20), (-2, 14)),
}
_CUT = ((0.03, 0.2), (0.03, 0.2), (0.03, 0.45))  # share that a cutting face takes away, by axis
_SEEN = 0.4  # share of the brain's length that is in view at least, along each axis
_FACES = (0.86, 0.10, 0.04)  # shares of wide, tight and cutting faces
_FACES_Z = (0.70, 0.19, 0.11)
_SKIN_MM = 15.0  # from the brain's top to the head's


@dataclass(frozen=True, eq=False)
class View:
    """What a scan sees of a head.

    Attributes:
        shape: (D, H, W) of the network's volume.
        voxel_mm: edge of its voxels.
        matrix: (3, 3), millimetres in the volume to those in the map.
        centre: (3,), place of the brain's centre in the volume, millimetres from its middle.
        low, high: of the field of view, millimetres from the volume's middle, by axis.
        scale: of the head, mean of the axes.
        child: whether the head is as small as a child's.
    """

    shape: tuple[int, int, int]
    voxel_mm: float
    matrix: Tensor
    centre: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    scale: float
    child: bool

    def axes(self) -> list[Tensor]:
        """Voxel centres along each axis, millimetres from the volume's middle."""
        return [(torch.arange(n) - (n - 1) / 2) * self.voxel_mm for n in self.shape]

    def inside(self) -> list[Tensor]:
        """For each axis, bool, which voxels the scan covers."""
        bounds = zip(self.axes(), self.low, self.high, strict=True)
        return [(low <= axis) & (axis <= high) for axis, low, high in bounds]


def draw_view(head: HeadMap, shape: tuple[int, int, int], voxel_mm: float, rng: Random) -> View:
    """A pose and a field of view, placed as :func:`dal_fast.imaging.head_grid.place_head` does."""
    child = rng.random() < 0.12
    scale = rng.uniform(*(_CHILD if child else _SCALE))
    scales = [scale * rng.uniform(0.94, 1.06) for _ in range(3)]
    wild = rng.random() < 0.2
    turn = torch.zeros(3, 3)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        angle = rng.uniform(-_TURN, _TURN) if wild else rng.gauss(0, _USUAL_TURN)
        angle = min(max(angle, -_TURN), _TURN)
        turn[i, j], turn[j, i] = angle, -angle
    matrix = torch.linalg.matrix_exp(turn) / torch.tensor(scales)
    if rng.random() < 0.5:
        matrix[0] *= -1
    half = [(b - a) / 2 * s for a, b, s in zip(head.low, head.high, scales, strict=True)]
    centre, lows, highs = [], [], []
    for axis, size in enumerate(shape):
        window = size * voxel_mm
        below, above = _edges(axis, half[axis], rng)
        middle = (above - below) / 2
        if above + below > window:  # place_head has to choose
            middle = rng.gauss(0, 5)
            if axis == 2:
                top = half[2] + min(_SKIN_MM + HEADROOM_MM, above - half[2])
                middle = top - window / 2 + rng.gauss(0, 5)
        centre.append(-middle)
        lows.append(max(-below - middle, -window / 2))
        highs.append(min(above - middle, window / 2))
    return View(shape, voxel_mm, matrix, tuple(centre), tuple(lows), tuple(highs), scale, child)


def _edges(axis: int, half: float, rng: Random) -> tuple[float, float]:
    """Distances of both faces of the field of view from the brain's centre."""
    below, above = (_edge(axis, side, half, rng) for side in (0, 1))
    missing = _SEEN * 2 * half - (min(below, half) + min(above, half))
    if missing > 0:
        below, above = below + missing / 2, above + missing / 2
    return below, above


def _edge(axis: int, side: int, half: float, rng: Random) -> float:
    """Distance of a face of the field of view from the brain's centre."""
    kind = rng.choices(("wide", "tight", "cut"), _FACES_Z if axis == 2 else _FACES)[0]
    if kind == "cut":
        return half - rng.uniform(*_CUT[axis]) * 2 * half
    return half + rng.uniform(*_BEYOND_MM[kind][2 * axis + side])


def places_of(view: View, head: HeadMap, rng: Random, generator: Generator) -> Tensor:
    """For every voxel of the volume its place in the head's map, ``(3, D, H, W)`` in voxels."""
    axes = [axis - offset for axis, offset in zip(view.axes(), view.centre, strict=True)]
    middle = [(a + b) / 2 for a, b in zip(head.low, head.high, strict=True)]
    x, y, z = axes[0][:, None, None], axes[1][:, None], axes[2]
    m = view.matrix
    places = torch.stack([
        (m[k, 0] * x + middle[k]) + (m[k, 1] * y + m[k, 2] * z) for k in range(3)
    ])  # fmt: skip
    nodes = rng.randint(5, 9)
    places += rng.uniform(0, 4) * smooth_field(1, 3, view.shape, nodes, generator)[0]
    if rng.random() < 0.25:
        _widen_below(places, head, rng)
    return places


def _widen_below(places: Tensor, head: HeadMap, rng: Random) -> None:
    """Shoulders: what lies below the brain grows wider with the distance."""
    start = head.low[2] - rng.uniform(20, 60)
    growth = 1 + (start - places[2]).clamp_min_(0) * rng.uniform(0.005, 0.05)
    for axis in (0, 1):
        middle = (head.low[axis] + head.high[axis]) / 2
        places[axis].sub_(middle).div_(growth).add_(middle)


def inside_box(inside: Sequence[Tensor]) -> Tensor:
    """bool ``(D, H, W)`` of what three axes cover."""
    return inside[0][:, None, None] & inside[1][:, None] & inside[2]


def distance_to_faces(view: View) -> Tensor:
    """Millimetres from every voxel to the nearest face of the field of view, positive inside."""
    nearest = [
        torch.minimum(axis - low, high - axis)
        for axis, low, high in zip(view.axes(), view.low, view.high, strict=True)
    ]
    return torch.minimum(torch.minimum(nearest[0][:, None, None], nearest[1][:, None]), nearest[2])
