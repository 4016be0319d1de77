"""Where a detector's maps come from: a folder of files, or a function of a Python package.

A package offers its detector under the entry point ``dal_fast.detectors``:

    [project.entry-points."dal_fast.detectors"]
    mine = "my_package.detector:anomaly_map"

and ``dal-fast evaluate detector:mine …`` calls it for every scan. Its own settings (weights,
device) are the package's business.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dal_fast.errors import Code, InputError
from dal_fast.evaluation.case_metrics import Anatomy, MapFolder

GROUP = "dal_fast.detectors"
PREFIX = "detector:"
Detector = Callable[
    [NDArray[np.float32], NDArray[np.bool_], NDArray[np.float64]], NDArray[np.float32]
]
"""Scan (I, J, K), brain mask and affine to an anomaly map of the same shape: higher is stranger.
The scan as it is, or as the protocol normalises it."""


class Source(Protocol):
    """What gives the map of a scan."""

    name: str

    def find(self, scan: Path) -> object:
        """Refuse early, before anything is read, what will not be there."""
        ...

    def read(self, anatomy: Anatomy) -> Tensor:
        """The map on the protocol's grid, float32 ``(1, 1, K, J, I)``."""
        ...


class LiveDetector:
    """Calls a detector of an installed package.

    Args:
        name: of it in the results.
        entry: one of :data:`OWN`, or its name among the entry points ``dal_fast.detectors``.

    Raises:
        InputError: ``detector-unknown``, ``detector-broken`` when it cannot be imported.
    """

    def __init__(self, name: str, entry: str) -> None:
        self.name, self.entry = name, entry
        self._detect = OWN.get(entry) or _installed(entry)

    def find(self, scan: Path) -> None:
        """There is nothing to look for."""

    def read(self, anatomy: Anatomy) -> Tensor:
        """Call it.

        Raises:
            InputError: ``detector-broken`` when it fails or its map does not fit the scan.
        """
        scan, name = anatomy.volume, anatomy.truth.scan.name
        try:
            found = np.asarray(self._detect(anatomy.given, anatomy.brain_of_scan, scan.affine))
        except Exception as error:
            raise InputError(
                Code.DETECTOR_BROKEN, f"detector {self.entry} failed on {name}: {error}"
            ) from error
        if found.shape != scan.data.shape or not np.isfinite(found).all():
            raise InputError(
                Code.DETECTOR_BROKEN,
                f"detector {self.entry} made {found.shape} of {name}, which is {scan.data.shape}, "
                "or values that are not finite",
            )
        return anatomy.on_grid(found.astype(np.float32))


def source_of(text: str) -> Source:
    """``FOLDER``, ``NAME=FOLDER``, ``detector:ENTRY`` or ``NAME=detector:ENTRY``.

    Raises:
        InputError: ``detector-name`` for an empty name, and those of :class:`MapFolder` and
            :class:`LiveDetector`.
    """
    name, equals, where = text.partition("=")
    if not equals:
        where = text
        name = text.removeprefix(PREFIX) if text.startswith(PREFIX) else Path(text).resolve().name
    if not name:
        raise InputError(Code.DETECTOR_NAME, f"{text!r} names no detector")
    if where.startswith(PREFIX):
        return LiveDetector(name, where.removeprefix(PREFIX))
    return MapFolder(name, Path(where))


def intensity(
    scan: NDArray[np.float32], brain: NDArray[np.bool_], affine: NDArray[np.float64]
) -> NDArray[np.float32]:
    """The scan by the median of its brain: what a detector of bright lesions must beat."""
    inside = scan[brain & (scan > 0)]
    level = float(np.median(inside)) if len(inside) else 1.0
    return np.where(brain, scan / level, 0).astype(np.float32)


def darkness(
    scan: NDArray[np.float32], brain: NDArray[np.bool_], affine: NDArray[np.float64]
) -> NDArray[np.float32]:
    """The same for dark lesions: what a voxel lacks to the brain's highest, by the median."""
    bright = intensity(scan, brain, affine)
    return np.where(brain, bright.max() - bright, 0).astype(np.float32)


OWN: dict[str, Detector] = {"intensity": intensity, "darkness": darkness}
"""Detectors that learned nothing, and come along."""


def _installed(entry: str) -> Detector:
    points = {point.name: point for point in entry_points(group=GROUP)}
    if entry not in points:
        there = ", ".join(sorted({*OWN, *points}))
        raise InputError(
            Code.DETECTOR_UNKNOWN, f"there is no detector {entry!r}; there are {there}"
        )
    try:
        detector: Detector = points[entry].load()
    except Exception as error:
        raise InputError(Code.DETECTOR_BROKEN, f"detector {entry}: {error}") from error
    return detector
