"""Placing a whole head in the fixed volume that the brain extraction network sees.

The network's axes run along those axes of the scan that are closest to right, anterior and
superior: the network was trained on turned heads, and so resampling stays separable
(:mod:`dal_fast.imaging.separable`), with anti-aliasing along fine axes and linear interpolation
between thick slices. Not in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from nibabel.orientations import io_orientation
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from dal_fast.errors import Code, InputError
from dal_fast.imaging.grid import resample
from dal_fast.imaging.nifti import Volume

OUTSIDE_MM = 10.0
"""Distance from the brain, in millimetres, of everything that the network does not see."""
HEADROOM_MM = 10.0
"""Kept above the head where a scan is taller than the network's volume."""
TALL_MM = 160.0
"""Height below its top in which a head's place from side to side is measured: no shoulders."""
AIR, CEILING = 0.1, 1.5
"""What counts as air, as a share of the brightest; and where normalised heads are cut off."""
_BRIGHT_QUANTILE = 0.98  # of what is not air
_ROUNDING = 1e-5  # of an interpolation, as a share of the values
_SPARSE = 3  # every third voxel along an axis is enough for quantiles
_TOP_ML = 2.5  # foreground in a slice of 2.5 mm that belongs to a head, not to noise


@dataclass(frozen=True, eq=False)
class HeadGrid:
    """The network's volume, the scan's grid, and the way back.

    Attributes:
        shape: (D, H, W) of the network's volume.
        affine: (4, 4) float64, network index to world millimetres.
        scan_shape: (I, J, K).
        scan_affine: (4, 4) float64.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    scan_shape: tuple[int, int, int]
    scan_affine: NDArray[np.float64]

    def to_scan(self, distance: Tensor) -> NDArray[np.float32]:
        """Distance (1, 1, D, H, W) to (I, J, K) on the scan's grid, trilinear.

        In Fortran order, as scans are stored; −10 mm outside the network's volume.

        Raises:
            InputError: ``grid-mismatch`` for another shape.
        """
        if tuple(distance.shape) != (1, 1, *self.shape):
            raise InputError(
                Code.GRID_MISMATCH, f"{tuple(distance.shape)} is not (1, 1, *{self.shape})"
            )
        # resampling fills with 0: lift what is to be -10 there
        lifted = distance.detach()[0, 0].cpu().float() + OUTSIDE_MM
        i, j, k = self.scan_shape
        out = resample(lifted, self.affine, (k, j, i), self.scan_affine[:, [2, 1, 0, 3]])
        array: NDArray[np.float32] = out.sub_(OUTSIDE_MM).numpy().T
        return array

    def to_faces(self) -> Tensor:
        """Millimetres from every voxel to the scan's nearest face, positive in the scan.

        float32 (D, H, W).
        """
        index = np.linalg.inv(self.scan_affine) @ self.affine  # of the scan, by the network's
        nearest = torch.full(self.shape, torch.inf)
        for axis, size in enumerate(self.shape):
            own = int(np.abs(index[:3, axis]).argmax())
            at = index[own, axis] * np.arange(size) + index[own, 3]
            inside = np.minimum(at + 0.5, self.scan_shape[own] - 0.5 - at)
            along = torch.from_numpy(inside * np.linalg.norm(self.scan_affine[:3, own])).float()
            nearest = torch.minimum(nearest, along.view([-1 if a == axis else 1 for a in range(3)]))
        return nearest


def place_head(
    volume: Volume, voxel_mm: float, shape: tuple[int, int, int]
) -> tuple[Tensor, HeadGrid]:
    """A head on the network's grid, normalised by :func:`normalise_head`.

    Along an axis on which the scan fits into the network's volume, it lies in the middle. A taller
    scan is cut below the head, starting ``HEADROOM_MM`` above its top; a wider one around it.

    Args:
        volume: the scan, of any contrast, with any air.
        voxel_mm: edge of the network's voxels, millimetres.
        shape: (D, H, W) of the network's volume.

    Returns:
        float32 (1, 1, D, H, W), axes right, anterior, superior, 0 outside the scan; and the grid.

    Raises:
        InputError: ``value`` for a voxel size that is not positive.
    """
    if not voxel_mm > 0:
        raise InputError(Code.VALUE, f"voxel_mm must be positive, not {voxel_mm}")
    affine, sides = _covering(volume, voxel_mm)
    whole = resample(torch.from_numpy(volume.data), volume.affine, sides, affine)
    first = _window(whole, shape, voxel_mm)
    placed = affine.copy()
    placed[:3, 3] += affine[:3, :3] @ np.array(first)
    pads: list[int] = []
    for start, size, wanted in zip(reversed(first), reversed(sides), reversed(shape), strict=True):
        pads += [-start, start + wanted - size]
    inside = F.pad(torch.ones(sides, dtype=torch.bool), pads)
    x = normalise_head(F.pad(whole, pads), inside)[None, None]
    i, j, k = volume.data.shape
    return x, HeadGrid(shape, placed, (i, j, k), volume.affine)


def normalise_head(x: Tensor, inside: Tensor) -> Tensor:
    """Intensities of a head to [0, 1.5]: no signal at 0, bright tissue at 1.

    The darkest percentile of the scan stands for no signal; 1 is the 98 % quantile of everything
    brighter than air. A scan without any contrast becomes 0.

    Args:
        x: float32 (D, H, W), any unit.
        inside: bool (D, H, W), what the scan covers; the rest becomes 0.
    """
    thin = (slice(None, None, _SPARSE),) * 3
    values = x[thin][inside[thin]]
    if values.numel() == 0:
        return torch.zeros_like(x)
    low, high = _quantile(values, 0.01), _quantile(values, 0.99)
    signal = values[values > low + AIR * (high - low)]
    bright = _quantile(signal, _BRIGHT_QUANTILE) if signal.numel() else low
    if not bright - low > _ROUNDING * max(abs(bright), abs(low)):
        return torch.zeros_like(x)
    return ((x - low) / (bright - low)).clamp_(0, CEILING) * inside


def _quantile(values: Tensor, share: float) -> float:
    return float(values.kthvalue(1 + round(share * (values.numel() - 1))).values)


def _covering(volume: Volume, voxel_mm: float) -> tuple[NDArray[np.float64], tuple[int, int, int]]:
    """Affine and shape of a grid over the whole scan, along the scan's own axes, in RAS order."""
    # rows: scan axes; columns: RAS axis, direction
    order = io_orientation(volume.affine)  # type: ignore[no-untyped-call]
    affine, sides = np.eye(4), [1, 1, 1]
    centre = volume.affine[:3, :3] @ ((np.array(volume.data.shape) - 1) / 2)
    for axis, (target, direction) in enumerate(order):
        column = volume.affine[:3, axis] * direction
        size = float(np.linalg.norm(column))
        affine[:3, int(target)] = column * (voxel_mm / size)
        sides[int(target)] = max(1, int(np.ceil(size * volume.data.shape[axis] / voxel_mm - 1e-3)))
    affine[:3, 3] = volume.affine[:3, 3] + centre
    affine[:3, 3] -= affine[:3, :3] @ ((np.array(sides) - 1) / 2)
    return affine, (sides[0], sides[1], sides[2])


