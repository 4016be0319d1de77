"""A scan that passed the gate, with its brain mask. Nothing here imports torch."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dal_fast.imaging.bids import parse_name
from dal_fast.imaging.mask import BrainMask, brain_mask
from dal_fast.imaging.nifti import Volume, read_volume

NonFinite = Literal["refuse", "replace"]


@dataclass(frozen=True, eq=False)
class Case:
    """One scan to screen.

    Attributes:
        name: file name without extension.
        volume: the scan as read.
        mask: its brain mask and where that came from.
        timings: seconds spent so far, by stage.
    """

    name: str
    volume: Volume
    mask: BrainMask
    timings: dict[str, float]

    @property
    def source(self) -> dict[str, str]:
        """What was read: path and hash of the scan, and the rule, or path and hash, of the mask."""
        source = {"path": str(self.volume.path), "sha256": self.volume.sha256}
        if self.mask.path is None or self.mask.sha256 is None:
            return source | {"mask": "non-zero voxels"}
        return source | {"mask": str(self.mask.path), "mask_sha256": self.mask.sha256}


def load_case(
    path: str | Path, mask: str | Path | None = None, nonfinite: NonFinite = "refuse"
) -> Case:
    """Read a scan through the gate and find its brain mask.

    Raises:
        InputError: with the codes of :mod:`dal_fast.imaging.nifti` and
            :mod:`dal_fast.imaging.mask`.
    """
    start = time.perf_counter()
    volume = read_volume(path, nonfinite)
    read = time.perf_counter()
    found = brain_mask(volume, mask)
    timings = {"read": read - start, "brain mask": time.perf_counter() - read}
    return Case(parse_name(path).stem, volume, found, timings)
