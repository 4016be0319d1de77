"""The chain from file to map from stock parts: nibabel, scipy and eager torch.

The same definitions as ours, written as one would with scipy at hand, for scans whose axes run
right, anterior, superior with voxels of the model's size or half of it; the network is the same,
with the reference one-hot and Canny. No report, no regions' table, no sidecar: it writes the four
images.
"""

from __future__ import annotations

import math
from pathlib import Path
from unittest import mock

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from dal_fast import reference
from dal_fast.imaging.grid import ModelGrid, plan_grid
from dal_fast.imaging.normalise import CEILING, WIDEST
from dal_fast.models import DAL, DALOutput
from dal_fast.models.residuals import CERTAIN, ENOUGH, LEAST_SPREAD, UNKNOWN_SPREAD
from dal_fast.screening.calibration import (
    BENEFIT,
    BRIGHT,
    COMBINED,
    COMMON_SHARE,
    DARK,
    LEAST_PEAK,
    PEAK_SHARE,
    STRUCTURE,
    STRUCTURE_SHARE,
    USUAL,
    Calibration,
)
from dal_fast.screening.contrast import guess_contrast
from dal_fast.screening.enhance import LEAST_ROOT, LEAST_STRUCTURE, LEAST_USUAL, SMOOTHED, WINDOWS
from dal_fast.screening.postprocess import MIN_REGION_ML, TOP_FRACTION
from dal_fast.screening.usual_residual import unpack

Array = NDArray[np.float32]
_CUBE = np.ones((3, 3, 3))
_TAPS = [0.25, 0.5, 0.25]
_NINE_APART = np.eye(19)[[0, 9, 18]].mean(0)
_LEVELS = 100  # of TFCE, as in FSL


def screen(path: Path, out: Path, model: DAL, healthy: Calibration) -> Array:
    """Write the images of one scan; its anomaly map ``(I, J, K)``."""
    image = nib.load(path)
    data = np.asanyarray(image.dataobj).astype(np.float32)
    brain = _brain(data)
    voxel_mm = model.config.voxel_mm
    grid = plan_grid(data.shape, image.affine, brain, voxel_mm)
    start = np.rint(np.linalg.solve(image.affine, grid.affine[:, 3])[:3]).astype(int)
    step = round(voxel_mm / image.header.get_zooms()[0])
    x = _to_grid(data, start, grid, step)
    mask = _to_grid(brain.astype(np.float32), start, grid, step) >= 0.5
    scanned = mask & (x > 0)
    scale = 0.5 / float(torch.from_numpy(x[scanned]).median())  # of an even number, the lower one
    x = np.maximum(x * scale, 0) * scanned
    output = _network(model, x, mask)  # which cuts off for itself
    phi, bias = (v[0, 0].numpy() for v in (output.pseudo_healthy, output.bias))
    field = np.where(bias > 0, bias, 1)
    even = np.minimum(np.minimum(x, WIDEST) / field, CEILING)
    anomaly = _anomaly(even, phi / field, scanned, output, healthy)
    phi = phi / scale * mask
    on_scan, restored = (_back(one, start, data.shape, step) * brain for one in (anomaly, phi))
    above = _without_specks(on_scan >= 1, abs(np.linalg.det(image.affine)) / 1000)
    out.mkdir(parents=True, exist_ok=True)
    for name, volume in (
        ("anomaly", on_scan),
        ("pseudohealthy", restored),
        ("brain", brain.astype(np.uint8)),
        ("above", above.astype(np.uint8)),
    ):
        nib.save(nib.Nifti1Image(volume, image.affine), out / f"{path.stem}_{name}.nii.gz")
    return on_scan


def _brain(data: Array) -> NDArray[np.bool_]:
    labels, _ = ndimage.label(data != 0)
    largest = 1 + np.bincount(labels.ravel())[1:].argmax()
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(labels == largest)
    return filled


