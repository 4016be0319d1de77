"""Brains in memory, ready for synthesis: a real scan with its structure map, or the map alone."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import torch
from torch import Tensor

from dal_fast.data.synthesis import encode_structures
from dal_fast.errors import InputError

_TISSUE = {"CSF": 0, "GM": 1, "DGM": 1, "WM": 2, "BS": 2, "OTHER": 2}

# FreeSurfer labels; those that are absent (vessels apart, from 500 up) lie outside the brain
_FREESURFER = {
    0: (4, 5, 14, 15, 24, 30, 31, 43, 44, 62, 63, 72),
    1: (3, 8, 10, 11, 12, 13, 17, 18, 26, 42, 47, 49, 50, 51, 52, 53, 54, 58, 80),
    2: (2, 7, 16, 28, 41, 46, 60, 77, 85, 251, 252, 253, 254, 255),
}
_MARGIN = 4  # voxels kept around a brain


@dataclass(frozen=True)
class Brain:
    """One brain on a 2 mm grid, axes right, anterior, superior.

    Attributes:
        name: of the subject.
        structures: int16 ``(1, 1, D, H, W)``, see :mod:`dal_fast.data.synthesis`.
        scan: uint8 ``(1, 1, D, H, W)``, or None where there is only a map.
    """

    name: str
    structures: Tensor
    scan: Tensor | None = None


def is_held_out(name: str) -> bool:
    """The fixed split: one subject in six, by a hash of its name, is never trained on."""
    return hashlib.sha256(name.encode()).digest()[0] % 6 == 0


def load_bids(folder: Path, held_out: bool, at_most: int | None = None) -> list[Brain]:
    """Brain-extracted T1w scans with label maps of a BIDS derivative at 2 mm.

    Reads ``sub-*/anat/*_desc-brain_T1w.nii.gz``, ``*_dseg.nii.gz`` and the columns ``index`` and
    ``tissue`` of ``dseg.tsv``.

    Args:
        folder: of the data set.
        held_out: load the held-out subjects instead of the training ones.
        at_most: subjects to load.
    """
    with (folder / "dseg.tsv").open(newline="") as table:
        rows = csv.DictReader(table, delimiter="\t")
        tissue_of = {int(row["index"]): _TISSUE[row["tissue"]] for row in rows}
    paths = sorted(folder.glob("sub-*/anat/*_dseg.nii.gz"))
    brains = []
    for path in [p for p in paths if is_held_out(p.name.split("_")[0]) == held_out][:at_most]:
        name = path.name.split("_")[0]
        structures = encode_structures(_read(path), tissue_of)
        scan = _read(path.with_name(path.name.replace("_dseg", "_desc-brain_T1w")))
        box = _box(structures)
        scan = scan[box].to(torch.uint8)
        brains.append(Brain(name, structures[box][None, None], scan[None, None]))
    if not brains:
        raise InputError("no-data", f"{folder} holds no sub-*/anat/*_dseg.nii.gz of this split")
    return brains


def load_maps(folder: Path, held_out: bool) -> list[Brain]:
    """FreeSurfer label maps ``*_dseg.nii.gz`` at 1 mm, thinned to 2 mm."""
    tissue_of = {label: k for k, labels in _FREESURFER.items() for label in labels}
    brains = []
    for path in sorted(folder.glob("*_dseg.nii.gz")):
        name = path.name.split("_")[0]
        if is_held_out(name) != held_out:
            continue
        structures = encode_structures(_read(path)[::2, ::2, ::2], tissue_of)
        brains.append(Brain(name, structures[_box(structures)][None, None]))
    return brains


def _read(path: Path) -> Tensor:
    """Values in the axis order right, anterior, superior."""
    image = nibabel.as_closest_canonical(nibabel.load(path))  # type: ignore[no-untyped-call]
    return torch.from_numpy(np.ascontiguousarray(np.asarray(image.dataobj).astype(np.int32)))


def _box(structures: Tensor) -> tuple[slice, ...]:
    where = structures.nonzero()
    low = (where.amin(0) - _MARGIN).clamp_min(0).tolist()
    high = (where.amax(0) + _MARGIN + 1).tolist()
    return tuple(slice(a, b) for a, b in zip(low, high, strict=True))


def fit_to_stride(x: Tensor, stride: int) -> Tensor:
    """``x (N, C, D, H, W)`` centred in the smallest volume whose sides are multiples of it."""
    return fit(x, [stride * -(-side // stride) for side in x.shape[2:]])


def fit(x: Tensor, space: Sequence[int]) -> Tensor:
    """``x (N, C, D, H, W)`` centred in a volume of size ``space``, cut or filled with zeros."""
    pads = []
    for have, want in zip(reversed(x.shape[2:]), reversed(space), strict=True):
        before = (want - have) // 2
        pads += [before, want - have - before]
    return torch.nn.functional.pad(x, pads)
