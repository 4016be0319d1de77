"""A scan that passed the gate, with its brain mask, or without. Nothing here imports torch."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from dal_fast.errors import Code, InputError
from dal_fast.imaging.bids import parse_name
from dal_fast.imaging.brain_shape import odd_mask
from dal_fast.imaging.mask import BrainMask, NoMask, find_mask, skull_present, sphericity
from dal_fast.imaging.nifti import Volume, read_volume
from dal_fast.imaging.orientation import voxel_ml

NonFinite = Literal["refuse", "replace"]
Brain = Literal["auto", "given", "strip", "hd-bet"]
"""Where a brain mask comes from: ``"auto"``, a mask that is given or lies beside the scan, or a
scan that is stripped already, else extracted by our network; ``"given"``, the same without
extraction; ``"strip"``, always extracted by our network; ``"hd-bet"``, always by HD-BET."""
EXTRACTED: tuple[Brain, ...] = ("strip", "hd-bet")
"""Those that look at no mask."""
ORIGINS = {
    "file": "as given",
    "bids": "found by its name, desc-brain_mask",
    "nonzero": "non-zero voxels",
    "dal_fast": "extracted by dal_fast",
    "hd-bet": "extracted by HD-BET",
}
"""Where a mask comes from, in words, by :attr:`dal_fast.imaging.mask.BrainMask.source`."""
ROUGH = 0.75
"""Sphericity below which non-zero voxels of an odd shape may be a whole small head."""
SAME_BRAIN = 0.9
"""Dice with the extracted brain from which non-zero voxels of such a shape are one."""


@dataclass(frozen=True, eq=False)
class Scan:
    """One scan to screen.

    Attributes:
        name: file name without extension.
        volume: the file as read.
        mask: its brain mask and where that came from.
        timings: seconds spent so far, by stage.
        contrast: ``"T1w"``, ``"T2w"`` or ``"FLAIR"``, where a header says so.
    """

    name: str
    volume: Volume
    mask: BrainMask
    timings: dict[str, float]
    contrast: str | None = None

    @property
    def source(self) -> dict[str, str]:
        """Path and SHA-256 of the file, and of its mask, or the rule that replaces a mask.

        Paths are absolute, and links in them stay.
        """
        source = {"path": str(self.volume.path.absolute()), "sha256": self.volume.sha256}
        if self.mask.path is None or self.mask.sha256 is None:
            return source | {"mask": ORIGINS[self.mask.source]}
        return source | {"mask": str(self.mask.path.absolute()), "mask_sha256": self.mask.sha256}

    @property
    def brain(self) -> dict[str, Any]:
        """Facts of the mask: where it comes from, millilitres, and the quality of an extracted one.

        JSON-ready; ``Source`` is a value of :attr:`dal_fast.imaging.mask.BrainMask.source`.
        """
        count = int(np.count_nonzero(self.mask.data))
        facts: dict[str, Any] = {
            "Source": self.mask.source,
            "VolumeML": round(count * voxel_ml(self.volume.affine), 3),
        }
        quality = self.mask.quality
        if quality is not None:
            facts |= {
                "Confidence": quality.confidence,
                "MirroredDice": quality.agreement,
                "BorderSharpness": quality.sharpness,
                "Sphericity": quality.sphericity,
            }
        return facts

    @property
    def hashes(self) -> tuple[str, str | None]:
        """SHA-256 of the scan's file and of its mask's."""
        return self.volume.sha256, self.mask.sha256


@dataclass(frozen=True, eq=False)
class Head:
    """One scan whose brain is still to be found.

    Attributes:
        name: file name without extension.
        volume: the file as read.
        extractor: ``"strip"`` or ``"hd-bet"``.
        timings: seconds spent so far, by stage.
        contrast: ``"T1w"``, ``"T2w"`` or ``"FLAIR"``, where a header says so.
        nonzero: its non-zero voxels, where they may be a stripped brain after all.
    """

    name: str
    volume: Volume
    extractor: Brain
    timings: dict[str, float]
    contrast: str | None = None
    nonzero: BrainMask | None = None

    def with_brain(self, mask: BrainMask, timings: dict[str, float]) -> Scan:
        """The scan that it is once its brain was found; see :func:`scan_of`."""
        mask = mask if self.nonzero is None else _stripped_or_extracted(self.nonzero, mask)
        scan = scan_of(self.volume, mask, self.name, timings)
        return replace(scan, contrast=self.contrast)

    @property
    def hashes(self) -> tuple[str, str | None]:
        """SHA-256 of the scan's file; it has no mask."""
        return self.volume.sha256, None