def _to_grid(volume: Array, start: NDArray[np.int_], grid: ModelGrid, step: int) -> Array:
    """Every ``step``-th voxel from ``start`` over the model's grid; a triangle filter before."""
    if step == 2:
        for axis in range(3):
            weight = ndimage.convolve1d(np.ones(volume.shape[axis]), _TAPS, mode="constant")
            volume = ndimage.convolve1d(volume, _TAPS, axis=axis, mode="constant")
            volume = volume / np.moveaxis(weight[:, None, None].astype(np.float32), 0, axis)
    inside = volume[tuple(slice(max(0, s), None) for s in start)]
    ends = zip(start, grid.shape, volume.shape, strict=True)
    pads = [(max(0, -s), max(0, s + step * n - size)) for s, n, size in ends]
    return np.pad(inside, pads)[tuple(slice(0, step * n, step) for n in grid.shape)]


def _back(volume: Array, start: NDArray[np.int_], shape: tuple[int, ...], step: int) -> Array:
    result: Array = ndimage.affine_transform(
        volume, np.full(3, 1 / step), -start / step, output_shape=shape, order=step - 1
    )
    return result


def _network(model: DAL, x: Array, mask: NDArray[np.bool_]) -> DALOutput:
    def canny(anatomy, sigma, low, high, mask):  # type: ignore[no-untyped-def]
        return reference.canny3d(anatomy, sigma, low, high, mask)

    with (
        torch.inference_mode(),
        mock.patch("dal_fast.models.dal.canny3d", canny),
        mock.patch("dal_fast.models.dal.anatomy_image", reference.anatomy_image),
    ):
        return model(*(torch.from_numpy(np.ascontiguousarray(v))[None, None] for v in (x, mask)))


def _anomaly(
    x: Array, phi: Array, scanned: NDArray[np.bool_], output: DALOutput, healthy: Calibration
) -> Array:
    """The default score."""
    p = output.probabilities[0].numpy()
    volumes = (torch.from_numpy(v)[None] for v in (x[None], phi[None], p))
    scanned_tensor = torch.from_numpy(scanned)[None, None]
    contrast = guess_contrast(*volumes, output.fluid, scanned_tensor)
    spread, dry = _spread(x - phi, p, scanned), (1 - output.fluid[0, 0].numpy()) * scanned
    usual = _Usual(healthy, contrast, scanned)
    g, unit = _structure(x, phi, dry) * scanned, healthy.threshold(contrast, STRUCTURE)
    structure, excess = g / unit, np.maximum(g - usual.of(STRUCTURE), 0) / unit
    maps, stands = [], []
    signs = (BRIGHT, DARK) if USUAL[contrast] == BRIGHT else (DARK, BRIGHT)
    for name in signs:
        flip = 1.0 if name == BRIGHT else -1.0
        highest = ndimage.maximum_filter(np.where(scanned, flip * phi, -np.inf), footprint=_CUBE)
        flat = np.maximum(flip * (x - phi), 0)
        tolerant = np.where(scanned, np.maximum(flip * x - highest, 0), 0)
        residual = (flat + tolerant) * dry / (2 * spread) / (LEAST_USUAL + usual.of(name))
        if SMOOTHED[contrast]:
            smooth = residual
            for _ in range(2):
                smooth = ndimage.uniform_filter(smooth, 3, mode="constant")
            root = LEAST_ROOT * np.maximum(smooth, 0)
            residual = np.sqrt(np.maximum(residual * smooth, 0) + root**2) - root
        weighed = residual * (LEAST_STRUCTURE + structure)
        if output.evidence is not None:
            weighed = weighed * np.sqrt(output.evidence[0, 0].numpy())
        enhanced = _tfce(np.where(scanned, weighed, 0))
        enhanced = enhanced / healthy.threshold(contrast, name)
        peak = math.log(max(LEAST_PEAK, _top(enhanced, scanned, PEAK_SHARE)))
        square = float(np.square(enhanced[scanned]).mean(dtype=np.float64))
        peak -= COMMON_SHARE * math.log(max(LEAST_PEAK, math.sqrt(square)))
        maps.append(enhanced + STRUCTURE_SHARE[contrast] * excess)
        stands.append(healthy.outstanding(contrast, name, peak))
    doubt = BENEFIT[contrast] + stands[0] - stands[1]
    weights = math.exp(min(0.0, doubt / 2)), math.exp(min(0.0, -doubt / 2))
    both = np.maximum(weights[0] * maps[0], weights[1] * maps[1])
    around = ndimage.uniform_filter(both, 9, mode="constant")
    wide = around  # the mean over 27^3
    for axis in range(3):
        wide = ndimage.correlate1d(wide, _NINE_APART, axis, mode="constant")
    both = np.maximum(np.maximum(both, around), wide) * scanned
    return (both / healthy.threshold(contrast, COMBINED)).astype(np.float32)


