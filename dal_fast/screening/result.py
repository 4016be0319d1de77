"""What a screening returns: maps, one score, what was found, quality flags, timings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dal_fast.imaging.orientation import SIDE_UNKNOWN, position_in_words
from dal_fast.imaging.text import counted


@dataclass(frozen=True, eq=False)
class Image:
    """A 3D array and where its voxels lie.

    Args:
        data: ``(I, J, K)``.
        affine: ``(4, 4)``, voxel index to world mm, x to the Right, y Anterior, z Superior.
    """

    data: NDArray[Any]
    affine: NDArray[np.float64]

    def __repr__(self) -> str:
        shape = " × ".join(map(str, self.data.shape))
        sides = " × ".join(f"{side:.3g}" for side in np.linalg.norm(self.affine[:3, :3], axis=0))
        return f"<Image {self.data.dtype}, {shape} voxels of {sides} mm>"

    def world(self, index: NDArray[Any]) -> NDArray[np.float64]:
        """World coordinates ``(…, 3)`` in mm of voxel indices ``(…, 3)``."""
        return index @ self.affine[:3, :3].T + self.affine[:3, 3]


@dataclass(frozen=True)
class Flag:
    """Something about the scan that makes its result less trustworthy."""

    code: str
    message: str


@dataclass(frozen=True)
class Region:
    """One connected region of the anomaly mask.

    Args:
        volume_ml: its size in millilitres.
        peak: its highest anomaly value.
        mean: its mean anomaly value.
        centre: world coordinates of the peak, mm, (Right, Anterior, Superior).
    """

    volume_ml: float
    peak: float
    mean: float
    centre: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Result:
    """One screened scan.

    Args:
        name: file name of the scan without its extension, e.g. ``sub-01_FLAIR``.
        source: path and sha256 of what was read.
        scan: the scan as read.
        anomaly: float32 map, higher is stranger; 0 outside the brain; on the scan's grid.
        pseudo_healthy: float32, how the scan would look if it were healthy, in the scan's own
            intensity unit; on the scan's grid.
        brain_mask: bool, on the scan's grid.
        anomaly_mask: bool, ``anomaly >= threshold`` without specks; on the scan's grid.
        tissue: uint8, 0 outside, 1 CSF, 2 grey and 3 white matter; on the model's grid. None where
            the model makes no tissue maps, as ``edges``.
        edges: bool, 3D Canny edges of the anatomical image; on the model's grid.
        bias: float32, the scan's bias field, about 1, 0 outside the brain; on the model's grid.
            None where the model estimates none.
        score: the scan's one number, see :func:`dal_fast.screening.postprocess.scan_score`.
        regions: connected regions of the anomaly mask, largest peak first.
        parameters: everything that was used, JSON-ready.
        brain: whose the brain mask is, its volume and how far to trust it, JSON-ready; see
            :attr:`dal_fast.screening.scan.Scan.brain`.
        requested: the same as it was asked for, where ``"auto"`` is not yet decided.
        flags: quality flags; empty when nothing is unusual.
        timings: seconds per stage, in order.
    """

    name: str
    source: dict[str, str]
    scan: Image
    anomaly: Image
    pseudo_healthy: Image
    brain_mask: Image
    anomaly_mask: Image
    tissue: Image | None
    edges: Image | None
    bias: Image | None
    score: float
    regions: list[Region]
    parameters: dict[str, Any]
    brain: dict[str, Any]
    requested: dict[str, Any] = field(default_factory=dict)
    flags: list[Flag] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        flags = f", flags: {', '.join(flag.code for flag in self.flags)}" if self.flags else ""
        return (
            f"<Result of {self.name}: score {self.score:.3f}, {self.volume_ml:.1f} mL above "
            f"{self.threshold:.3g} in {counted(len(self.regions), 'region')}{flags}>"
        )

    @property
    def volume_ml(self) -> float:
        """Of all regions."""
        return sum(region.volume_ml for region in self.regions)

    @property
    def threshold(self) -> float:
        """The anomaly value from which a voxel belongs to the anomaly mask."""
        return float(self.parameters["threshold"])

    @property
    def side_known(self) -> bool:
        """Whether the header says which side of the patient is left."""
        return all(flag.code != SIDE_UNKNOWN for flag in self.flags)

    def place_in_words(self, region: Region) -> str:
        """Where a region's peak lies, such as ``28 mm left, 0 mm anterior, 19 mm superior``."""
        return position_in_words(region.centre, self.side_known)
