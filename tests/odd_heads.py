"""Inputs that are no head as a scanner's operator meant it, made from one head.

Each function takes ``(data, affine)``, float32 (I, J, K) with axes right, anterior, superior, and
gives the same; a mask of them cannot be trusted, or there is none.
"""

import numpy as np
from no_heads import (
    bottle,
    checkerboard,
    chest,
    constant,
    cylinder_phantom,
    empty_skull_phantom,
    gradient,
    knee,
    lobes,
    lump_with_a_rind,
    melon,
    noise,
    points_in,
    spine,
    water_phantom,
)
from scipy import ndimage


def _flip(axis):
    def flip(data, affine):
        return np.flip(data, axis).copy(), affine

    return flip


def _turned(axes):
    def turn(data, affine):
        return np.rot90(data, axes=axes).copy(), affine

    return turn


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
    return data, affine @ np.diag([0.7, 0.7, 0.7, 1])


def giant(data, affine):
    return data, affine @ np.diag([1.6, 1.6, 1.6, 1])


def squeezed(data, affine):
    """A header with the wrong slice thickness."""
    return data, affine @ np.diag([1, 1, 0.4, 1])


def epi_like(data, affine):
    """Smeared, dropped out near the sinuses, shifted fat, in coarse voxels."""
    smooth = ndimage.gaussian_filter(data, 2)
    x, y, z = np.moveaxis(points_in(data, affine), -1, 0)
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


def very_anisotropic(data, affine):
    """Slices of about 20 mm."""
    count = max(1, round(19 / float(np.linalg.norm(affine[:3, 2]))))
    whole = data.shape[2] // count * count
    slices = data[:, :, :whole].reshape(*data.shape[:2], -1, count).mean(-1)
    return slices.astype(np.float32), affine @ np.diag([1, 1, count, 1])


def small_in_a_large_view(data, affine):
    """A head of four ninths its size in a field of view of three times that."""
    wide = np.pad(data[::2, ::2, ::2], [(n // 2, n // 2) for n in data.shape])
    return wide + 0.2 * noise(wide, affine)[0], affine @ np.diag([0.9, 0.9, 0.9, 1])


def ct_like(data, affine):
    """Hounsfield units: air -1000, brain 20 to 60, bone 900, fat below 0."""
    share = data / np.percentile(data, 98)
    units = np.select(
        [share < 0.06, share < 0.2, share <= 0.95], [-1000, 900, 20 + 40 * share], -80
    )
    return (units + 5 * np.random.default_rng(4).standard_normal(data.shape)).astype(
        np.float32
    ), affine


def _smaller(scale):
    return lambda data, affine: (data, affine @ np.diag([scale, scale, scale, 1]))


def neck(data, affine):
    return data[:, :, : int(0.22 * data.shape[2])].copy(), affine


def upside_down_and_back_to_front(data, affine):
    return np.flip(data, (1, 2)).copy(), affine


def facing_back(data, affine):
    return np.flip(data, (0, 1)).copy(), affine


def _brain_ellipsoid(data, affine, lift=0.35):
    points = points_in(data, affine) / np.array([62, 80, 62])
    return np.linalg.norm(points - np.array([0, 0.1, lift]), axis=-1)


def brain_of_air(data, affine):
    inside = _brain_ellipsoid(data, affine) < 1
    return np.where(inside, noise(data, affine)[0], data).astype(np.float32), affine


def brain_of_water(data, affine):
    inside = _brain_ellipsoid(data, affine) < 1
    water = np.percentile(data, 80) + noise(data, affine)[0]
    return np.where(inside, water, data).astype(np.float32), affine


def stripped_too_widely(data, affine):
    """What a poor tool leaves: an egg of brain, skull and eyes on zeros."""
    inside = _brain_ellipsoid(data, affine) < 1.18
    return np.where(inside, np.maximum(data, 1), 0).astype(np.float32), affine


def _egg(data, affine):
    return _brain_ellipsoid(data, affine) < 1


def mask_as_scan(data, affine):
    return _egg(data, affine).astype(np.float32), affine


def probability(data, affine):
    return ndimage.gaussian_filter(_egg(data, affine).astype(np.float32), 2), affine


def shuffled(data, affine):
    return data[:, :, np.random.default_rng(6).permutation(data.shape[2])].copy(), affine


def interleaved(data, affine):
    """Even slices first, as they were acquired."""
    return np.concatenate([data[:, :, ::2], data[:, :, 1::2]], axis=2), affine


def gaps(data, affine):
    out = data.copy()
    out[:, :, ::4] = 0
    return out, affine


def surface_coil(data, affine):
    away = np.linalg.norm(points_in(data, affine) - [0, -110, 20], axis=-1)
    return (10 * data * np.exp(-away / 35)).astype(np.float32) + 0.03 * noise(data, affine)[
        0
    ], affine


def _with(matrix):
    full = np.eye(4)
    full[:3, :3] = matrix
    return lambda data, affine: (data, full @ affine)


def salt_and_pepper(data, affine):
    u = np.random.default_rng(7).random(data.shape)
    return np.select([u < 0.3, u > 0.7], [0, data.max()], data).astype(np.float32), affine


def edges_alone(data, affine):
    return ndimage.gaussian_gradient_magnitude(data, 1).astype(np.float32), affine


def phase(data, affine):
    """A phase image: wraps, and noise in air."""
    turn = points_in(data, affine) @ [0.11, 0.07, 0.05] + 3 * data / data.max()
    air = np.random.default_rng(8).uniform(-np.pi, np.pi, data.shape)
    inside = data > 0.1 * np.percentile(data, 99)
    return np.where(inside, turn % (2 * np.pi) - np.pi, air).astype(np.float32), affine


def three_slices(data, affine):
    middle = int(0.6 * data.shape[2])
    return data[:, :, middle : middle + 3].copy(), affine


def metal(data, affine):
    """A void of 38 mm with a bright rim."""
    r = np.linalg.norm(points_in(data, affine) - [45, -10, 45], axis=-1)
    return np.select([r < 38, r < 43], [0.3 * noise(data, affine)[0], data.max()], data).astype(
        np.float32
    ), affine


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
    "constant": constant,
    "a checkerboard": checkerboard,
    "lobes of noise": lobes,
    "a lump with a rind": lump_with_a_rind,
    "a melon": melon,
    "a skull phantom": empty_skull_phantom,
    "a bottle": bottle,
    "a spine": spine,
    "a chest": chest,
    "slices of 20 mm": very_anisotropic,
    "small in a large view": small_in_a_large_view,
    "CT-like": ct_like,
    "a monkey's size": _smaller(0.45),
    "a cat's size": _smaller(0.25),
    "the neck alone": neck,
    "upside down and back to front": upside_down_and_back_to_front,
    "facing back": facing_back,
    "mirrored from front to back": _flip(1),
    "a brain of air": brain_of_air,
    "a brain of water": brain_of_water,
    "stripped too widely": stripped_too_widely,
    "a mask": mask_as_scan,
    "a probability": probability,
    "shuffled slices": shuffled,
    "slices as acquired": interleaved,
    "every fourth slice empty": gaps,
    "a surface coil": surface_coil,
    "a sheared header": _with([[1, 0, 0], [0, 1, 0.7], [0, 0, 1]]),
    "a stretched header": _with(np.diag([1, 1.5, 1])),
    "a header tilted by 40 degrees": _with([[1, 0, 0], [0, 0.766, -0.643], [0, 0.643, 0.766]]),
    "salt and pepper": salt_and_pepper,
    "edges alone": edges_alone,
    "a phase image": phase,
    "three slices": three_slices,
    "metal": metal,
}