def check_brain(brain: str) -> Brain:
    """A name of :data:`Brain`.

    Raises:
        InputError: ``value`` for any other.
    """
    for known in get_args(Brain):
        if brain == known:
            return known
    names = ", ".join(get_args(Brain))
    raise InputError(Code.VALUE, f"brain must be one of {names}, not {brain!r}")


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
    """Read a scan, check it, and find its brain mask without extracting the brain.

    Args:
        path: of a NIfTI file with one 3D volume.
        mask: path of its brain mask; see :func:`dal_fast.imaging.mask.find_mask`.
        nonfinite: refuse or replace NaN and infinite voxels.

    Raises:
        InputError: with the codes of :mod:`dal_fast.imaging.nifti` and
            :mod:`dal_fast.imaging.mask`, among them ``skull-present``.
    """
    scan = load_scan_or_head(path, mask, nonfinite, "given")
    assert isinstance(scan, Scan)  # "given" refuses a head
    return scan


def load_scan_or_head(
    path: str | Path,
    mask: str | Path | None = None,
    nonfinite: NonFinite = "refuse",
    brain: Brain = "auto",
) -> Scan | Head:
    """Read a scan, check it, and find its brain mask if there is one.

    Args:
        path: of a NIfTI file with one 3D volume.
        mask: path of its brain mask; see :func:`dal_fast.imaging.mask.find_mask`.
        nonfinite: refuse or replace NaN and infinite voxels.
        brain: where the mask comes from.

    Raises:
        InputError: ``value`` for a mask that would not be used, ``skull-present`` where a mask
            must be given and is not, and the codes of :mod:`dal_fast.imaging.nifti` and
            :mod:`dal_fast.imaging.mask`.
    """
    if mask is not None and brain in EXTRACTED:
        raise InputError(
            Code.VALUE, f"a mask is given, and --brain {brain} would not use it; leave out one"
        )
    start = time.perf_counter()
    volume = read_volume(path, nonfinite)
    timings = {"read": time.perf_counter() - start}
    return scan_or_head(volume, parse_name(path).stem, mask, brain, timings)


def scan_or_head(
    volume: Volume,
    name: str,
    mask: str | Path | None,
    brain: Brain,
    timings: dict[str, float],
) -> Scan | Head:
    """A volume with its brain mask, or, where that is to be extracted, without.

    Raises:
        InputError: ``skull-present`` where a mask must be given and is not, and the codes of
            :func:`dal_fast.imaging.mask.find_mask`.
    """
    if brain in EXTRACTED:
        return Head(name, volume, brain, timings)
    start = time.perf_counter()
    found = find_mask(volume, mask)
    timings = {**timings, "brain mask": time.perf_counter() - start}
    if brain == "auto":
        return brain_or_head(volume, found, name, timings)
    if isinstance(found, NoMask):
        raise skull_present(volume, found)
    return scan_of(volume, found, name, timings)


def brain_or_head(
    volume: Volume, found: BrainMask | NoMask, name: str, timings: dict[str, float]
) -> Scan | Head:
    """A volume with the mask that was found; a head where there is none, or may be none."""
    if isinstance(found, NoMask):
        return Head(name, volume, "strip", timings)
    if found.source == "nonzero" and _may_be_head(volume, found):
        return Head(name, volume, "strip", timings, nonzero=found)
    return scan_of(volume, found, name, timings)


def _may_be_head(volume: Volume, nonzero: BrainMask) -> bool:
    """Whether non-zero voxels that pass for a stripped brain may be a small or cut head."""
    rough = sphericity(nonzero.data, volume.voxel_mm) < ROUGH  # the quicker of the two
    return rough and bool(odd_mask(nonzero.data, volume.affine))


def _stripped_or_extracted(nonzero: BrainMask, extracted: BrainMask) -> BrainMask:
    """The non-zero voxels of a scan where they are the brain that was extracted from it."""
    both = int(np.count_nonzero(nonzero.data & extracted.data))
    total = int(np.count_nonzero(nonzero.data)) + int(np.count_nonzero(extracted.data))
    return nonzero if 2 * both >= SAME_BRAIN * total else extracted
