"""BIDS file names: parse them, name what is derived from a scan, find the scans of a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
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
INDICES = frozenset(("run", "echo", "flip", "inv", "split", "chunk"))
"""Entities whose values are whole numbers in the BIDS schema: ``run-01`` is ``run-1``."""
_OWN_SPACES = ("orig", "individual")  # values of space- that mean a scan's own grid
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


@dataclass(frozen=True, order=True)
class LeftOut:
    """A file or folder that was passed over although it may hold a scan.

    Attributes:
        path: of it.
        code: ``left-out`` where that is as it should be, ``file-missing`` for a link that leads
            nowhere, ``file-unreadable`` for a folder that cannot be read.
        reason: a sentence without its subject.
    """

    path: Path
    code: Code
    reason: str


@dataclass(frozen=True)
class FoundScans:
    """What a folder holds.

    Attributes:
        scans: files to screen, in a stable order.
        left_out: what was passed over.
    """

    scans: list[Path]
    left_out: list[LeftOut]


def collect_scans(folder: str | Path) -> list[Path]:
    """The scans of :func:`find_scans`."""
    return find_scans(folder).scans


def find_scans(folder: str | Path) -> FoundScans:
    """Every scan below a folder, and what was left out.

    Hidden folders and nested ``derivatives``, ``sourcedata`` and ``code`` are not searched. Links
    to folders are followed, except back to a folder that they lie in. Where a folder holds one scan
    in several versions that would share their results' names (``sub-01_T1w`` and
    ``sub-01_desc-brain_T1w``, ``case.nii`` and ``case.nii.gz``), one is taken: the skull-stripped
    ``desc-brain``, else the first by name.

    Raises:
        InputError: ``file-missing``, ``not-a-folder`` or ``no-scans``.
    """
    root = Path(folder)
    if root.is_symlink() and not root.exists():
        raise InputError(
            Code.FILE_MISSING, f"{root} is a link, and its target {os.readlink(root)} is missing"
        )
    if not root.exists():
        raise InputError(Code.FILE_MISSING, f"{root} does not exist")
    if not root.is_dir():
        raise InputError(Code.NOT_A_FOLDER, f"{root} is not a folder")
    left_out: list[LeftOut] = []
    chosen: dict[Path, Path] = {}
    for path in _files(root, (os.path.realpath(root),), left_out):
        if not is_scan(path):
            if (suffix := _misspelt_suffix(path)) is not None:
                reason = f"its suffix is no BIDS suffix; is it meant to be {suffix}?"
                left_out.append(LeftOut(path, Code.LEFT_OUT, reason))
            continue
        result = path.with_name(output_name(path, "anomaly"))
        taken, other = chosen.get(result), path
        if taken is None or parse_name(path).entities.get("desc") == "brain":
            chosen[result], other = path, taken or path
        if taken is not None:
            reason = f"its results would have the names of those of {chosen[result].name}"
            left_out.append(LeftOut(other, Code.LEFT_OUT, reason))
    if not chosen:
        hint = f". Left out: {left_out[0].path}, as {left_out[0].reason}" if left_out else ""
        raise InputError(
            Code.NO_SCANS, f"{root} holds no structural NIfTI image (T1w, T2w, FLAIR, …){hint}"
        )
    return FoundScans(sorted(chosen.values()), sorted(left_out))


def _misspelt_suffix(path: Path) -> str | None:
    """The suffix of a structural image that a NIfTI file's name nearly has, as in ``_T1.nii``."""
    name = parse_name(path)
    if name.suffix in STRUCTURAL or not path.name.lower().endswith((".nii", ".nii.gz")):
        return None
    near = (name.suffix or "").lower().removesuffix("w")
    return next((s for s in sorted(STRUCTURAL) if s.lower().removesuffix("w") == near), None)


def _files(folder: Path, inside: tuple[str, ...], left_out: list[LeftOut]) -> Iterator[Path]:
    """Files below a folder that lies in the folders ``inside``, whose paths hold no links."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        reason = f"the folder cannot be read: {error.strerror}"
        left_out.append(LeftOut(folder, Code.FILE_UNREADABLE, reason))
        return
    for name in names:
        path = folder / name
        if not path.is_dir():
            if path.is_symlink() and not path.suffix and not path.exists():
                reason = f"it is a link, and its target {os.readlink(path)} is missing"
                left_out.append(LeftOut(path, Code.FILE_MISSING, f"{reason} (datalad get?)"))
            yield path
        elif name not in _SKIPPED_FOLDERS and not name.startswith("."):
            place = os.path.realpath(path)
            if place in inside:
                left_out.append(LeftOut(path, Code.LEFT_OUT, f"it is a link back to {place}"))
            else:
                yield from _files(path, (*inside, place), left_out)


def select_scans(
    dataset: str | Path,
    participants: Sequence[str] = (),
    sessions: Sequence[str] = (),
    suffixes: Sequence[str] = (),
    *,
    found: FoundScans | None = None,
) -> list[Path]:
    """Scans of a BIDS dataset by label; ``sub-`` and ``ses-`` may be left out or kept.

    Args:
        dataset: a folder with ``dataset_description.json``.
        participants, sessions, suffixes: which ones; none means all.
        found: in the dataset, where that is known already.

    Raises:
        InputError: ``not-bids``, ``label-unknown`` for a label without any scan, or as
            :func:`collect_scans`.
    """
    root = Path(dataset)
    scans = (found or find_scans(root)).scans
    scans = [scan for scan in scans if parse_name(scan).suffix is not None]
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
        why_not: why its name does not make it the scan's, in words; ``None`` if it does.
    """

    path: Path
    why_not: str | None


def mask_files(scan: str | Path, entity: str, value: str) -> list[MaskFile]:
    """Masks beside a scan and in ``derivatives/*/`` of its dataset, in its subject's own folders.

    By BIDS' inheritance principle a mask is the scan's when every entity of its name (``ses``,
    ``acq``, ``rec``, ``run``, …) is the scan's, and it may have fewer of them; ``mod`` is the
    scan's suffix, ``space`` may also name the scan's own, and a scan of a session needs a mask of
    that session. Indices such as ``run`` are compared as numbers.

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
    """The scan's folder, then the subject's folder of the same kind in each derivative.

    Where the scan is a link (DataLad), its own place counts; only then that of its target.
    """
    folders = [scan.parent]
    if name.suffix is None:
        return folders
    subject = f"sub-{name.entities['sub']}"
    for place in (scan.absolute(), scan.resolve()):
        for parent in place.parents:
            if parent.name == subject:
                inner = place.parent.relative_to(parent)
                folders += sorted(parent.parent.glob(f"derivatives/*/{subject}/{inner}"))
                break
    places: dict[str, Path] = {}
    for folder in folders:
        places.setdefault(os.path.realpath(folder), folder)
    return list(places.values())
