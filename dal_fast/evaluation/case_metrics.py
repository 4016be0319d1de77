"""A scan ready to be judged: brain, lesion and a detector's map on the protocol's grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from nibabel.orientations import io_orientation
from numpy.typing import NDArray
from torch import Tensor

from dal_fast.errors import Code, InputError
from dal_fast.evaluation.ground_truth import Truth
from dal_fast.evaluation.protocols import Protocol
from dal_fast.imaging.bids import output_name, parse_name
from dal_fast.imaging.grid import Mode, bounding_box, resample
from dal_fast.imaging.mask import brain_mask, same_grid
from dal_fast.imaging.morphology import grown
from dal_fast.imaging.nifti import Volume, read_volume

_ENDINGS = (".nii.gz", ".nii", ".npy")
_AROUND = 5  # voxels
_MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True, eq=False)
class Anatomy:
    """One scan, its brain and its lesions; tensors ``(1, 1, K, J, I)``, as NIfTI lies in memory.

    Attributes:
        truth: where it comes from.
        volume: the scan as read.
        brain_of_scan: (I, J, K), on the scan's own grid.
        scan, brain, lesion: on the protocol's grid.
        axial: tensor axis that is closest to the body's (2, 3 or 4).
        voxel_ml: volume of a voxel of the grid.
        grid: affine of the protocol's grid.
        contrast: (median in the lesion - median of the brain around it, up to 5 voxels) / robust
            spread of the brain, in the scan itself; NaN without a lesion.
        protocol: that it is read for.
    """

    truth: Truth
    volume: Volume
    brain_of_scan: NDArray[np.bool_]
    scan: Tensor
    brain: Tensor
    lesion: Tensor
    axial: int
    voxel_ml: float
    grid: NDArray[np.float64]
    contrast: float
    protocol: Protocol

    @property
    def given(self) -> NDArray[np.float32]:
        """(I, J, K), what a detector is given of the scan."""
        return self.protocol.scan(self.volume.data)

    def on_grid(self, data: NDArray[np.generic]) -> Tensor:
        """An image on the scan's grid, on the protocol's."""
        return _on_grid(data, self.volume, self.grid, labels=False)


def read_anatomy(truth: Truth, protocol: Protocol) -> Anatomy:
    """Read scan, brain and lesions.

    Raises:
        InputError: ``lesion-grid`` for a lesion mask on another grid, ``lesion-empty`` for one
            without a voxel, and whatever reading refuses.
    """
    volume = read_volume(truth.scan, nonfinite="replace")
    brain = brain_mask(volume, truth.brain).data
    lesion = np.zeros(volume.data.shape, bool)
    if truth.lesion is not None:
        lesion = _lesion(truth.lesion, volume)
    grid = _grid(volume, protocol.voxel_mm)
    axes = io_orientation(grid)[:, 0]  # type: ignore[no-untyped-call]
    scan = _on_grid(volume.data, volume, grid, labels=False)
    inside, sick = (_on_grid(mask, volume, grid, labels=True) for mask in (brain, lesion))
    return Anatomy(
        truth,
        volume,
        brain,
        scan,
        inside,
        sick,
        axial=4 - int(np.flatnonzero(axes == 2)[0]),
        voxel_ml=float(abs(np.linalg.det(grid[:3, :3]))) / 1000,
        grid=grid,
        contrast=_contrast(scan, inside, sick),
        protocol=protocol,
    )


def _lesion(path: Path, volume: Volume) -> NDArray[np.bool_]:
    empty = InputError(Code.LESION_EMPTY, f"{path} has no voxel; a healthy scan has no lesion mask")
    mask = _read_unless_zero(path)
    if mask is None:
        raise empty
    _check_grid("lesion-grid", mask, volume)
    lesion: NDArray[np.bool_] = mask.data > 0.5
    if not lesion.any():
        raise empty
    return lesion


class MapFolder:
    """The maps that one detector wrote.

    Of a scan ``sub-01_T2w.nii.gz`` it finds, anywhere below the folder: what ``dal-fast screen``
    and ``bids`` write (``sub-01_desc-anomaly_T2w.nii.gz``); a file named as the scan, or the
    scan's name with ``_anomaly`` (or any other ``_word``), as ``.nii.gz``, ``.nii`` or ``.npy``.

    An array (``.npy``) has the scan's voxels in NIfTI's order of axes, or is a centre crop or
    centre pad of them (what ``CenterCrop(224)`` of UAD-IMAG leaves), with or without leading axes
    of length 1.

    Args:
        name: of the detector.
        folder: of its maps.

    Raises:
        InputError: ``not-a-folder``.
    """

    def __init__(self, name: str, folder: Path) -> None:
        if not folder.is_dir():
            raise InputError(Code.NOT_A_FOLDER, f"{folder} is not a folder of maps")
        self.name, self.folder = name, folder
        self._files: dict[str, list[Path]] = {}
        for path in sorted(folder.rglob("*")):
            if path.name.endswith(_ENDINGS) and not path.name.startswith("."):
                self._files.setdefault(_stem(path), []).append(path)

    def find(self, scan: Path) -> Path:
        """The map of a scan.

        Raises:
            InputError: ``map-missing``, ``map-ambiguous``.
        """
        stem = parse_name(scan).stem
        exact = self._files.get(_stem(Path(output_name(scan, "anomaly"))), [])
        found = exact or self._files.get(stem, []) or self._files.get(f"{stem}_anomaly", [])
        if not found:
            found = [
                path
                for name, paths in self._files.items()
                if name.startswith(f"{stem}_") and "_" not in name[len(stem) + 1 :]
                for path in paths
            ]
        if not found:
            raise InputError(Code.MAP_MISSING, f"{self.folder} holds no anomaly map of {scan.name}")
        if len(found) > 1:
            names = ", ".join(str(path.relative_to(self.folder)) for path in found[:3])
            raise InputError(Code.MAP_AMBIGUOUS, f"{scan.name} has several maps: {names}")
        return found[0]

    def read(self, anatomy: Anatomy) -> Tensor:
        """The map of a scan on the protocol's grid, float32 ``(1, 1, K, J, I)``.

        Raises:
            InputError: ``map-missing``, ``map-ambiguous``, ``map-grid``, ``map-nonfinite``.
        """
        path, scan = self.find(anatomy.truth.scan), anatomy.volume
        if path.suffix == ".npy":
            return anatomy.on_grid(_centred(_array(path), scan.data.shape, path))
        return anatomy.on_grid(_image(path, scan))


def _stem(path: Path) -> str:
    for ending in _ENDINGS:
        if path.name.endswith(ending):
            return path.name[: -len(ending)]
    return path.name


def _image(path: Path, scan: Volume) -> NDArray[np.float32]:
    volume = _read_unless_zero(path)
    if volume is None:  # a detector may have found nothing
        return np.zeros(scan.data.shape, np.float32)
    if volume.nonfinite:
        raise InputError(
            Code.MAP_NONFINITE, f"{path} holds {volume.nonfinite} NaN or infinite values"
        )
    _check_grid("map-grid", volume, scan)
    return volume.data


def _read_unless_zero(path: Path) -> Volume | None:
    """An image, or ``None`` for one that is 0 everywhere, which is no scan but may be a map."""
    try:
        return read_volume(path, nonfinite="replace")
    except InputError as error:
        if error.code == Code.ALL_ZERO:
            return None
        raise


def _check_grid(code: str, volume: Volume, scan: Volume) -> None:
    if not same_grid(volume, scan):
        raise InputError(
            code,
            f"{volume.path} {volume.data.shape} is not on the grid of {scan.path} "
            f"{scan.data.shape}; resample it to the scan",
        )


def _array(path: Path) -> NDArray[np.float32]:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(Code.MAP_UNREADABLE, f"{path} is no array: {error}") from None
    while array.ndim > 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 3 or array.dtype.kind not in "fiu":
        raise InputError(Code.MAP_GRID, f"{path} holds {array.dtype} {array.shape}, not one volume")
    data: NDArray[np.float32] = array.astype(np.float32)
    if not np.isfinite(data).all():
        raise InputError(Code.MAP_NONFINITE, f"{path} holds NaN or infinite values")
    return data


def _centred(data: NDArray[np.float32], shape: tuple[int, ...], path: Path) -> NDArray[np.float32]:
    """``data`` in the middle of ``shape``, cut or filled with 0 along each axis."""
    odd = [axis for axis in range(3) if (data.shape[axis] - shape[axis]) % 2]
    if odd:
        raise InputError(
            Code.MAP_GRID,
            f"{path} {data.shape} is neither on the scan's grid {shape} nor a centre crop of it",
        )
    out = np.zeros(shape, np.float32)
    source, target = [], []
    for have, want in zip(data.shape, shape, strict=True):
        cut, fill = max(0, have - want) // 2, max(0, want - have) // 2
        source.append(slice(cut, cut + min(have, want)))
        target.append(slice(fill, fill + min(have, want)))
    out[tuple(target)] = data[tuple(source)]
    return out


def _grid(volume: Volume, voxel_mm: float | None) -> NDArray[np.float64]:
    """The scan's own affine, or its axes with voxels of ``voxel_mm`` from the same corner."""
    if voxel_mm is None or np.allclose(volume.voxel_mm, voxel_mm, rtol=1e-3):
        return volume.affine
    scale = voxel_mm / np.asarray(volume.voxel_mm, np.float64)
    grid = volume.affine.copy()
    grid[:3, :3] = volume.affine[:3, :3] * scale
    grid[:3, 3] = volume.affine[:3, :3] @ (scale / 2 - 0.5) + volume.affine[:3, 3]
    return grid