class _Usual:
    """What healthy brains show at each place, laid into this one's bounding box."""

    def __init__(self, healthy: Calibration, contrast: str, scanned: NDArray[np.bool_]) -> None:
        self.atlases, self.scanned = healthy.usual[contrast], scanned
        self.box = ndimage.find_objects(scanned.astype(np.uint8))[0]

    def of(self, name: str) -> Array:
        """u_s of a sign, or u_g; 0 where it was not measured."""
        out = np.zeros(self.scanned.shape, np.float32)
        if name not in self.atlases:
            return out
        atlas = unpack(self.atlases[name]).numpy()
        sides = [side.stop - side.start for side in self.box]
        places = np.meshgrid(
            *((np.arange(n) + 0.5) * k / n - 0.5 for n, k in zip(sides, atlas.shape, strict=True)),
            indexing="ij",
        )
        out[self.box] = ndimage.map_coordinates(atlas, places, order=1, mode="nearest")
        return out * self.scanned


def _structure(x: Array, phi: Array, dry: Array) -> Array:
    """1 - SSIM over four windows, without fluid, mean over 9^3."""
    total = np.zeros_like(x)
    for side in WINDOWS:
        mean_x, mean_phi = (_uniform(v, side) for v in (x, phi))
        var_x = _uniform(x * x, side) - mean_x**2
        var_phi = _uniform(phi * phi, side) - mean_phi**2
        both = _uniform(x * phi, side) - mean_x * mean_phi
        above = (2 * mean_x * mean_phi + 1e-4) * (2 * both + 9e-4)
        below = (mean_x**2 + mean_phi**2 + 1e-4) * (var_x + var_phi + 9e-4)
        total += np.maximum(1 - above / below, 0).astype(np.float32)
    gated = total / len(WINDOWS) * dry
    result: Array = ndimage.uniform_filter(gated, 9, mode="constant")
    return result


def _uniform(volume: Array, side: int) -> Array:
    result: Array = ndimage.uniform_filter(volume.astype(np.float64), side, mode="nearest")
    return result


def _tfce(volume: Array) -> Array:
    """The root of threshold-free cluster enhancement, summed over ``_LEVELS`` thresholds."""
    total, step = np.zeros(volume.shape), float(volume.max()) / _LEVELS
    for height in (np.arange(_LEVELS) + 0.5) * step:
        labels, _ = ndimage.label(volume >= height, _CUBE)
        extent = np.sqrt(np.bincount(labels.ravel()).astype(float))
        extent[0] = 0
        total += extent[labels] * height * step
    return np.sqrt(total).astype(np.float32)


def _spread(residual: Array, p: Array, scanned: NDArray[np.bool_]) -> Array:
    spreads = []
    for share in p:
        certain = np.abs(residual[(share > CERTAIN) & scanned])
        known = certain.size >= ENOUGH
        spreads.append(
            max(LEAST_SPREAD, 1.4826 * float(np.median(certain))) if known else UNKNOWN_SPREAD
        )
    mixed = np.einsum("kdhw,k->dhw", p, np.array(spreads, np.float32))
    return np.maximum(np.where(scanned, mixed, 1), LEAST_SPREAD)


def _top(volume: Array, scanned: NDArray[np.bool_], share: float = TOP_FRACTION) -> float:
    inside = volume[scanned]
    count = math.ceil(share * inside.size)
    return float(np.partition(inside, -count)[-count:].mean(dtype=np.float64))


def _without_specks(above: NDArray[np.bool_], voxel_ml: float) -> NDArray[np.bool_]:
    labels, _ = ndimage.label(above, _CUBE)
    sizes = np.bincount(labels.ravel())
    keep = sizes >= max(1, math.ceil(MIN_REGION_ML / voxel_ml))
    keep[0] = False
    return keep[labels]
