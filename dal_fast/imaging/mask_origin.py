"""What dal_fast knows of a brain mask that it wrote itself, from the sidecar beside it.

A sidecar holds the hash of the mask that was written with it. A mask with another hash was changed
since, and is one like any other.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dal_fast.imaging.orientation import Note

MASK_HASH = "BrainMaskSHA256"
"""Key of a sidecar: the hash of the brain mask beside it, as it was written."""
UNCERTAIN, ODD_SHAPE = "brain-mask-uncertain", "brain-mask-shape"
"""The flags on a mask that is not sure, and on one of a shape that brains do not have."""
_EXTRACTED = ("dal_fast", "hd-bet", "nonzero")
"""Sources of a mask that nobody gave."""


@dataclass(frozen=True)
class MaskQuality:
    """How far a mask that was extracted from a head can be trusted.

    Attributes:
        confidence: 0 to 1, what the three below come to.
        agreement: Dice of the brains that are found in the head and in its mirror image.
        sharpness: how steeply the predicted distance crosses the brain's border, 1 for a true
            distance, less where the network cannot tell where the border is; a tenth of the border
            is less sharp than this.
        sphericity: see :func:`dal_fast.imaging.mask.sphericity`.
    """

    confidence: float
    agreement: float
    sharpness: float
    sphericity: float


@dataclass(frozen=True)
class MaskOrigin:
    """Of a mask that dal_fast wrote, and that nobody has changed since.

    Attributes:
        is_output: a screening made it for itself, so that it is no mask that was given.
        quality: of one that was extracted.
        notes: what is doubtful about it.
    """

    is_output: bool
    quality: MaskQuality | None
    notes: tuple[Note, ...]


def read_sidecar(path: Path) -> dict[str, Any] | None:
    """The sidecar of a scan that is complete; ``None`` where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def hash_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes; empty where it is no regular file, as a pipe would be waited for.

    Raises:
        OSError: where it cannot be read.
    """
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def mask_origin(mask: Path, sha256: str | None = None) -> MaskOrigin | None:
    """What dal_fast knows of a brain mask; ``None`` where it did not write it as it is now.

    Args:
        mask: its file.
        sha256: of the file's bytes, where they were read already.
    """
    for path, of_screening in _sidecars(mask):
        facts = read_sidecar(path)
        if facts is None or MASK_HASH not in facts:
            continue
        try:
            unchanged = facts[MASK_HASH] == (sha256 or hash_of_file(mask))
            if unchanged and mask.name in facts["Outputs"].values():
                found = of_screening and facts["Brain"]["Source"] in _EXTRACTED
                return MaskOrigin(found, _quality(facts["Brain"]), _doubts(facts))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # it is not as dal_fast writes them
    return None


def is_output(mask: Path) -> bool:
    """Whether a screening wrote a brain mask for itself, and nobody has changed it since."""
    origin = mask_origin(mask)
    return origin is not None and origin.is_output


def _sidecars(mask: Path) -> list[tuple[Path, bool]]:
    """Where the sidecar of a mask may lie, and whether it would be that of a screening."""
    stem = re.sub(r"\.nii(\.gz)?$", "", mask.name, flags=re.IGNORECASE)
    found = [(f"{stem}.json", False)]
    if named := re.fullmatch(r"(.+)_desc-brain([A-Za-z0-9]*)_mask", stem):
        start, suffix = named.groups()
        found.append((f"{start}_desc-anomaly{'_' * bool(suffix)}{suffix}.json", True))
    return [(mask.with_name(name), of_screening) for name, of_screening in found]


def _quality(brain: dict[str, Any]) -> MaskQuality | None:
    """Of the facts of :attr:`dal_fast.screening.scan.Scan.brain`."""
    if "Confidence" not in brain:
        return None
    names = ("Confidence", "MirroredDice", "BorderSharpness", "Sphericity")
    return MaskQuality(*(float(brain[name]) for name in names))


def _doubts(facts: dict[str, Any]) -> tuple[Note, ...]:
    """The flags of a sidecar that are about its mask."""
    return tuple(
        Note(flag["code"], flag["message"])
        for flag in facts["QualityFlags"]
        if flag["code"] in (UNCERTAIN, ODD_SHAPE)
    )