def _on_grid(
    data: NDArray[np.generic], volume: Volume, grid: NDArray[np.float64], labels: bool
) -> Tensor:
    if grid is volume.affine:
        own = torch.from_numpy(np.ascontiguousarray(data.T))[None, None]
        return own if labels else own.float()
    scale = np.linalg.norm(grid[:3, :3], axis=0) / np.asarray(volume.voxel_mm)
    shape = [max(1, round(side / float(s))) for side, s in zip(data.shape, scale, strict=True)]
    i, j, k = shape
    transposed = grid[:, [2, 1, 0, 3]]
    mode: Mode = "nearest" if labels else "linear"
    found = resample(torch.as_tensor(data), volume.affine, (k, j, i), transposed, mode)
    return (found > 0.5 if labels else found)[None, None]


def _contrast(scan: Tensor, brain: Tensor, lesion: Tensor) -> float:
    """How the scan's lesion stands out from the brain around it, in spreads of the brain."""
    box = (slice(None), slice(None), *bounding_box(lesion[0, 0], _AROUND))
    sick = lesion[box] & brain[box]
    near = grown(lesion[box], _AROUND) & brain[box] & ~lesion[box]
    inside, around = (scan[box].numpy()[mask.numpy()] for mask in (sick, near))
    if len(inside) == 0 or len(around) == 0:
        return math.nan
    values = scan.numpy()[brain.numpy()]
    spread = _MAD_TO_SIGMA * _median(np.abs(values - _median(values)))
    return (_median(inside) - _median(around)) / spread if spread else math.nan


def _median(values: NDArray[np.float32]) -> float:
    """The upper of the middle values; several times as fast as numpy's mean of both."""
    return float(np.partition(values, len(values) // 2)[len(values) // 2])
