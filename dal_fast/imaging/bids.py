"""BIDS file names: parse them, name what is derived from a scan, find the scans of a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dal_fast.errors import Code, InputError

STRUCTURAL = frozenset(
    ("T1w", "T2w", "FLAIR", "PDw", "PD", "PDT2", "T2starw", "T2star", "UNIT1", "inplaneT1",
     "inplaneT2")
)  # fmt: skip
"""Suffixes of the images that can be screened."""
OUR_DESCRIPTIONS = frozenset(("anomaly", "pseudohealthy", "anomalyZ", "anomalyPercentile"))

_NOT_SCANS = frozenset(
    ("mask", "brainmask", "seg", "dseg", "aseg", "probseg", "label", "labels", "lesion", "roi",
     "gt", "groundtruth")
)  # fmt: skip
_SKIPPED_FOLDERS = frozenset(("derivatives", "sourcedata", "code"))
_ORDER = (
    "sub", "ses", "sample", "task", "tracksys", "acq", "nuc", "voi", "ce", "trc", "stain", "rec",
    "dir", "run", "mod", "echo", "flip", "inv", "mt", "part", "proc", "hemi", "space", "split",
    "recording", "chunk", "seg", "res", "den", "label", "from", "to", "mode", "desc",
)  # fmt: skip
_ENTITY = re.compile(r"([A-Za-z]+)-([A-Za-z0-9+]+)")


@dataclass(frozen=True)
class ScanName:
    """A file name taken apart.

    Attributes:
        stem: the name without ``.nii`` or ``.nii.gz``.
        entities: ``{"sub": "01", "ses": "a", …}``; empty when the name is not BIDS.
        suffix: what the image is, e.g. ``"T2w"``; ``None`` when the name is not BIDS.
    """

    stem: str
    entities: dict[str, str]
    suffix: str | None


def parse_name(path: str | Path) -> ScanName:
    """Take a file name apart: ``sub-01_ses-a_T2w.nii.gz``, or anything else as a bare stem."""
    stem = re.sub(r"\.nii(\.gz)?$", "", Path(path).name, flags=re.IGNORECASE)
    *pairs, suffix = stem.split("_")
    matches = [_ENTITY.fullmatch(pair) for pair in pairs]
    entities = {m[1]: m[2] for m in matches if m}
    if "sub" not in entities or None in matches or not suffix.isalnum():
        return ScanName(stem, {}, None)
    return ScanName(stem, entities, suffix)


def output_name(scan: str | Path, description: str, mask: bool = False) -> str:
    """File name of an image derived from a scan.

    ``sub-01_T2w.nii.gz`` with ``"anomaly"`` gives ``sub-01_desc-anomaly_T2w.nii.gz``. A mask says
    which image it belongs to, or those of a subject's T2w and FLAIR would overwrite each other:
    ``sub-01_desc-anomalyT2w_mask.nii.gz`` (BIDS has no ``mod-`` there). A name that is not BIDS,
    ``scan.nii.gz``, gives ``scan_desc-anomaly.nii.gz`` and ``scan_desc-anomaly_mask.nii.gz``.
    """
    name = parse_name(scan)
    if name.suffix is None:
        return f"{name.stem}_desc-{description}{'_mask' if mask else ''}.nii.gz"
    entities = {**name.entities, "desc": description + name.suffix if mask else description}
    ordered = sorted(entities, key=lambda key: _ORDER.index(key) if key in _ORDER else len(_ORDER))
    parts = [f"{key}-{entities[key]}" for key in ordered if key != "desc"]
    parts += [f"desc-{entities['desc']}", "mask" if mask else name.suffix]
    return "_".join(parts) + ".nii.gz"


def is_scan(path: str | Path) -> bool:
    """Whether a file name is that of a structural image, not of a mask, label map or result.

    BIDS names go by their suffix; of other NIfTI names those that end in a word such as ``mask``
    or ``seg`` are left out.
    """
    file = Path(path).name
    if file.startswith(".") or not file.lower().endswith((".nii", ".nii.gz")):
        return False
    name = parse_name(path)
    if name.suffix is not None:
        ours = name.entities.get("desc") in OUR_DESCRIPTIONS
        return name.suffix in STRUCTURAL and "label" not in name.entities and not ours
    words = re.split(r"[-_.]", name.stem)
    return words[-1].lower() not in _NOT_SCANS and not (
        len(words) > 1 and words[-2] == "desc" and words[-1] in OUR_DESCRIPTIONS
    )


def collect_scans(folder: str | Path) -> list[Path]:
    """Every scan below a folder, in a stable order.

    Hidden folders and nested ``derivatives``, ``sourcedata`` and ``code`` are left out. Where a
    folder holds one scan in several versions that would share their results' names
    (``sub-01_T1w`` and ``sub-01_desc-brain_T1w``), the skull-stripped ``desc-brain`` is taken.

    Raises:
        InputError: ``file-missing``, ``not-a-folder`` or ``no-scans``.
    """
    root = Path(folder)
    if not root.exists():
        raise InputError(Code.FILE_MISSING, f"{root} does not exist")
    if not root.is_dir():
        raise InputError(Code.NOT_A_FOLDER, f"{root} is not a folder")
    chosen: dict[Path, Path] = {}
    for parent, folders, files in os.walk(root):
        folders[:] = [f for f in folders if f not in _SKIPPED_FOLDERS and not f.startswith(".")]
        for path in (Path(parent, file) for file in sorted(files) if is_scan(file)):
            result = path.with_name(output_name(path, "anomaly"))
            if result not in chosen or parse_name(path).entities.get("desc") == "brain":
                chosen[result] = path
    if not chosen:
        raise InputError(
            Code.NO_SCANS, f"{root} holds no structural NIfTI image (T1w, T2w, FLAIR, …)"
        )
    return sorted(chosen.values())


def select_scans(
    dataset: str | Path,
    participants: Sequence[str] = (),
    sessions: Sequence[str] = (),
    suffixes: Sequence[str] = (),
) -> list[Path]:
    """Scans of a BIDS dataset by label; ``sub-`` and ``ses-`` may be left out or kept.

    Args:
        dataset: a folder with ``dataset_description.json``.
        participants, sessions, suffixes: which ones; none means all.

    Raises:
        InputError: ``not-bids``, ``label-unknown`` for a label without any scan, or as
            :func:`collect_scans`.
    """
    root = Path(dataset)
    scans = [scan for scan in collect_scans(root) if parse_name(scan).suffix is not None]
    if not (root / "dataset_description.json").is_file():
        raise InputError(
            Code.NOT_BIDS,
            f"{root} has no dataset_description.json; for a plain folder use dal-fast screen",
        )
    wanted = {
        "sub": [label.removeprefix("sub-") for label in participants],
        "ses": [label.removeprefix("ses-") for label in sessions],
        "suffix": list(suffixes),
    }
    for entity, labels in wanted.items():
        seen = {_value(scan, entity) for scan in scans}
        unknown = [label for label in labels if label not in seen]
        if unknown:
            raise InputError(
                Code.LABEL_UNKNOWN, f"{root} holds no scan with {entity} {', '.join(unknown)}"
            )
        scans = [scan for scan in scans if not labels or _value(scan, entity) in labels]
    if not scans:
        raise InputError(Code.NO_SCANS, f"no scan of {root} has all the labels that were asked for")
    return scans


def part_of(scans: Sequence[Path], parts: int, number: int) -> list[Path]:
    """The scans of every ``parts``-th participant, from ``number``, counted from 0."""
    labels = sorted({parse_name(scan).entities["sub"] for scan in scans})
    own = set(labels[number::parts])
    return [scan for scan in scans if parse_name(scan).entities["sub"] in own]


def _value(scan: Path, entity: str) -> str | None:
    name = parse_name(scan)
    return name.suffix if entity == "suffix" else name.entities.get(entity)


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

    Looked for beside the scan and in ``derivatives/*/`` of its dataset, in the subject's own
    folders. Every other entity of the mask (``ses``, ``acq``, ``run``, ``space``, …) must be the
    scan's, ``mod`` its suffix.

    Args:
        scan: its file.
        entity, value: what the mask's name must hold, such as ``"desc"`` and ``"brain"``.
    """
    scan = Path(scan)
    name = parse_name(scan)
    if name.suffix is None:
        beside = scan.with_name(f"{name.stem}_{entity}-{value}_mask.nii.gz")
        return [beside] if beside.is_file() else []
    own = {**name.entities, "mod": name.suffix}
    found: list[tuple[int, Path]] = []
    for folder in _mask_folders(scan, name):
        for path in sorted(folder.glob(f"sub-{own['sub']}*_mask.nii*")):
            theirs = parse_name(path)
            entities = dict(theirs.entities)
            if theirs.suffix != "mask" or entities.pop(entity, None) != value:
                continue
            if entities.get("ses") == own.get("ses") and entities.items() <= own.items():
                found.append((-len(entities), path))
    return [path for _, path in sorted(found, key=lambda item: item[0])]


def _mask_folders(scan: Path, name: ScanName) -> list[Path]:
    """The scan's folder, then the subject's folder of the same kind in each derivative."""
    folders = [scan.parent]
    subject = f"sub-{name.entities['sub']}"
    for parent in scan.resolve().parents:
        if parent.name == subject:
            inner = scan.resolve().parent.relative_to(parent)
            folders += sorted(parent.parent.glob(f"derivatives/*/{subject}/{inner}"))
            break
    return folders
