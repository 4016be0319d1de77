"""The chain from file to map from stock parts: nibabel, scipy, SimpleITK and eager torch.

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
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from scipy import ndimage

from dal_fast import reference
from dal_fast.imaging.grid import ModelGrid, plan_grid
from dal_fast.models import DAL, DALOutput
from dal_fast.models.residuals import CERTAIN, LEAST_SPREAD
from dal_fast.screening.calibration import BENEFIT, PAIRS, SIGNED, Calibration
from dal_fast.screening.postprocess import MIN_REGION_ML, SMALLER, TOP_FRACTION
from dal_fast.screening.scoring import LEAN, contrast_of

Array = NDArray[np.float32]
_CUBE = np.ones((3, 3, 3))
_TAPS = [0.25, 0.5, 0.25]


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
    x = np.clip(x * scale, 0, 1) * scanned
    output = _network(model, x, mask)
    anomaly, threshold = _anomaly(x, scanned, output, healthy)
    phi = output.pseudo_healthy[0, 0].numpy() / scale * mask
    on_scan, restored = (_back(one, start, data.shape, step) * brain for one in (anomaly, phi))
    above = _without_specks(on_scan >= threshold, abs(np.linalg.det(image.affine)) / 1000)
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
    x: Array, scanned: NDArray[np.bool_], output: DALOutput, healthy: Calibration
) -> tuple[Array, float]:
    """The default score, smoothed, and its threshold."""
    p, phi = output.probabilities[0].numpy(), output.pseudo_healthy[0, 0].numpy()
    tensors = (torch.from_numpy(v)[None] for v in (x[None], p, scanned[None]))
    contrast = contrast_of(*tensors)
    spread = _spread(x - phi, p, scanned)
    maps, stands = [], []
    for name in PAIRS[contrast]:
        flip = -1.0 if name.endswith("negative") else 1.0
        highest = ndimage.maximum_filter(np.where(scanned, flip * phi, -np.inf), footprint=_CUBE)
        if name.startswith("blended"):
            highest = (1 - LEAN) * highest + LEAN * flip * 0.5
        residual = np.where(scanned, np.maximum(flip * x - highest, 0), 0)
        score = residual * (1 - output.fluid[0, 0].numpy()) / spread
        score = (score / healthy.threshold(contrast, name)).astype(np.float32)
        peak = math.log(max(1e-6, _top(_smooth(score, scanned, contrast), scanned)))
        maps.append(score)
        stands.append(healthy.outstanding(contrast, name, peak))
    doubt = BENEFIT + stands[0] - stands[1]
    weights = math.exp(min(0.0, doubt / 2)), math.exp(min(0.0, -doubt / 2))
    signed = np.maximum(weights[0] * maps[0], weights[1] * maps[1]).astype(np.float32)
    return _smooth(signed, scanned, contrast), healthy.threshold(contrast, SIGNED)


def _spread(residual: Array, p: Array, scanned: NDArray[np.bool_]) -> Array:
    spreads = [
        max(
            LEAST_SPREAD,
            1.4826 * float(np.median(np.abs(residual[(share > CERTAIN) & scanned]))),
        )
        for share in p
    ]
    mixed = np.einsum("kdhw,k->dhw", p, np.array(spreads, np.float32))
    return np.maximum(np.where(scanned, mixed, 1), LEAST_SPREAD)


def _smooth(volume: Array, scanned: NDArray[np.bool_], contrast: str) -> Array:
    if contrast == "T1w":
        return _median(volume, 3) * scanned
    wide = _median(volume, 5) * scanned
    for size, weight in SMALLER.items():
        smaller = _median(volume, size) if size else volume
        wide = np.maximum(wide, weight * smaller * scanned)
    return wide.astype(np.float32)


def _median(volume: Array, size: int) -> Array:
    """SimpleITK's: half as long as scipy's."""
    result: Array = sitk.GetArrayFromImage(
        sitk.Median(sitk.GetImageFromArray(volume), [size // 2] * 3)
    )
    return result


def _top(volume: Array, scanned: NDArray[np.bool_]) -> float:
    inside = volume[scanned]
    count = math.ceil(TOP_FRACTION * inside.size)
    return float(np.partition(inside, -count)[-count:].mean(dtype=np.float64))


def _without_specks(above: NDArray[np.bool_], voxel_ml: float) -> NDArray[np.bool_]:
    labels, _ = ndimage.label(above, _CUBE)
    sizes = np.bincount(labels.ravel())
    keep = sizes >= max(1, math.ceil(MIN_REGION_ML / voxel_ml))
    keep[0] = False
    return keep[labels]
