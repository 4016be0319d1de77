"""Things that are no head, in the field of view of one: phantoms, other organs, patterns.

Each function takes ``(data, affine)`` of a head, as those of :mod:`odd_heads` do.
"""

import numpy as np
from scipy import ndimage


def noise(data, affine):
    rng = np.random.default_rng(0)
    return rng.rayleigh(30, data.shape).astype(np.float32), affine


def points_in(data, affine):
    index = np.stack(np.meshgrid(*map(np.arange, data.shape), indexing="ij"), axis=-1)
    centre = affine[:3, :3] @ (np.array(data.shape) / 2)
    return index @ affine[:3, :3].T - centre


def water_phantom(data, affine):
    radius = np.linalg.norm(points_in(data, affine), axis=-1)
    return (800.0 * (radius < 85)).astype(np.float32) + noise(data, affine)[0], affine


def cylinder_phantom(data, affine):
    x, y, z = np.moveaxis(points_in(data, affine), -1, 0)
    inside = (np.hypot(x, y) < 70) & (np.abs(z) < 80)
    grid = (np.abs(x % 20 - 10) < 2) | (np.abs(y % 20 - 10) < 2)
    return np.where(inside, 700.0 * ~grid, 0).astype(np.float32) + noise(data, affine)[0], affine


def knee(data, affine):
    """Two bones in muscle and fat: cylinders along the body."""
    x, y, z = np.moveaxis(points_in(data, affine), -1, 0)
    leg = np.hypot(x, y)
    out = 900.0 * (leg < 72)
    out[leg < 62] = 350
    out[np.hypot(x, y - 8) < 22] = 700
    out[(np.hypot(x, y - 8) < 22) & (np.abs(z) < 4)] = 100
    out[np.hypot(x + 8, y - 45) < 9] = 700
    return out.astype(np.float32) + noise(data, affine)[0], affine


def gradient(data, affine):
    z = np.moveaxis(points_in(data, affine), -1, 0)[2]
    return (z - z.min()).astype(np.float32), affine


def _shells(points, radii, levels):
    """Ellipsoids within each other: radii in mm, and levels from the innermost outwards."""
    r = np.linalg.norm(points / np.array(radii), axis=-1)
    return np.select([r < share for share, _ in levels], [level for _, level in levels], 0.0)


def _lumps(data, affine, mm, seed):
    """A random field of unit variance whose lumps have about this size."""
    voxel_mm = abs(np.linalg.det(affine[:3, :3])) ** (1 / 3)
    field = ndimage.gaussian_filter(
        np.random.default_rng(seed).standard_normal(data.shape), mm / voxel_mm
    )
    return field / field.std()


def _in_air(signal, data, affine):
    return signal.astype(np.float32) + noise(data, affine)[0], affine


def constant(data, affine):
    return np.full_like(data, 7), affine


def checkerboard(data, affine):
    parity = np.floor(points_in(data, affine) / 12).astype(int).sum(-1) % 2
    return _in_air(700 * parity, data, affine)


def lobes(data, affine):
    return _in_air(400 * np.clip(_lumps(data, affine, 25, 2) + 0.3, 0, None), data, affine)


def lump_with_a_rind(data, affine):
    r = np.linalg.norm(points_in(data, affine) / np.array([65, 75, 65]), axis=-1)
    r += 0.12 * _lumps(data, affine, 18, 3)
    rind = 800 * ((r < 1.3) & (r > 1.12))
    return _in_air(np.where(r < 1, 500, rind), data, affine)


def melon(data, affine):
    levels = ((0.35, 900), (0.9, 500), (1, 150))
    return _in_air(_shells(points_in(data, affine), (75, 85, 75), levels), data, affine)


def empty_skull_phantom(data, affine):
    """A smooth ball of one tissue in a skull and a scalp, as manufacturers sell it."""
    levels = ((0.78, 500), (0.88, 20), (1, 800))
    return _in_air(_shells(points_in(data, affine), (75, 92, 80), levels), data, affine)


def bottle(data, affine):
    x, y, z = np.moveaxis(points_in(data, affine), -1, 0)
    return _in_air(800 * ((np.hypot(x, y) < 55) & (np.abs(z) < 85)), data, affine)


def spine(data, affine):
    x, y, z = np.moveaxis(points_in(data, affine), -1, 0)
    trunk = np.hypot(x / 1.3, y)
    out = np.select([trunk < 65, trunk < 75], [350.0, 900.0], 0)
    vertebrae = np.hypot(x, y) < 22
    out[vertebrae] = 600
    out[vertebrae & (np.abs(z % 30 - 15) < 4)] = 200
    out[np.hypot(x, y + 32) < 13] = 80
    out[np.hypot(x, y + 32) < 9] = 700
    return _in_air(out, data, affine)


def chest(data, affine):
    points = points_in(data, affine)
    trunk = np.hypot(points[..., 0] / 1.3, points[..., 1])
    out = np.select([trunk < 75, trunk < 85], [400.0, 900.0], 0)
    for side in (-1, 1):
        out[_shells(points - [side * 45, 0, 10], (32, 45, 70), ((1, 1),)) > 0] = 30
    out[_shells(points - [15, 10, -10], (40, 35, 40), ((1, 1),)) > 0] = 650
    return _in_air(out, data, affine)
