"""Images of an evaluation: their grids, and maps and masks that may be zero everywhere."""

from __future__ import annotations

import contextlib
import itertools
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from isal import igzip, isal_zlib
from numpy.typing import NDArray

from dal_fast.errors import Code, InputError
from dal_fast.imaging.header import LONGEST_HEADER, parse_header
from dal_fast.imaging.mask import GRID_TOLERANCE
from dal_fast.imaging.nifti import Volume, read_volume

_GZIP_ERRORS: Any = (zlib.error, isal_zlib.error)


class Grid(NamedTuple):
    """Shape (I, J, K) of an image, and its affine (4, 4) from voxels to world millimetres."""

    shape: tuple[int, ...]
    affine: NDArray[np.float64]

    @classmethod
    def of(cls, volume: Volume) -> Grid:
        """The grid of an image that was read."""
        return cls(volume.data.shape, volume.affine)

    @property
    def corners(self) -> NDArray[np.float64]:
        """Centres of the eight voxels at the corners, world millimetres, ``(3, 8)``."""
        ends = list(itertools.product(*((0, size - 1) for size in self.shape)))
        return (self.affine @ np.append(np.array(ends).T, np.ones((1, 8)), axis=0))[:3]

    def distance_mm(self, other: Grid) -> float:
        """The largest distance between the corners of two grids."""
        return float(np.linalg.norm(self.corners - other.corners, axis=0).max())

    def same_as(self, other: Grid) -> bool:
        """Whether the shapes are equal and the corners so near that voxels lie on voxels.

        Corners may differ by :data:`dal_fast.imaging.mask.GRID_TOLERANCE` of ``other``'s voxels.
        """
        voxel_mm = float(np.linalg.norm(other.affine[:3, :3], axis=0).min())
        return self.shape == other.shape and self.distance_mm(other) <= GRID_TOLERANCE * voxel_mm


def read_grid(path: Path) -> Grid:
    """The grid of a NIfTI image, from its header alone.

    Raises:
        InputError: whatever :func:`dal_fast.imaging.nifti.read_volume` refuses the file for, as
            far as its first bytes tell.
    """
    with contextlib.suppress(OSError, EOFError, *_GZIP_ERRORS, InputError):
        if path.is_file():  # a pipe is never opened
            opened = igzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb")  # type: ignore[no-untyped-call]
            with opened as stream:
                header = parse_header(stream.read(LONGEST_HEADER), str(path))
            return Grid(header.shape, header.affine)
    return Grid.of(read_volume(path, nonfinite="replace"))  # refuses it, with the reason


def check_same_grid(code: Code, path: Path, grid: Grid, scan: Path, scan_grid: Grid) -> None:
    """Refuse an image that is not on the grid of its scan, see :meth:`Grid.same_as`.

    Raises:
        InputError: ``code``, with both shapes and by how many millimetres the grids differ.
    """
    if not grid.same_as(scan_grid):
        raise InputError(
            code,
            f"{path} {tuple(grid.shape)} is not on the grid of {scan} {tuple(scan_grid.shape)}: "
            f"their corners are up to {grid.distance_mm(scan_grid):.1f} mm apart; resample it to "
            "the scan",
        )


def read_unless_zero(path: Path) -> Volume | None:
    """An image, or ``None`` for one that is 0 everywhere: a map or a mask may be.

    Raises:
        InputError: whatever else reading refuses.
    """
    try:
        return read_volume(path, nonfinite="replace")
    except InputError as error:
        if error.code == Code.ALL_ZERO:
            return None
        raise
