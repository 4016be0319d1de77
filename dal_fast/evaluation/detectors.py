"""Where anomaly maps come from: a folder of files, or a function of a Python package.

A package offers its detector under the entry point ``dal_fast.detectors``:

    [project.entry-points."dal_fast.detectors"]
    mine = "my_package.detector:anomaly_map"

and ``dal-fast evaluate detector:mine …`` calls it for every scan. Its own settings (weights,
device) are the package's business. The scores of a weight file are in
:mod:`dal_fast.evaluation.model_scores`.
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
from dal_fast.evaluation.cases import Case
from dal_fast.evaluation.ground_truth import GroundTruth
from dal_fast.evaluation.images import Grid
from dal_fast.evaluation.map_folder import MapFolder
from dal_fast.imaging.text import printable

GROUP = "dal_fast.detectors"
PREFIX = "detector:"
Function = Callable[
    [NDArray[np.float32], NDArray[np.bool_], NDArray[np.float64]], NDArray[np.float32]
]
"""Scan (I, J, K), brain mask and affine to an anomaly map of the same shape, which is higher where
the scan is more anomalous. The scan as it is, or as the protocol normalises it."""


class Detector(Protocol):
    """What gives one or several maps of a case; ``names`` are theirs."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def check(self, case: Case, grid: Grid) -> None:
        """Refuse, before anything is computed, a case whose maps will not be there.

        Args:
            case: to be evaluated.
            grid: of its scan.
        """
        ...

    def maps(self, truth: GroundTruth) -> dict[str, Tensor]:
        """The maps of a case on the protocol's grid by name, float32 ``(1, 1, K, J, I)``."""
        ...


class InstalledDetector:
    """Calls a function of an installed package.

    Args:
        name: of it in the results.
        entry: one of :data:`BUILT_IN`, or its name among the entry points ``dal_fast.detectors``.

    Raises:
        InputError: ``detector-unknown``, ``detector-broken`` when it cannot be imported.
    """

    def __init__(self, name: str, entry: str) -> None:
        self.names, self.entry = (name,), entry
        self._function = BUILT_IN.get(entry) or _installed(entry)

    def check(self, case: Case, grid: Grid) -> None:
        """There is nothing to look for."""

    def maps(self, truth: GroundTruth) -> dict[str, Tensor]:
        """Call it.

        Raises:
            InputError: ``detector-broken`` when it fails or its map does not fit the scan.
        """
        scan, name = truth.volume, truth.case.scan.name
        brain, affine = truth.mask.data.copy(), scan.affine.copy()  # it may write to all of them
        try:
            made = np.asarray(self._function(truth.detector_input, brain, affine))
            with np.errstate(over="ignore"):
                data = made.astype(np.float32)
        except (Exception, SystemExit) as error:
            raise InputError(
                Code.DETECTOR_BROKEN,
                f"detector {self.entry} failed on {name}: {type(error).__name__}: {error}",
            ) from error
        if data.shape != scan.data.shape or not np.isfinite(data).all():
            raise InputError(
                Code.DETECTOR_BROKEN,
                f"detector {self.entry} made {data.shape} of {name}, which is {scan.data.shape}, "
                "or values that are not finite",
            )
        return {self.names[0]: truth.on_grid(data)}


def parse_detector(text: str) -> Detector:
    """``FOLDER``, ``NAME=FOLDER``, ``detector:ENTRY`` or ``NAME=detector:ENTRY``.

    Raises:
        InputError: ``detector-name`` for an empty name, and those of :class:`MapFolder` and
            :class:`InstalledDetector`.
    """
    name, equals, where = text.partition("=")
    if not equals:
        where = text
        name = text.removeprefix(PREFIX) if text.startswith(PREFIX) else Path(text).resolve().name
    if not name:
        raise InputError(Code.DETECTOR_NAME, f"{text!r} does not name a detector")
    name = printable(name)
    if where.startswith(PREFIX):
        return InstalledDetector(name, where.removeprefix(PREFIX))
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
    """The same for dark lesions: how far a voxel is below the brain's highest value."""
    bright = intensity(scan, brain, affine)
    return np.where(brain, bright.max() - bright, 0).astype(np.float32)


BUILT_IN: dict[str, Function] = {"intensity": intensity, "darkness": darkness}
"""Baselines that need neither weights nor a package."""


def _installed(entry: str) -> Function:
    points = {point.name: point for point in entry_points(group=GROUP)}
    if entry not in points:
        known = ", ".join(sorted({*BUILT_IN, *points}))
        raise InputError(
            Code.DETECTOR_UNKNOWN, f"there is no detector {entry!r}; there are {known}"
        )
    try:
        function: Function = points[entry].load()
    except (Exception, SystemExit) as error:
        raise InputError(Code.DETECTOR_BROKEN, f"detector {entry}: {error}") from error
    return function