def _window(whole: Tensor, shape: tuple[int, int, int], voxel_mm: float) -> tuple[int, int, int]:
    """First index, along each axis of the whole scan, of the network's volume."""
    first = [-((wanted - size) // 2) for size, wanted in zip(whole.shape, shape, strict=True)]
    too_large = [size > wanted for size, wanted in zip(whole.shape, shape, strict=True)]
    if any(too_large):
        low, high = (_quantile(whole[::_SPARSE, ::_SPARSE, ::_SPARSE].flatten(), q)
                     for q in (0.01, 0.99))  # fmt: skip
        head = whole > low + 2 * AIR * (high - low)
        area = head.sum((0, 1)) * voxel_mm**3 / 1000 * (2.5 / voxel_mm)
        filled = (area > _TOP_ML).nonzero()
        top = int(filled[-1]) + 1 if len(filled) else whole.shape[2]
        if too_large[2]:
            highest = min(whole.shape[2], top + round(HEADROOM_MM / voxel_mm))
            first[2] = max(0, highest - shape[2])
        upper = head[:, :, max(0, top - round(TALL_MM / voxel_mm)) : top]
        for axis in (0, 1):
            if too_large[axis]:
                first[axis] = _around(upper.sum((1 - axis, 2)), shape[axis])
    return first[0], first[1], first[2]


def _around(profile: Tensor, wanted: int) -> int:
    """First index of ``wanted`` voxels around the bulk of a profile, not beyond its ends."""
    mass = profile.cumsum(0).double()
    if not float(mass[-1]):
        return (len(profile) - wanted) // 2
    ends = [int((mass >= share * mass[-1]).nonzero()[0]) for share in (0.02, 0.98)]
    return min(max(0, (ends[0] + ends[1] + 1 - wanted) // 2), len(profile) - wanted)
