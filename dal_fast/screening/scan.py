"""A scan that passed the gate, with its brain mask. Nothing here imports torch."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dal_fast.errors import Code, InputError
from dal_fast.imaging.bids import parse_name
from dal_fast.imaging.mask import BrainMask, brain_mask
from dal_fast.imaging.nifti import Volume, read_volume

NonFinite = Literal["refuse", "replace"]
Brain = Literal["auto", "given", "strip", "hd-bet"]
"""Where a brain mask comes from: given where there is one, else extracted; given or refused;
extracted by our network; extracted by HD-BET."""


@dataclass(frozen=True, eq=False)
class Scan:
    """One scan to screen.

    Attributes:
        name: file name without extension.
        volume: the file as read.
        mask: its brain mask and where that came from.
        timings: seconds spent so far, by stage.
    """

    name: str
    volume: Volume
    mask: BrainMask
    timings: dict[str, float]

    @property
    def source(self) -> dict[str, str]:
        """Path and SHA-256 of the file, and of its mask, or the rule that replaces a mask.

        Paths are absolute, and links in them stay.
        """
        source = {"path": str(self.volume.path.absolute()), "sha256": self.volume.sha256}
        if self.mask.path is None or self.mask.sha256 is None:
            return source | {"mask": "non-zero voxels"}
        return source | {"mask": str(self.mask.path.absolute()), "mask_sha256": self.mask.sha256}


def scan_of(volume: Volume, mask: BrainMask, name: str, timings: dict[str, float]) -> Scan:
    """A scan of a volume that is in memory, wherever it came from.

    Args:
        volume: its ``path`` stands for it in messages and in the sidecar, and its ``sha256`` says
            whether it has changed since it was screened last.
        mask: its brain, on the volume's grid.
        name: of its results, such as ``sub-01_FLAIR``.
        timings: seconds spent so far, by stage.

    Raises:
        InputError: ``mask-grid`` for a mask of another shape, ``mask-empty``.
    """
    if mask.data.shape != volume.data.shape:
        raise InputError(
            Code.MASK_GRID,
            f"the brain mask of {name} is {mask.data.shape}, and its scan {volume.data.shape}",
        )
    if not mask.data.any():
        raise InputError(Code.MASK_EMPTY, f"the brain mask of {name} has no voxel")
    return Scan(name, volume, mask, timings)


def load_scan(
    path: str | Path, mask: str | Path | None = None, nonfinite: NonFinite = "refuse"
) -> Scan:
    """Read a scan, check it, and find its brain mask.

    Args:
        path: of a NIfTI file with one 3D volume.
        mask: path of its brain mask; see :func:`dal_fast.imaging.mask.brain_mask`.
        nonfinite: refuse or replace NaN and infinite voxels.

    Raises:
        InputError: with the codes of :mod:`dal_fast.imaging.nifti` and
            :mod:`dal_fast.imaging.mask`.
    """
    start = time.perf_counter()
    volume = read_volume(path, nonfinite)
    after_reading = time.perf_counter()
    brain = brain_mask(volume, mask)
    timings = {
        "read": after_reading - start,
        "brain mask": time.perf_counter() - after_reading,
    }
    return scan_of(volume, brain, parse_name(path).stem, timings)
