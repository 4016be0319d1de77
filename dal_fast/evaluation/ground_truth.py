"""What a map is compared with: a case's scan, brain and lesions on the protocol's grid."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from nibabel.orientations import io_orientation
from numpy.typing import NDArray
from torch import Tensor

from dal_fast.errors import Code, InputError
from dal_fast.evaluation.cases import Case
from dal_fast.evaluation.images import Grid, check_same_grid, read_unless_zero
from dal_fast.evaluation.protocols import Protocol
from dal_fast.imaging.grid import Mode, resample
from dal_fast.imaging.mask import BrainMask, brain_mask
from dal_fast.imaging.morphology import bounding_box, dilate
from dal_fast.imaging.nifti import Volume, read_volume
from dal_fast.imaging.orientation import voxel_ml
from dal_fast.metrics import MAD_TO_SIGMA

_AROUND = 5  # voxels


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """One case as read; tensors ``(1, 1, K, J, I)``, as NIfTI lies in memory.

    Attributes:
        case: where it comes from.
        volume: the scan as read.
        mask: the brain on the scan's own grid.
        scan, brain, lesion: on the protocol's grid.
        has_lesion: whether the lesion mask has a voxel on the scan's grid; else it is healthy.
        axial: tensor axis that is closest to the body's (2, 3 or 4).
        voxel_ml: volume of a voxel of the grid.
        affine: of the protocol's grid.
        lesion_contrast: (median in the lesion - median of the brain around it, up to 5 voxels) /
            robust spread of the brain, in the scan itself; NaN without a lesion.
        protocol: that it is read for.
    """

    case: Case
    volume: Volume
    mask: BrainMask
    scan: Tensor
    brain: Tensor
    lesion: Tensor
    has_lesion: bool
    axial: int
    voxel_ml: float
    affine: NDArray[np.float64]
    lesion_contrast: float
    protocol: Protocol

    @property
    def detector_input(self) -> NDArray[np.float32]:
        """A copy (I, J, K) of the scan as the protocol gives it to a detector."""
        return self.protocol.scan(self.volume.data).copy()

    def on_grid(self, data: NDArray[np.generic]) -> Tensor:
        """An image on the scan's grid, resampled to the protocol's."""
        return _on_grid(data, self.volume, self.affine, labels=False)


def read_ground_truth(case: Case, protocol: Protocol) -> GroundTruth:
    """Read scan, brain and lesions.

    Raises:
        InputError: ``lesion-grid`` for a lesion mask on another grid, ``lesion-empty`` for one
            without a voxel unless the case is known to be healthy, and whatever reading refuses.
    """
    volume = read_volume(case.scan, nonfinite="replace")
    mask = brain_mask(volume, case.brain)
    inside = read_lesion(case, Grid.of(volume))
    affine = _affine(volume, protocol.voxel_mm)
    axes = io_orientation(affine)[:, 0]  # type: ignore[no-untyped-call]
    scan = _on_grid(volume.data, volume, affine, labels=False)
    brain, lesion = (_on_grid(m, volume, affine, labels=True) for m in (mask.data, inside))
    return GroundTruth(
        case,
        volume,
        mask,
        scan,
        brain,
        lesion,
        has_lesion=bool(inside.any()),
        axial=4 - int(np.flatnonzero(axes == 2)[0]),
        voxel_ml=voxel_ml(affine),
        affine=affine,
        lesion_contrast=_contrast(scan, brain, lesion),
        protocol=protocol,
    )


def read_lesion(case: Case, grid: Grid) -> NDArray[np.bool_]:
    """The lesion mask (I, J, K) of a case on its scan's grid; empty for a healthy case.

    Raises:
        InputError: ``lesion-grid``, ``lesion-empty``, and whatever reading refuses.
    """
    empty = np.zeros(grid.shape, bool)
    if case.lesion is None:
        return empty
    mask = read_unless_zero(case.lesion)
    if mask is not None:
        check_same_grid(Code.LESION_GRID, case.lesion, Grid.of(mask), case.scan, grid)
        lesion: NDArray[np.bool_] = mask.data > 0.5
        if lesion.any():
            return lesion
    if case.healthy:
        return empty
    raise InputError(
        Code.LESION_EMPTY,
        f"{case.lesion} has no voxel above 0.5; if it is healthy, say so: --healthy KEY=VALUE",
    )


def _affine(volume: Volume, voxel_mm: float | None) -> NDArray[np.float64]:
    """The scan's own affine, or its axes with voxels of ``voxel_mm`` from the same corner."""
    if voxel_mm is None or np.allclose(volume.voxel_mm, voxel_mm, rtol=1e-3):
        return volume.affine
    scale = voxel_mm / np.asarray(volume.voxel_mm, np.float64)
    affine = volume.affine.copy()
    affine[:3, :3] = volume.affine[:3, :3] * scale
    affine[:3, 3] = volume.affine[:3, :3] @ (scale / 2 - 0.5) + volume.affine[:3, 3]
    return affine


def _on_grid(
    data: NDArray[np.generic], volume: Volume, affine: NDArray[np.float64], labels: bool
) -> Tensor:
    if affine is volume.affine:
        same = torch.from_numpy(np.ascontiguousarray(data.T))[None, None]
        return same if labels else same.float()
    scale = np.linalg.norm(affine[:3, :3], axis=0) / np.asarray(volume.voxel_mm)
    shape = [max(1, round(side / float(s))) for side, s in zip(data.shape, scale, strict=True)]
    i, j, k = shape
    transposed = affine[:, [2, 1, 0, 3]]
    mode: Mode = "nearest" if labels else "linear"
    resampled = resample(torch.as_tensor(data), volume.affine, (k, j, i), transposed, mode)
    return (resampled > 0.5 if labels else resampled)[None, None]


def _contrast(scan: Tensor, brain: Tensor, lesion: Tensor) -> float:
    """How the scan's lesion stands out from the brain around it, in spreads of the brain."""
    box = (slice(None), slice(None), *bounding_box(lesion[0, 0], _AROUND))
    sick = lesion[box] & brain[box]
    near = dilate(lesion[box], _AROUND) & brain[box] & ~lesion[box]
    inside, around = (scan[box].numpy()[mask.numpy()] for mask in (sick, near))
    if len(inside) == 0 or len(around) == 0:
        return math.nan
    values = scan.numpy()[brain.numpy()]
    spread = MAD_TO_SIGMA * _median(np.abs(values - _median(values)))
    return (_median(inside) - _median(around)) / spread if spread else math.nan


def _median(values: NDArray[np.float32]) -> float:
    """The upper of the middle values; several times as fast as numpy's mean of both."""
    return float(np.partition(values, len(values) // 2)[len(values) // 2])
