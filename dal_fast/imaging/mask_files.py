"""Which masks belong to a scan, by the names and folders of BIDS."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dal_fast.imaging.bids import INDICES, OUR_DESCRIPTIONS, ScanName, parse_name
from dal_fast.imaging.mask_origin import is_output

_OWN_SPACES = ("orig", "individual")  # values of space- that mean a scan's own grid
_BESIDE_DERIVATIVES = "rawdata"  # the folder that BIDS recommends for a dataset beside them


def find_brain_masks(scan: str | Path) -> list[Path]:
    """Masks ``desc-brain_mask`` of a scan, see :func:`find_masks`."""
    return find_masks(scan, "desc", "brain")


def find_lesion_masks(scan: str | Path) -> list[Path]:
    """Masks ``label-lesion_mask`` of a scan, else UAD-IMAG's ``seg-anomaly_mask``.

    See :func:`find_masks`.
    """
    return find_masks(scan, "label", "lesion") or find_masks(scan, "seg", "anomaly")


def find_masks(scan: str | Path, entity: str, value: str) -> list[Path]:
    """Masks that BIDS attributes to a scan, the most specific first.

    See :func:`mask_files` for where they are looked for and what makes one the scan's.

    Args:
        scan: its file.
        entity, value: what the mask's name must hold, such as ``"desc"`` and ``"brain"``.
    """
    return [mask.path for mask in mask_files(scan, entity, value) if mask.why_not is None]


@dataclass(frozen=True)
class MaskFile:
    """A mask that lies where a scan's masks are looked for.

    Attributes:
        path: of its file.
        why_not: why it is not the scan's, in words; ``None`` if it is.
    """

    path: Path
    why_not: str | None


def mask_files(scan: str | Path, entity: str, value: str) -> list[MaskFile]:
    """Masks beside a scan, in the folders up to its subject's, and in ``derivatives/*/``.

    The derivatives are those of its dataset; where that is called ``rawdata``, also those beside
    it. There, too, every folder from the subject's to that of the scan's kind is looked into.

    By BIDS' inheritance principle a mask is the scan's when every entity of its name (``ses``,
    ``acq``, ``rec``, ``run``, …) is the scan's, and it may have fewer of them; ``mod`` is the
    scan's suffix, ``space`` may also name the scan's own, and a scan of a session needs a mask of
    that session. Indices such as ``run`` are compared as numbers. A brain mask that a screening
    wrote is its output, not a mask of the scan, until somebody changes it.

    Returns:
        Those that are the scan's first, the most specific ahead; then the others.
    """
    scan = Path(scan)
    name = parse_name(scan)
    found: list[tuple[int, MaskFile]] = []
    for folder in _mask_folders(scan, name):
        for path in _masks_of(folder, name):
            theirs = parse_name(path)
            why_not = _why_not(theirs, name, entity, value)
            if why_not is None and is_output(path):
                why_not = "a screening found it; give it with --mask to have it used"
            found.append((1 if why_not else -len(theirs.entities), MaskFile(path, why_not)))
    return [mask for _, mask in sorted(found, key=lambda item: item[0])]


def _masks_of(folder: Path, scan: ScanName) -> list[Path]:
    """NIfTI files of a folder that a name calls masks of this scan's subject, or of this scan."""
    start = scan.stem if scan.suffix is None else f"sub-{scan.entities['sub']}"
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [
        folder / name
        for name in names
        if re.match(rf"{re.escape(start)}[-_.].*mask.*\.nii(\.gz)?$", name, re.IGNORECASE)
        and not any(f"desc-{ours}" in name for ours in OUR_DESCRIPTIONS)
    ]


def _why_not(mask: ScanName, scan: ScanName, entity: str, value: str) -> str | None:
    """Why the name of a mask does not make it the mask of a scan."""
    ending = f"{entity}-{value}_mask"
    if scan.suffix is None:
        wanted = f"{scan.stem}_{ending}"
        return None if mask.stem == wanted else f"its name is not {wanted}"
    if mask.suffix != "mask" or mask.entities.get(entity) != value:
        return f"its name is not …_{ending}"
    expected = {**scan.entities, "mod": scan.suffix}
    for key, label in mask.entities.items():
        if key == entity or _same(key, label, expected.get(key)):
            continue
        if key == "space" and label in (scan.suffix, *_OWN_SPACES):
            continue
        other = f"of {key}-{expected[key]}" if key in expected else f"without {key}-"
        return f"it is of {key}-{label}, the scan {other}"
    if "ses" in scan.entities and "ses" not in mask.entities:
        return f"it names no session, the scan is of ses-{scan.entities['ses']}"
    return None


def _same(entity: str, one: str, other: str | None) -> bool:
    """Whether two values of an entity are the same; indices are numbers."""
    if entity in INDICES and other is not None and one.isdecimal() and other.isdecimal():
        return int(one) == int(other)
    return one == other


def _mask_folders(scan: Path, name: ScanName) -> list[Path]:
    """The scan's folder and those up to its subject's, then their like in each derivative.

    Where the scan is a link (DataLad), its own place counts; only then that of its target.
    """
    folders = [scan.parent]
    if name.suffix is not None:
        for place in (scan.absolute(), scan.resolve()):
            folders += _subject_folders(place, f"sub-{name.entities['sub']}")
    places: dict[str, Path] = {}
    for folder in folders:
        places.setdefault(os.path.realpath(folder), folder)
    return list(places.values())


def _subject_folders(scan: Path, subject: str) -> Iterator[Path]:
    root = next((parent for parent in scan.parents if parent.name == subject), None)
    if root is None:
        return
    dataset, inner = root.parent, scan.parent.relative_to(root)
    levels = [inner, *inner.parents]
    yield from (root / level for level in levels)
    datasets = [dataset]
    if dataset.name == _BESIDE_DERIVATIVES:
        datasets.append(dataset.parent)
    for holder in datasets:
        for derived in sorted(holder.glob(f"derivatives/*/{subject}")):
            yield from (derived / level for level in levels)
