"""BIDS file names: parse them, name what is derived from a scan, find the scans of a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dal_fast.errors import Code, InputError
from dal_fast.imaging.other_formats import OtherFormats
from dal_fast.imaging.paths import missing
from dal_fast.imaging.text import first_few

STRUCTURAL = frozenset(
    ("T1w", "T2w", "FLAIR", "PDw", "PD", "PDT2", "T2starw", "T2star", "UNIT1", "inplaneT1",
     "inplaneT2")
)  # fmt: skip
"""Suffixes of the images that can be screened."""
OUR_DESCRIPTIONS = frozenset(("anomaly", "pseudohealthy", "anomalyZ", "anomalyPercentile"))

NOT_MAGNITUDE = frozenset(("phase", "real", "imag"))
"""Parts of a complex image, by the entity ``part``, that show no anatomy as its magnitude does."""

_NOT_SCANS = frozenset(
    ("mask", "brainmask", "seg", "dseg", "aseg", "probseg", "label", "labels", "lesion", "roi",
     "gt", "groundtruth")
)  # fmt: skip
_OTHER_IMAGES = frozenset(
    (
        "bold", "boldref", "cbv", "sbref", "phase", "dwi", "dwiref", "ADC", "FA", "trace", "colFA",
        "S0map", "expADC", "asl", "m0scan", "epi", "fieldmap", "magnitude", "magnitude1",
        "magnitude2", "phase1", "phase2", "phasediff", "pet", "T1map", "T2map", "T2starmap",
        "R1map", "R2map", "R2starmap", "PDmap", "MTRmap", "MTsat", "MTVmap", "MWFmap", "Chimap",
        "M0map", "PDT2map", "T1rho", "FLASH", "MP2RAGE", "MESE", "MEGRE", "VFA", "IRT1", "MPM",
        "MTS", "MTR", "TB1DAM", "TB1EPI", "TB1AFI", "TB1TFL", "TB1RFM", "TB1SRGE", "TB1map",
        "RB1COR", "RB1map", "angio", "swi", "SWI", "minIP", "defacemask", "xfm", "warp",
    )
)  # fmt: skip
"""BIDS suffixes of images that are no structural ones, and are passed over without a word."""
_SKIPPED_FOLDERS = frozenset(("derivatives", "sourcedata", "code"))
_TEXTS = frozenset(("README", "CHANGES", "LICENSE"))
"""Files of a dataset that have no extension, which links to folders have neither."""
_DESCRIPTION = "dataset_description.json"
_ENTITIES = {"sub": "participant", "ses": "session", "suffix": "suffix"}
_ORDER = (
    "sub", "ses", "sample", "task", "tracksys", "acq", "nuc", "voi", "ce", "trc", "stain", "rec",
    "dir", "run", "mod", "echo", "flip", "inv", "mt", "part", "proc", "hemi", "space", "split",
    "recording", "chunk", "seg", "res", "den", "label", "from", "to", "mode", "desc",
)  # fmt: skip
INDICES = frozenset(("run", "echo", "flip", "inv", "split", "chunk"))
"""Entities whose values are whole numbers in the BIDS schema: ``run-01`` is ``run-1``."""
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
    return _joined(entities, "mask" if mask else name.suffix)


def brain_mask_name(scan: str | Path) -> str:
    """File name of a brain mask that is found as this scan's, and as no other's.

    ``sub-01_T2w.nii.gz`` gives ``sub-01_space-T2w_desc-brain_mask.nii.gz``: its space is the scan's
    own. A scan whose name holds another space, and one whose name is not BIDS, gives the name of
    :func:`output_name`.
    """
    name = parse_name(scan)
    if name.suffix is None or "space" in name.entities:
        return output_name(scan, "brain", mask=True)
    return _joined({**name.entities, "space": name.suffix, "desc": "brain"}, "mask")


def _joined(entities: dict[str, str], suffix: str) -> str:
    """A NIfTI file name of entities, in their order, with the description last."""
    ordered = sorted(entities, key=lambda key: _ORDER.index(key) if key in _ORDER else len(_ORDER))
    parts = [f"{key}-{entities[key]}" for key in ordered if key != "desc"]
    return "_".join([*parts, f"desc-{entities['desc']}", suffix]) + ".nii.gz"


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
        no_magnitude = name.entities.get("part") in NOT_MAGNITUDE
        other = "label" in name.entities or ours or no_magnitude
        return name.suffix in STRUCTURAL and not other
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

    def with_bids_names(self) -> FoundScans:
        """The same; scans whose names are not BIDS are left out, too."""
        others = [scan for scan in self.scans if parse_name(scan).suffix is None]
        reason = "its name is not a BIDS name, sub-LABEL_..._SUFFIX.nii.gz"
        left_out = [LeftOut(scan, Code.LEFT_OUT, reason) for scan in others]
        scans = [scan for scan in self.scans if scan not in set(others)]
        return FoundScans(scans, sorted(self.left_out + left_out))


def collect_scans(folder: str | Path) -> list[Path]:
    """The scans of :func:`find_scans`."""
    return find_scans(folder).scans


def find_scans(folder: str | Path) -> FoundScans:
    """Every scan below a folder, and what was left out.

    Hidden folders and nested ``derivatives``, ``sourcedata`` and ``code`` are not searched. Links
    to folders are followed, except back to a folder that they lie in, and from a linked folder only
    to what was not searched yet. Where a folder holds one scan
    in several versions that would share their results' names (``sub-01_T1w`` and
    ``sub-01_desc-brain_T1w``, ``case.nii`` and ``case.nii.gz``), one is taken: the skull-stripped
    ``desc-brain``, else the first by name. Images of other formats than NIfTI are left out, too:
    the first of each format stands for all of them.

    Raises:
        InputError: ``file-missing``, ``not-a-folder`` or ``no-scans``.
    """
    root = Path(folder)
    if not root.exists():
        raise missing(root)
    if not root.is_dir():
        raise InputError(
            Code.NOT_A_FOLDER, f"{root} is a file; give a folder, or screen it with dal-fast screen"
        )
    left_out: list[LeftOut] = []
    others = OtherFormats()
    chosen: dict[Path, Path] = {}
    for path in _files(root, (os.path.realpath(root),), left_out, set()):
        if not is_scan(path):
            others.add(path)
            if (reason := _why_no_scan(path)) is not None:
                left_out.append(LeftOut(path, Code.LEFT_OUT, reason))
            continue
        result = path.with_name(output_name(path, "anomaly"))
        taken, other = chosen.get(result), path
        if taken is None or parse_name(path).entities.get("desc") == "brain":
            chosen[result], other = path, taken or path
        if taken is not None:
            reason = f"its results would have the names of those of {chosen[result].name}"
            left_out.append(LeftOut(other, Code.LEFT_OUT, reason))
    left_out += [LeftOut(path, Code.LEFT_OUT, reason) for path, reason in others.reasons()]
    if not chosen:
        hint = "; scans are files that end in .nii or .nii.gz"
        if left_out:
            hint = f". Left out: {left_out[0].path}, as {left_out[0].reason}"
        raise InputError(
            Code.NO_SCANS, f"{root} holds no structural NIfTI image (T1w, T2w, FLAIR, …){hint}"
        )
    return FoundScans(sorted(chosen.values()), sorted(left_out))


def _why_no_scan(path: Path) -> str | None:
    """Of a NIfTI file that is no scan by its name but may be one: not magnitude, or ``_T1.nii``."""
    name = parse_name(path)
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return None
    if name.suffix in STRUCTURAL:
        part = name.entities.get("part")
        return f"it is no magnitude image (part-{part})" if part in NOT_MAGNITUDE else None
    if name.suffix is None or name.suffix in _OTHER_IMAGES | _NOT_SCANS:
        return None
    near = name.suffix.lower().removesuffix("w")
    suffix = next((s for s in sorted(STRUCTURAL) if s.lower().removesuffix("w") == near), None)
    meant = suffix or "T1w, T2w or FLAIR"
    return f"its suffix {name.suffix} is no BIDS suffix; is it meant to be {meant}?"


def _files(
    folder: Path,
    inside: tuple[str, ...],
    left_out: list[LeftOut],
    searched: set[str],
    links: int = 0,
) -> Iterator[Path]:
    """Files below a folder.

    Args:
        folder: that was reached over so many ``links``.
        inside: the folders that it lies in, by paths without links.
        left_out: takes what is passed over.
        searched: likewise, every folder that was reached; over more than one link it is enough.
    """
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        reason = f"the folder cannot be read: {error.strerror}"
        left_out.append(LeftOut(folder, Code.FILE_UNREADABLE, reason))
        return
    for name in names:
        path = folder / name
        if not path.is_dir():
            no_scan = path.suffix or name.startswith(".") or name in _TEXTS | _SKIPPED_FOLDERS
            if not no_scan and path.is_symlink() and not path.exists():
                reason = f"it is a link, and its target {os.readlink(path)} is missing"
                left_out.append(LeftOut(path, Code.FILE_MISSING, f"{reason} (datalad get?)"))
            yield path
        elif name not in _SKIPPED_FOLDERS and not name.startswith("."):
            place = os.path.realpath(path)
            over = links + path.is_symlink()
            if place in inside:
                left_out.append(LeftOut(path, Code.LEFT_OUT, f"it is a link back to {place}"))
            elif over > 1 and place in searched:
                reason = f"it leads to {place}, which is searched in another place"
                left_out.append(LeftOut(path, Code.LEFT_OUT, reason))
            else:
                searched.add(place)
                yield from _files(path, (*inside, place), left_out, searched, over)


def _not_bids(root: Path) -> InputError:
    """The refusal of a folder that is no dataset, and what to do instead."""
    above = next((f for f in root.absolute().parents if (f / _DESCRIPTION).is_file()), None)
    if above is not None:
        hint = f"{above} has one: give that folder, and choose with --participant-label"
    else:
        hint = (
            "for a plain folder use dal-fast screen; if it is a BIDS dataset, add the file: "
            '{"Name": "my study", "BIDSVersion": "1.10.0"}'
        )
    return InputError(Code.NOT_BIDS, f"{root} has no {_DESCRIPTION}; {hint}")


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
    scans = (found or find_scans(root)).with_bids_names().scans
    if not (root / _DESCRIPTION).is_file():
        raise _not_bids(root)
    wanted = {
        "sub": [label.removeprefix("sub-") for label in participants],
        "ses": [label.removeprefix("ses-") for label in sessions],
        "suffix": list(suffixes),
    }
    for entity, labels in wanted.items():
        seen = {_value(scan, entity) for scan in scans}
        unknown = [label for label in labels if label not in seen]
        if unknown:
            known = first_few(sorted(value for value in seen if value))
            raise InputError(
                Code.LABEL_UNKNOWN,
                f"{root} holds no scan of the {_ENTITIES[entity]} {', '.join(unknown)}; it holds "
                f"{known or 'none at all'}",
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
