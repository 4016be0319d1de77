"""Inputs that are no head as a scanner's operator meant it: 24 of them, made from one head.

Each function takes ``(data, affine)``, float32 (I, J, K) with axes right, anterior, superior, and
gives the same; a mask of them cannot be trusted, or there is none.
"""

import numpy as np
from scipy import ndimage


def _flip(axis):
    def flip(data, affine):
        return np.flip(data, axis).copy(), affine

    return flip


def _turned(axes):
    def turn(data, affine):
        return np.rot90(data, axes=axes).copy(), affine

    return turn


def noise(data, affine):
    rng = np.random.default_rng(0)
    return rng.rayleigh(30, data.shape).astype(np.float32), affine


def _points(data, affine):
    index = np.stack(np.meshgrid(*map(np.arange, data.shape), indexing="ij"), axis=-1)
    centre = affine[:3, :3] @ (np.array(data.shape) / 2)
    return index @ affine[:3, :3].T - centre


def water_phantom(data, affine):
    radius = np.linalg.norm(_points(data, affine), axis=-1)
    return (800.0 * (radius < 85)).astype(np.float32) + noise(data, affine)[0], affine


def cylinder_phantom(data, affine):
    x, y, z = np.moveaxis(_points(data, affine), -1, 0)
    inside = (np.hypot(x, y) < 70) & (np.abs(z) < 80)
    grid = (np.abs(x % 20 - 10) < 2) | (np.abs(y % 20 - 10) < 2)
    return np.where(inside, 700.0 * ~grid, 0).astype(np.float32) + noise(data, affine)[0], affine


def knee(data, affine):
    """Two bones in muscle and fat: cylinders along the body."""
    x, y, z = np.moveaxis(_points(data, affine), -1, 0)
    leg = np.hypot(x, y)
    out = 900.0 * (leg < 72)
    out[leg < 62] = 350
    out[np.hypot(x, y - 8) < 22] = 700
    out[(np.hypot(x, y - 8) < 22) & (np.abs(z) < 4)] = 100
    out[np.hypot(x + 8, y - 45) < 9] = 700
    return out.astype(np.float32) + noise(data, affine)[0], affine


def eye_to_chin(data, affine):
    """The lower part of a head alone."""
    return data[:, :, : int(0.38 * data.shape[2])].copy(), affine


def crown(data, affine):
    return data[:, :, int(0.82 * data.shape[2]) :].copy(), affine


def half_brain(data, affine):
    return data[: data.shape[0] // 2].copy(), affine


def half_zero(data, affine):
    out = data.copy()
    out[: data.shape[0] // 2] = 0
    return out + 0.1 * noise(data, affine)[0], affine


def tight_crop(data, affine):
    i, j, k = (n // 4 for n in data.shape)
    return data[i:-i, j:-j, k:-k].copy(), affine


def slab(data, affine):
    """Eight thick slices through the middle."""
    k = data.shape[2] // 2
    return data[:, :, k : k + 8].copy(), affine


def child_sized(data, affine):
    return data, affine @ np.diag([0.45, 0.45, 0.45, 1])


def giant(data, affine):
    return data, affine @ np.diag([1.6, 1.6, 1.6, 1])


def squeezed(data, affine):
    """A header with the wrong slice thickness."""
    return data, affine @ np.diag([1, 1, 0.4, 1])


def epi_like(data, affine):
    """Smeared, dropped out near the sinuses, shifted fat, in coarse voxels."""
    smooth = ndimage.gaussian_filter(data, 2)
    x, y, z = np.moveaxis(_points(data, affine), -1, 0)
    hole = np.hypot(y - 45, z + 30) < 35
    out = np.where(hole & (np.abs(x) < 40), 0.1, 1) * smooth
    coarse = (out + 0.5 * noise(data, affine)[0]).astype(np.float32)[::2, ::2, ::2]
    return coarse.copy(), affine @ np.diag([2, 2, 2, 1])


def inverted(data, affine):
    return (data.max() - data).astype(np.float32), affine


def nearly_constant(data, affine):
    return (1000 + 1e-3 * data / data.max()).astype(np.float32), affine


def binary(data, affine):
    return (data > np.percentile(data, 60)).astype(np.float32) + 1, affine


def gradient(data, affine):
    z = np.moveaxis(_points(data, affine), -1, 0)[2]
    return (z - z.min()).astype(np.float32), affine


def twice(data, affine):
    """Two heads side by side in one volume."""
    return np.concatenate([data[::2], data[::2]], axis=0), affine


def wrapped(data, affine):
    """The field of view was too small from front to back: the nose comes in behind."""
    return np.roll(data, data.shape[1] // 2, axis=1), affine


def motion(data, affine):
    return sum(np.roll(data, s, axis=1) for s in (0, 12, 24, 36)) / np.float32(4), affine


def very_noisy(data, affine):
    rng = np.random.default_rng(1)
    scale = 1.5 * np.percentile(data, 95)
    return np.hypot(data + scale * rng.standard_normal(data.shape), 0).astype(np.float32), affine


ODD = {
    "upside down": _flip(2),
    "on its side": _turned((0, 2)),
    "lying": _turned((1, 2)),
    "turned by 90 degrees": _turned((0, 1)),
    "noise": noise,
    "a ball of water": water_phantom,
    "a cylinder with a grid": cylinder_phantom,
    "a knee": knee,
    "from eye to chin": eye_to_chin,
    "the crown alone": crown,
    "half a head": half_brain,
    "half of it zero": half_zero,
    "cropped tightly": tight_crop,
    "a slab": slab,
    "child-sized": child_sized,
    "giant": giant,
    "squeezed": squeezed,
    "EPI-like": epi_like,
    "inverted": inverted,
    "nearly constant": nearly_constant,
    "two values": binary,
    "a gradient": gradient,
    "two heads": twice,
    "wrapped around": wrapped,
    "four positions": motion,
    "drowned in noise": very_noisy,
}
