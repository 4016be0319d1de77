"""Label maps of whole heads, ready to be sampled: tissue classes and the distance from the brain.

The maps are those of SynthSeg: FreeSurfer's labels inside the skull, and from 500 on labels outside
it. Of those no list is published with them; what they are was read off from their places (skin
around everything, bone around the brain, ...). They matter only for how a synthetic contrast is
drawn.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from dal_fast import __version__
from dal_fast.cache import cache_home, find, keep
from dal_fast.errors import Code, InputError
from dal_fast.synthesis.fields import smooth_field
from dal_fast.synthesis.head_atrophy import atrophied, scipy_ndimage

CLASSES = (
    "air",
    "grey",
    "white",
    "ventricle",
    "cerebellar_grey",
    "cerebellar_white",
    "stem",
    "thalamus",
    "striatum",
    "pallidum",
    "hippocampus",
    "sulcal_fluid",
    "outer_fluid",
    "dura",
    "artery",
    "eye",
    "eye_muscle",
    "mucosa",
    "skin",
    "cord",
    "vein",
    "bone",
    "marrow",
    "optic_nerve",
)
"""Names of the classes of a map; those of soft tissue follow."""
DEPTHS_MM = (3.0, 5.0, 8.0, 12.0)
"""Soft tissue is split by its depth below the skin, so that fat can be told from muscle."""
PATCHES = 4
"""Soft tissue is split into as many kinds of patches at random, too."""
SOFT = len(CLASSES)
"""The first class of soft tissue; class ``SOFT + PATCHES * depth + patch``."""
COUNT = SOFT + PATCHES * (len(DEPTHS_MM) + 1)
"""Number of classes."""
STEPS = 6
"""Distances are stored in sixths of a millimetre."""

_LABELS = {
    "grey": (3, 42),
    "white": (2, 41, 77, 85, 251, 252, 253, 254, 255),
    "ventricle": (4, 5, 14, 15, 30, 31, 43, 44, 62, 63, 72),
    "cerebellar_grey": (8, 47),
    "cerebellar_white": (7, 46),
    "stem": (16, 28, 60, 136, 137, 163, 164),
    "thalamus": (10, 49),
    "striatum": (11, 12, 26, 50, 51, 58),
    "pallidum": (13, 52),
    "hippocampus": (17, 18, 53, 54),
    "outer_fluid": (24,),
    "artery": (502,),
    "eye": (506,),
    "eye_muscle": (508,),
    "mucosa": (509,),
    "skin": (511,),
    "cord": (512,),
    "vein": (514,),
    "bone": (515,),
    "marrow": (516,),
    "optic_nerve": (530,),
}
_SOFT_LABEL, _FLUID, _OUTER, _VESSELS = 507, 24, 500, (502, 514)
_GAP_MM = 4.0  # what is left between folds of the brain
_CLOSING_MM = 10.0  # bridges sulci and the wide fluid of old brains, as HD-BET's masks do
_REACH_MM = 20  # distances are cut off there
_PATCH_MM = 14.0  # between the control points of patches


@dataclass(frozen=True)
class HeadMap:
    """One head at 1 mm, axes right, anterior, superior.

    Attributes:
        name: of the subject.
        packed: int16 ``(X, Y, Z)``: the class in the low byte, the signed distance to the brain's
            border in ``1 / STEPS`` mm, positive inside, in the high byte.
        low, high: first and last voxel of the brain along each axis.
    """

    name: str
    packed: Tensor
    low: tuple[int, ...]
    high: tuple[int, ...]


def load_heads(
    paths: Sequence[Path],
    track: Callable[[Iterable[Path]], Iterable[Path]] = iter,
    *,
    shrunken: bool = False,
) -> list[HeadMap]:
    """All maps, from the cache or prepared now and kept there.

    Args:
        paths: of the label maps, whole heads at about 1 mm.
        track: wraps the maps that have to be read, for a progress bar.
        shrunken: each as :func:`dal_fast.synthesis.head_atrophy.atrophied` makes it.

    Raises:
        InputError: ``no-data`` where a file is not readable, or is not a map of a whole head.
        RuntimeUnavailable: ``extra-missing`` without SciPy.
    """
    home = cache_home()
    folder = None if home is None else home / "heads" / _key(paths, shrunken)
    heads = _open(folder)
    if heads is None:
        heads = [_prepare(path, shrunken) for path in track(paths)]
        keep(folder, lambda path: _write(path, heads or []))
    return heads


def head_maps(folder: Path) -> list[Path]:
    """Label maps ``*_dseg.nii.gz`` of a folder.

    Raises:
        InputError: ``no-data``.
    """
    paths = sorted(folder.glob("*_dseg.nii.gz"))
    if not paths:
        raise InputError(Code.NO_DATA, f"{folder} holds no label map *_dseg.nii.gz")
    return paths


def brain_target(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """The brain as HD-BET and SynthStrip draw it.

    Its tissue, cerebellum, brain stem and ventricles are closed by a ball of 10 mm; of what that
    adds, fluid and vessels count, so that bone and dura stay outside; small gaps are filled.

    Args:
        labels: ``(X, Y, Z)`` at 1 mm.
    """
    inner = (labels > 0) & (labels < _OUTER)
    tissue = inner & (labels != _FLUID)
    allowed = inner | np.isin(labels, _VESSELS)
    brain = (_closed(tissue, _CLOSING_MM) & allowed) | tissue
    filled: NDArray[np.bool_] = scipy_ndimage().binary_fill_holes(_closed(brain, _GAP_MM) | brain)
    return filled


def _closed(mask: NDArray[np.bool_], radius_mm: float) -> NDArray[np.bool_]:
    """Closed by a ball, at every other voxel, and brought back by linear interpolation."""
    edt = scipy_ndimage().distance_transform_edt
    margin = round(radius_mm / 2) + 2
    coarse = np.pad(mask[::2, ::2, ::2], margin)
    depth = edt(edt(~coarse) <= radius_mm / 2) - radius_mm / 2
    inner = depth[margin:-margin, margin:-margin, margin:-margin].astype(np.float32)
    places = [(torch.arange(size) / 2).clamp_max(n - 1) for size, n in
              zip(mask.shape, inner.shape, strict=True)]  # fmt: skip
    fine = torch.from_numpy(inner)
    for axis, place in enumerate(places):
        low = place.floor().long()
        share = (place - low).view([-1 if a == axis else 1 for a in range(3)])
        upper = (low + 1).clamp_max(fine.shape[axis] - 1)
        fine = fine.index_select(axis, low).lerp(fine.index_select(axis, upper), share)
    return (fine > 0).numpy()


def _prepare(path: Path, shrunken: bool) -> HeadMap:
    labels = _read(path)
    tissue = (labels > 0) & (labels < _OUTER)
    if not tissue.any() or not (labels >= _OUTER).any():
        raise InputError(
            Code.NO_DATA,
            f"{path} is not a map of a whole head: brain labels below 500, others from 500 on",
        )
    if shrunken:
        labels = atrophied(labels, path.name)
    near = _box_around(tissue, _REACH_MM)
    brain = np.zeros(labels.shape, bool)
    brain[near] = brain_target(labels[near])
    distance = np.full(labels.shape, -float(_REACH_MM), np.float32)
    distance[near] = signed_distance(brain[near]).clip(-_REACH_MM, _REACH_MM)
    classes = _classes(labels, distance, path.name)
    packed = (np.rint(distance * STEPS).astype(np.int16) << 8) | classes.astype(np.int16)
    box = _box_around(brain, 0)
    low, high = tuple(side.start for side in box), tuple(side.stop - 1 for side in box)
    name = path.name.split("_")[0] + ("-shrunken" if shrunken else "")
    return HeadMap(name, torch.from_numpy(packed), low, high)


def _box_around(mask: NDArray[np.bool_], margin: int) -> tuple[slice, ...]:
    sides = []
    for axis, size in enumerate(mask.shape):
        others = tuple(a for a in range(3) if a != axis)
        used = np.flatnonzero(mask.any(others))
        first, last = int(used[0]) - margin, int(used[-1]) + margin
        sides.append(slice(max(0, first), min(size, last + 1)))
    return tuple(sides)


def signed_distance(inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Distance to the border between voxels in voxels, positive inside."""
    ndimage = scipy_ndimage()
    distance = np.where(
        inside,
        ndimage.distance_transform_edt(inside) - 0.5,
        0.5 - ndimage.distance_transform_edt(~inside),
    )
    return distance.astype(np.float32)


