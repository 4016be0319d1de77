"""The anomaly maps that one detector wrote into a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dal_fast.errors import Code, InputError
from dal_fast.evaluation.cases import Case
from dal_fast.evaluation.ground_truth import GroundTruth
from dal_fast.evaluation.images import Grid, check_same_grid, read_grid, read_unless_zero
from dal_fast.imaging.bids import INDICES, output_name, parse_name

_INDEX = re.compile(rf"(?<![A-Za-z0-9])({'|'.join(INDICES)})-0*([0-9]+)(?![A-Za-z0-9])")
_ENDINGS = (".nii.gz", ".nii", ".npy")


class MapFolder:
    """The maps that one detector wrote.

    Of a scan ``sub-01_T2w.nii.gz`` it finds, anywhere below the folder: what ``dal-fast screen``
    and ``bids`` write (``sub-01_desc-anomaly_T2w.nii.gz``); a file named as the scan, or the
    scan's name with ``_anomaly`` (or any other ``_word``), as ``.nii.gz``, ``.nii`` or ``.npy``.
    Links are followed, and ``run-1`` is ``run-01``.

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
        self.names, self.folder = (name,), folder
        self._files: dict[str, list[Path]] = {}
        for path in _files(folder):
            self._files.setdefault(same_indices(_stem(path)), []).append(path)

    def find(self, scan: Path) -> Path:
        """The map of a scan.

        Raises:
            InputError: ``map-missing``, ``map-ambiguous``.
        """
        stem = same_indices(parse_name(scan).stem)
        ours = same_indices(_stem(Path(output_name(scan, "anomaly"))))
        names = (ours, stem, f"{stem}_anomaly")
        maps = next((self._files[name] for name in names if name in self._files), [])
        if not maps:
            maps = [
                path
                for name, paths in self._files.items()
                if name.startswith(f"{stem}_") and "_" not in name[len(stem) + 1 :]
                for path in paths
            ]
        if not maps:
            raise InputError(Code.MAP_MISSING, f"{self.folder} holds no anomaly map of {scan.name}")
        if len(maps) > 1:
            listed = ", ".join(str(path.relative_to(self.folder)) for path in maps[:3])
            raise InputError(Code.MAP_AMBIGUOUS, f"{scan.name} has several maps: {listed}")
        return maps[0]

    def check(self, case: Case, grid: Grid) -> None:
        """Refuse what the names and headers of the files tell, before anything is computed.

        Raises:
            InputError: ``map-missing``, ``map-ambiguous``, ``map-grid``, ``map-unreadable``, and
                whatever reading the header refuses.
        """
        path = self.find(case.scan)
        if path.suffix == ".npy":
            _check_crop(_one_volume(_load(path, mapped=True), path).shape, grid.shape, path)
        else:
            check_same_grid(Code.MAP_GRID, path, read_grid(path), case.scan, grid)

    def maps(self, truth: GroundTruth) -> dict[str, Tensor]:
        """The map of a case on the protocol's grid, float32 ``(1, 1, K, J, I)``, by name.

        Raises:
            InputError: those of :meth:`check`, ``map-nonfinite``, and whatever reading refuses.
        """
        path = self.find(truth.case.scan)
        grid = Grid.of(truth.volume)
        data = _array(path, grid) if path.suffix == ".npy" else _image(path, truth.case.scan, grid)
        return {self.names[0]: truth.on_grid(data)}


def _files(folder: Path) -> Iterator[Path]:
    """Every file with a known ending below a folder, links followed, in a stable order."""
    visited: set[tuple[int, int]] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in visited:  # a link that leads back
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.endswith(_ENDINGS) and not name.startswith("."):
                yield Path(parent, name)


def same_indices(stem: str) -> str:
    """A file name whose BIDS indices have no leading zeros: ``run-01`` and ``run-1`` are equal."""
    return _INDEX.sub(r"\1-\2", stem)


def _stem(path: Path) -> str:
    for ending in _ENDINGS:
        if path.name.endswith(ending):
            return path.name[: -len(ending)]
    return path.name


def _image(path: Path, scan: Path, grid: Grid) -> NDArray[np.float32]:
    volume = read_unless_zero(path)
    if volume is None:  # a detector may have found nothing
        check_same_grid(Code.MAP_GRID, path, read_grid(path), scan, grid)
        return np.zeros(grid.shape, np.float32)
    if volume.nonfinite:
        raise InputError(
            Code.MAP_NONFINITE, f"{path} holds {volume.nonfinite} NaN or infinite values"
        )
    check_same_grid(Code.MAP_GRID, path, Grid.of(volume), scan, grid)
    return volume.data


def _array(path: Path, grid: Grid) -> NDArray[np.float32]:
    """The values of a ``.npy`` on the scan's grid."""
    array = _one_volume(_load(path, mapped=False), path)
    _check_crop(array.shape, grid.shape, path)
    with np.errstate(over="ignore"):
        data: NDArray[np.float32] = array.astype(np.float32)
    if not np.isfinite(data).all():
        raise InputError(Code.MAP_NONFINITE, f"{path} holds NaN or infinite values")
    return _centred(data, grid.shape)


def _load(path: Path, mapped: bool) -> NDArray[np.generic]:
    try:
        array: NDArray[np.generic] = np.load(
            path, mmap_mode="r" if mapped else None, allow_pickle=False
        )
    except (OSError, ValueError, EOFError) as error:
        raise InputError(Code.MAP_UNREADABLE, f"{path} is not an array: {error}") from None
    return array


def _one_volume(array: NDArray[np.generic], path: Path) -> NDArray[np.generic]:
    """Without leading axes of length 1."""
    while array.ndim > 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 3 or array.dtype.kind not in "fiu":
        raise InputError(Code.MAP_GRID, f"{path} holds {array.dtype} {array.shape}, not one volume")
    return array


def _check_crop(shape: tuple[int, ...], of_scan: tuple[int, ...], path: Path) -> None:
    if any((have - want) % 2 for have, want in zip(shape, of_scan, strict=True)):
        raise InputError(
            Code.MAP_GRID,
            f"{path} {shape} is neither on the scan's grid {of_scan} nor a centre crop of it",
        )


def _centred(data: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """``data`` in the middle of ``shape``, cut or filled with 0 along each axis."""
    out = np.zeros(shape, np.float32)
    source, target = [], []
    for have, want in zip(data.shape, shape, strict=True):
        cut, fill = max(0, have - want) // 2, max(0, want - have) // 2
        source.append(slice(cut, cut + min(have, want)))
        target.append(slice(fill, fill + min(have, want)))
    out[tuple(target)] = data[tuple(source)]
    return out
