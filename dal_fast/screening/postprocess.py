"""From the raw score map to a smooth map, a mask, regions, and one number a scan."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dal_fast.errors import Code, InputError
from dal_fast.imaging.orientation import voxel_ml
from dal_fast.ops import _map_stages as stages
from dal_fast.ops import components3d, median3d, remove_small
from dal_fast.ops._image_stages import served
from dal_fast.screening.result import Image, Region

MEDIAN_SIZES = (0, 3, 5)
SCALES = "scales"
SMALLER = {3: 0.7, 0: 0.5}  # what a smaller median's map counts beside 5³ in ``"scales"``
TOP_FRACTION = 0.001  # of the brain's voxels; about 1.3 mL of an adult brain
MIN_REGION_ML = 0.1


def smooth(anomaly: Tensor, mask: Tensor, size: int | str) -> Tensor:
    """Median over ``size³`` voxels inside the mask.

    ``"scales"`` takes at every voxel the largest of the map under a median of 5³, 0.7 times that
    under 3³, and half the map as it is: a wide median alone erases small lesions, none at all
    leaves the noise among large ones. Not specified in the paper.

    Args:
        anomaly: ``(1, 1, D, H, W)``.
        mask: bool ``(1, 1, D, H, W)``; the result is 0 outside.
        size: 0 (none), 3 or 5 voxels, or ``"scales"``.
    """
    if size == SCALES:
        wide = smooth(anomaly, mask, 5)
        for smaller, weight in SMALLER.items():
            wide = torch.maximum(wide, weight * smooth(anomaly, mask, smaller))
        return wide
    check_median(size)
    return median3d(anomaly, int(size), mask) if size else anomaly * mask


def choose_median(contrast: str) -> int | str:
    """For a score that does not smooth by itself, by contrast: 3³ for T1w, else ``"scales"``.

    A T1w's map is noisiest between grey and white matter, voxel by voxel.
    """
    return 3 if contrast == "T1w" else SCALES


def check_median(size: int | str | None) -> None:
    if size is not None and size not in MEDIAN_SIZES:
        raise InputError(Code.VALUE, f"the median's size must be one of {MEDIAN_SIZES}, not {size}")


def check_threshold(threshold: float | None) -> None:
    if threshold is not None and not 0 < threshold < math.inf:
        raise InputError(Code.VALUE, f"the threshold must be positive and finite, not {threshold}")


def scan_score(anomaly: Tensor, mask: Tensor) -> float:
    """The scan's one number: the mean of the highest 0.1 % of the map inside the brain.

    ``score = mean of the ceil(0.001 n) largest of the n voxels inside the mask``. About the size of
    a small lesion: a percentile alone would not see how far a small lesion stands out, a maximum
    would follow one noisy voxel.
    """
    return top_mean(anomaly, mask, TOP_FRACTION)


def top_mean(anomaly: Tensor, mask: Tensor, fraction: float) -> float:
    """Mean of the ``ceil(fraction n)`` largest of the n voxels inside the mask; 0 for no voxel."""
    if served(anomaly, mask):
        return stages.top_mean(anomaly, mask, fraction)
    inside = anomaly.numpy()[mask.numpy()]
    if len(inside) == 0:
        return 0.0
    top = math.ceil(fraction * len(inside))
    return float(np.partition(inside, -top)[-top:].mean(dtype=np.float64))


def anomaly_mask(anomaly: Image, threshold: float) -> NDArray[np.bool_]:
    """``anomaly >= threshold`` without 26-connected regions of less than 0.1 mL."""
    data = torch.from_numpy(anomaly.data.T)  # transposed: as it lies
    least = least_voxels(anomaly.affine)
    if served(data) and data.is_contiguous():
        result: NDArray[np.bool_] = stages.anomaly_mask(data, threshold, least).numpy().T
        return result
    result = remove_small((data >= threshold)[None, None], least)[0, 0].numpy().T
    return result


def least_voxels(affine: NDArray[np.float64]) -> int:
    """How many voxels make a region of 0.1 mL, also where rounding puts them just below."""
    return max(1, math.ceil(MIN_REGION_ML / voxel_ml(affine) - 1e-6))


def regions(anomaly: Image, mask: NDArray[np.bool_]) -> list[Region]:
    """The 26-connected regions of ``mask``, highest peak first."""
    inside, data = mask.T, anomaly.data.T
    found, marked = torch.from_numpy(data), torch.from_numpy(inside)
    if served(found, marked) and found.is_contiguous() and marked.is_contiguous():
        table = stages.region_table(found, marked, anomaly.affine.ravel().tolist())
        return [Region(*row) for row in table]
    labels = components3d(marked[None, None], connectivity=26)[0, 0].numpy()
    flat = np.flatnonzero(inside)
    if len(flat) == 0:
        return []
    places = np.stack(np.unravel_index(flat, inside.shape)[::-1], axis=1)
    label, value = labels.reshape(-1)[flat], data[inside]
    order = np.lexsort((-value, label))  # by region, highest value first
    first = np.flatnonzero(np.diff(label[order], prepend=0))
    size = np.diff(first, append=len(label))
    mean = np.add.reduceat(value[order].astype(np.float64), first) / size
    peaks = order[first]
    centre = anomaly.world(places[peaks])
    described = [
        Region(
            volume_ml=float(n * voxel_ml(anomaly.affine)),
            peak=float(value[p]),
            mean=float(m),
            centre=(float(c[0]), float(c[1]), float(c[2])),
        )
        for n, p, m, c in zip(size, peaks, mean, centre, strict=True)
    ]
    return sorted(described, key=lambda region: -region.peak)
