"""Whole heads whose brain is known: layers of brain, fluid, skull and scalp, in noisy air."""

import numpy as np
import torch

from dal_fast.imaging.head_grid import place_head
from dal_fast.models import BrainNetConfig

RADII = np.array([64.0, 80.0, 60.0])  # of the brain, mm
STEM_RADIUS, STEM_END = 15.0, 84.0
HOLLOW, HOLLOW_RADIUS = np.array([0.0, 35.0, -45.0]), 28.0
CENTRE = np.array([3.0, -5.0, 8.0])
LAYERS = ((4.0, 0.95), (10.0, 0.08), (16.0, 0.7))  # fluid, skull, scalp: thickness so far, T2-like


def depth(points):
    """About how far inside the brain points ``(…, 3)`` in mm lie; negative outside.

    The brain is wider behind than in front, and drawn out below, into a stem, with a
    hollow in front of that.
    """
    offset = np.asarray(points) - CENTRE
    wider, taper = 1 - 0.0025 * offset[..., 1], 1 + 0.006 * np.minimum(offset[..., 2], 0)
    radii = RADII * np.stack([wider * taper, taper, np.ones_like(taper)], axis=-1).clip(0.3)
    x, y, z = np.moveaxis(offset, -1, 0)
    stem = np.minimum(STEM_RADIUS - np.hypot(x, y + 10), np.minimum(z + STEM_END, -z))
    offset = offset / radii
    radius = np.linalg.norm(offset, axis=-1)
    slope = np.linalg.norm(offset / radii, axis=-1)
    bulk = (1 - radius) * radius / np.maximum(slope, 1e-6)
    hollow = np.linalg.norm(np.stack([x, y, z], axis=-1) - HOLLOW, axis=-1) - HOLLOW_RADIUS
    return np.maximum(np.minimum(bulk, hollow), stem)


def points_of(shape, affine):
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def head(voxel_mm=(3.0, 3.0, 3.0), field_mm=(190.0, 230.0, 190.0), noise=15.0, seed=0):
    """A T2-like head: ``(data, affine, brain)``, float32, (4, 4), bool."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in np.ceil(np.divide(field_mm, voxel_mm)))
    affine = np.diag([*voxel_mm, 1.0])
    affine[:3, 3] = CENTRE - np.multiply(voxel_mm, np.subtract(shape, 1)) / 2
    points = points_of(shape, affine)
    inside = depth(points)
    signal = np.zeros(shape)
    for outer, level in reversed(LAYERS):
        signal[inside > -outer] = level
    folds = 4 * np.sin(points / 5.3).prod(axis=-1)
    signal[inside > 0] = 0.6
    signal[inside + folds > 9] = 0.4
    noisy = 700 * signal + noise * rng.standard_normal(shape)
    data = np.hypot(noisy, noise * rng.standard_normal(shape)).astype(np.float32)
    return data, affine, inside > 0


class KnownBrain:
    """In the place of an extractor's network: knows where these heads' brain is.

    Args:
        mirrored: added to the distance of the mirrored head.
        change: of both distances.
    """

    config = BrainNetConfig()

    def __init__(self, mirrored=0.0, change=lambda distance: distance):
        self.mirrored, self.change = mirrored, change

    def distances(self, volume):
        _, grid = place_head(volume, self.config.voxel_mm, self.config.shape)
        known = depth(points_of(grid.shape, grid.affine)).clip(-10, 10)
        distance = self.change(torch.from_numpy(known).float()[None, None])
        return distance, distance + self.mirrored, grid
