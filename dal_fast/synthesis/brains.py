"""Brains for training: real scans with their structure map, or the map alone.

Brought onto the model's grid once, kept in the user's cache, and mapped into memory from there: all
processes of a machine share the pages, and a second training starts at once.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dal_fast import __version__
from dal_fast.cache import cache_home, find, keep
from dal_fast.errors import Code, InputError
from dal_fast.imaging.grid import plan_grid, resample
from dal_fast.imaging.morphology import bounding_box
from dal_fast.imaging.normalise import BRAIN_LEVEL
from dal_fast.synthesis.sample import encode_structures

SCANS = ("T1w", "T2w", "FLAIR")
_TISSUE = {"CSF": 0, "GM": 1, "DGM": 1, "WM": 2, "BS": 2, "OTHER": 2}

# FreeSurfer labels; those that are absent (vessels apart, from 500 up) lie outside the brain
_FREESURFER = {
    0: (4, 5, 14, 15, 24, 30, 31, 43, 44, 62, 63, 72),
    1: (3, 8, 10, 11, 12, 13, 17, 18, 26, 42, 47, 49, 50, 51, 52, 53, 54, 58, 80),
    2: (2, 7, 16, 28, 41, 46, 60, 77, 85, 251, 252, 253, 254, 255),
}
# the right one of two sides, and the left one
_FREESURFER_SIDES = {
    41: 2, 42: 3, 43: 4, 44: 5, 46: 7, 47: 8, 49: 10, 50: 11, 51: 12, 52: 13, 53: 17, 54: 18,
    58: 26, 60: 28, 62: 30, 63: 31,
}  # fmt: skip
_SULCI = 256 + 1  # code of DLMUSE's cortical fluid
_MARGIN = 4  # voxels kept around a brain
NOT_HEALTHY = frozenset({"sub-IXI448"})
"""Subjects of IXI with a visible lesion, here a large dark one in the left parietal lobe: neither
for training nor for what healthy brains show."""


@dataclass(frozen=True)
class Brain:
    """One brain on the model's grid, axes right, anterior, superior.

    Attributes:
        name: of the subject.
        structures: int16 ``(1, 1, D, H, W)``, see
            :func:`dal_fast.synthesis.sample.encode_structures`.
        scans: by contrast, of ``SCANS``: float16 ``(1, 1, D, H, W)``, median of the brain 0.5;
            empty where there is only a map.
    """

    name: str
    structures: Tensor
    scans: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class BrainFiles:
    """Files of one brain: a label map, its tissues, and scans by contrast.

    Labels of ``other_side`` are read as those of the same structure on the other side.
    """

    name: str
    labels: Path
    tissue_of: Mapping[int, int]
    scans: Mapping[str, Path] = field(default_factory=dict)
    other_side: Mapping[int, int] = field(default_factory=dict)


_SPLITS = {False: "left for training", True: "held out for validation"}


def is_held_out(name: str) -> bool:
    """The fixed split: one subject in six, by a hash of its name, is never trained on."""
    return hashlib.sha256(name.encode()).digest()[0] % 6 == 0


def bids_sources(folder: Path, held_out: bool) -> list[BrainFiles]:
    """Brain-extracted scans with label maps of a BIDS derivative.

    ``sub-*/anat/*_dseg.nii.gz`` beside ``*_desc-brain_T1w.nii.gz`` and, where a subject has them,
    ``_T2w`` and ``_FLAIR``; none of ``NOT_HEALTHY``. ``dseg.tsv`` has the columns ``index`` and
    ``tissue``, with CSF, GM, DGM, WM, BS (brain stem) and OTHER. Labels that it lacks are outside
    the brain. Where it has the column ``name``, names that end in ``_L`` and ``_R`` are two sides
    of one structure.

    Args:
        folder: of the data set.
        held_out: the held-out subjects instead of the training ones.

    Raises:
        InputError: ``no-data``.
    """
    tissue_of, other_side = _read_tissues(folder / "dseg.tsv")
    sources, others = [], set()
    for path in sorted(folder.glob("sub-*/anat/*_dseg.nii.gz")):
        name = path.name.split("_")[0]
        if name in NOT_HEALTHY:
            continue
        if is_held_out(name) != held_out:
            others.add(name)
            continue
        candidates = {c: path.with_name(_scan_name(path.name, c)) for c in SCANS}
        scans = {contrast: scan for contrast, scan in candidates.items() if scan.is_file()}
        if scans:
            sources.append(BrainFiles(name, path, tissue_of, scans, other_side))
    if not sources and others:
        raise InputError(
            Code.NO_DATA,
            f"of the {len(others)} subjects of {folder} none is {_SPLITS[held_out]}: one in six, "
            "by a hash of its name, is held out; add subjects, or rename one",
        )
    if not sources:
        raise InputError(
            Code.NO_DATA,
            f"{folder} holds no sub-*/anat/*_dseg.nii.gz beside a *_desc-brain_T1w.nii.gz",
        )
    return sources


def map_sources(folder: Path, held_out: bool) -> list[BrainFiles]:
    """FreeSurfer label maps ``*_dseg.nii.gz`` of a folder, without scans.

    Raises:
        InputError: ``no-data``.
    """
    tissue_of = {label: k for k, labels in _FREESURFER.items() for label in labels}
    paths = sorted(folder.glob("*_dseg.nii.gz"))
    if not paths:
        raise InputError(Code.NO_DATA, f"{folder} holds no label map *_dseg.nii.gz")
    named = [(path.name.split("_")[0], path) for path in paths]
    return [
        BrainFiles(name, path, tissue_of, other_side=_FREESURFER_SIDES)
        for name, path in named
        if is_held_out(name) == held_out
    ]


def load_brains(
    sources: Sequence[BrainFiles],
    voxel_mm: float = 2.0,
    track: Callable[[Iterable[BrainFiles]], Iterable[BrainFiles]] = iter,
) -> list[Brain]:
    """All brains on the model's grid, from the cache or read now and kept there.

    Args:
        sources: their files.
        voxel_mm: of the grid.
        track: wraps the brains that have to be read, for a progress bar.

    Raises:
        InputError: ``no-data`` where a file is not readable.
    """
    home = cache_home()
    folder = None if home is None else home / "brains" / _key(sources, voxel_mm)
    brains = _open(folder)
    if brains is None:
        read = [_read(source, voxel_mm) for source in track(sources)]
        keep(folder, lambda path: _write(path, read))
        brains = _open(folder) or read
    return brains


def with_visible_fluid(brain: Brain) -> Brain:
    """The brain with fluid where its T1w shows fluid.

    Label maps widen the cortex into narrow sulci: a fifth of the grey matter of DLMUSE's is nearer
    to fluid in its T1w. A network that learns from them takes bright sulci of a T2w for cortex.
    Where there is no T1w, or a tissue is absent, the brain is as it was.
    """
    scan = brain.scans.get("T1w")
    tissue = brain.structures // 256
    found = [tissue == code for code in (1, 2)]
    if scan is None or not all(bool(where.any()) for where in found):
        return brain
    fluid, grey = (float(scan[where].float().median()) for where in found)
    dark = scan < (fluid + grey) / 2
    structures = torch.where(found[1] & dark, _SULCI, brain.structures)
    widened = brain.structures + 256  # the same structure as grey matter
    structures = torch.where(found[0] & ~dark, widened, structures)
    return replace(brain, structures=structures)


def _scan_name(dseg: str, contrast: str) -> str:
    return dseg.replace("_dseg", f"_desc-brain_{contrast}")


def _read_tissues(path: Path) -> tuple[dict[int, int], dict[int, int]]:
    """Tissues of labels, and labels of the other side."""
    try:
        with path.open(newline="") as table:
            rows = list(csv.DictReader(table, delimiter="\t"))
        names = {row["name"]: int(row["index"]) for row in rows if row.get("name")}
        pairs = [(names.get(f"{n[:-1]}R"), label) for n, label in names.items() if n[-2:] == "_L"]
        tissue_of = {int(row["index"]): _TISSUE[row["tissue"]] for row in rows}
        sides = [sorted((right, left)) for right, left in pairs if right is not None]
        return tissue_of, {second: first for first, second in sides}
    except OSError:
        raise InputError(
            Code.NO_DATA,
            f"there is no {path}: a table with the columns index and tissue, which says of each "
            f"label of the maps whether it is {', '.join(_TISSUE)}",
        ) from None
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(
            Code.NO_DATA,
            f"{path} needs the columns index and tissue, one of {', '.join(_TISSUE)}: {error!r}",
        ) from None


def _read(source: BrainFiles, voxel_mm: float) -> Brain:
    labels, affine = _load(source.labels)
    integers = torch.from_numpy(labels.astype(np.int32))
    structures = encode_structures(integers, source.tissue_of, source.other_side)
    grid = plan_grid(labels.shape, affine, (structures > 0).numpy(), voxel_mm)
    structures = grid.to_model(structures, "nearest").short()
    box = (slice(None), slice(None), *bounding_box(structures[0, 0] > 0, _MARGIN))
    scans = {}
    for contrast, path in source.scans.items():
        voxels, own = _load(path)
        placed = resample(torch.from_numpy(voxels).float(), own, grid.shape, grid.affine, "linear")
        scan = placed[None, None][box]
        inside = scan[structures[box] > 0]
        level = float(inside[inside > 0].median()) if bool((inside > 0).any()) else 0.0
        if level <= 0:
            raise InputError(Code.NO_DATA, f"{path} has no signal inside the labels' brain")
        scans[contrast] = (scan * (BRAIN_LEVEL / level)).half()
    return Brain(source.name, structures[box], scans)


def _load(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    try:
        image = nibabel.load(path)
        return np.asarray(image.dataobj), np.asarray(image.affine, np.float64)  # type: ignore[attr-defined]
    except (OSError, ValueError, EOFError, nibabel.filebasedimages.ImageFileError) as error:
        raise InputError(Code.NO_DATA, f"{path} is not readable: {error}") from None


# -- the cache: all volumes one after the other in volumes.bin, index.json says where -------------


def _key(sources: Sequence[BrainFiles], voxel_mm: float) -> str:
    """Of everything that the entry depends on; files count by path, size and time."""
    facts: list[Any] = [__version__, voxel_mm]
    for source in sources:
        paths = [source.labels, *source.scans.values()]
        stats = [path.stat() for path in paths]
        files = [
            (str(path.resolve()), s.st_size, s.st_mtime_ns)
            for path, s in zip(paths, stats, strict=True)
        ]
        tables = [sorted(table.items()) for table in (source.tissue_of, source.other_side)]
        facts.append([source.name, *tables, list(source.scans), files])
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _write(folder: Path, brains: list[Brain]) -> None:
    folder.mkdir()
    index = []
    with (folder / "volumes.bin").open("wb") as file:
        for brain in brains:
            volumes = {"": brain.structures, **brain.scans}
            places = {}
            for name, volume in volumes.items():
                places[name] = file.tell()
                file.write(volume.numpy().tobytes())
            index.append({"name": brain.name, "shape": brain.structures.shape, "at": places})
    (folder / "index.json").write_text(json.dumps(index))


def _open(folder: Path | None) -> list[Brain] | None:
    """The brains of an entry, mapped into memory; None where there is none, or it is broken."""
    folder = find(folder)
    if folder is None:
        return None
    try:
        index = json.loads((folder / "index.json").read_text())
        # copy on write: torch insists on memory that it may write to
        content = np.memmap(folder / "volumes.bin", dtype=np.uint8, mode="c")
        return list(_mapped(content, index))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _mapped(content: NDArray[np.uint8], index: list[dict[str, Any]]) -> Iterator[Brain]:
    for entry in index:
        shape = tuple(entry["shape"])
        size = 2 * int(np.prod(shape))
        volumes = {}
        for name, start in entry["at"].items():
            kind = np.float16 if name else np.int16
            flat = content[start : start + size].view(kind)
            volumes[name] = torch.from_numpy(flat.reshape(shape))
        yield Brain(entry["name"], volumes.pop(""), volumes)


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