def _classes(labels: NDArray[Any], distance: NDArray[np.float32], name: str) -> NDArray[np.uint8]:
    ndimage = scipy_ndimage()
    table = np.zeros(int(labels.max()) + 1, np.uint8)
    for number, what in enumerate(CLASSES):
        for label in _LABELS.get(what, ()):
            if label < len(table):
                table[label] = number
    classes = table[labels]
    fluid = labels == _FLUID
    classes[fluid & (distance > 0)] = CLASSES.index("sulcal_fluid")
    rim = ndimage.binary_dilation(labels >= _OUTER)
    classes[fluid & rim] = CLASSES.index("dura")
    soft = labels == _SOFT_LABEL
    coarse = 2 * ndimage.distance_transform_edt(~_outer_air(labels[::2, ::2, ::2]))
    depth = np.searchsorted(DEPTHS_MM, coarse).astype(np.uint8)
    for axis, size in enumerate(labels.shape):
        depth = depth.repeat(2, axis).take(range(size), axis)
    classes[soft] = SOFT + PATCHES * depth[soft] + _patches(labels.shape, name)[soft]
    return classes


def _outer_air(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Air around the head, and not inside it."""
    padded = np.pad(labels == 0, 1, constant_values=True)
    air: NDArray[np.bool_] = scipy_ndimage().label(padded)[0] == 1
    return air[1:-1, 1:-1, 1:-1]


def _patches(shape: tuple[int, ...], name: str) -> NDArray[np.uint8]:
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4])
    nodes = max(4, round(max(shape) / _PATCH_MM))
    field = smooth_field(1, 1, shape, nodes, Generator().manual_seed(seed))[0, 0]
    return np.digitize(field.numpy(), (-0.67, 0.0, 0.67)).astype(np.uint8)


def _read(path: Path) -> NDArray[np.int32]:
    """Labels in RAS order, cropped to the head, a voxel of air on all sides but the lowest."""
    try:
        image = nibabel.as_closest_canonical(nibabel.load(path))  # type: ignore[no-untyped-call]
        labels = np.asarray(image.dataobj).astype(np.int32)  # type: ignore[attr-defined]
    except (OSError, ValueError, EOFError, nibabel.filebasedimages.ImageFileError) as error:
        raise InputError(Code.NO_DATA, f"{path} is not readable: {error}") from None
    places = np.argwhere(labels > 0)
    if len(places) == 0:
        raise InputError(Code.NO_DATA, f"{path} is empty")
    box = tuple(slice(a, b + 1) for a, b in zip(places.min(0), places.max(0), strict=True))
    return np.pad(labels[box], ((1, 1), (1, 1), (0, 1)))


# -- the cache ------------------------------------------------------------------------------------


def _key(paths: Sequence[Path], shrunken: bool) -> str:
    facts: list[Any] = [__version__, _CLOSING_MM, _GAP_MM, DEPTHS_MM, PATCHES, CLASSES, shrunken]
    for path in paths:
        stat = path.stat()
        facts.append((str(path.resolve()), stat.st_size, stat.st_mtime_ns))
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _write(folder: Path, heads: Sequence[HeadMap]) -> None:
    folder.mkdir()
    index = []
    for head in heads:
        np.save(folder / f"{head.name}.npy", head.packed.numpy())
        index.append({"name": head.name, "low": head.low, "high": head.high})
    (folder / "index.json").write_text(json.dumps(index))


def _open(folder: Path | None) -> list[HeadMap] | None:
    """The maps of an entry; None where there is none, or it is broken."""
    folder = find(folder)
    if folder is None:
        return None
    try:
        index = json.loads((folder / "index.json").read_text())
        return [
            HeadMap(
                entry["name"],
                torch.from_numpy(np.load(folder / f"{entry['name']}.npy")),
                tuple(entry["low"]),
                tuple(entry["high"]),
            )
            for entry in index
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return None
