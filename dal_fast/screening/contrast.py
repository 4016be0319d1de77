"""The contrast of a scan: said by someone who knows, or guessed from its intensities.

What is known decides, in this order: the caller (``--contrast``), the suffix of the file's name,
the header of a DICOM series (:attr:`dal_fast.screening.scan.Scan.contrast`). The guess is made all
the same, because a disagreement is worth a flag.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dal_fast.errors import Code, InputError
from dal_fast.imaging.bids import parse_name
from dal_fast.screening.scan import Head, Scan
from dal_fast.screening.settings import CONTRASTS

if TYPE_CHECKING:
    from torch import Tensor

GUESSED = "intensities"
SOURCES = ("option", "file name", "header", GUESSED)
"""Where a contrast is known from."""
_CERTAIN = 0.8  # probability from which a voxel counts for a tissue, or for fluid
_FLUID_QUANTILE = 0.9
_T1_SHARE = 0.08  # least (white - grey) / white of a T1w; a healthy one has .15 and more
_ENOUGH = 50  # voxels


@dataclass(frozen=True)
class KnownContrast:
    """A contrast and who says so.

    Attributes:
        name: of ``CONTRASTS``.
        source: of ``SOURCES``.
    """

    name: str
    source: str


def check_contrast(contrast: str | None) -> str | None:
    """``contrast`` itself.

    Raises:
        InputError: ``value``, when there is no such contrast.
    """
    if contrast is not None and contrast not in CONTRASTS:
        names = ", ".join(CONTRASTS)
        raise InputError(Code.VALUE, f"contrast must be one of {names}, not {contrast!r}")
    return contrast


def known_contrast(scan: Scan | Head, told: str | None) -> KnownContrast | None:
    """What is known of a scan's contrast without looking at its intensities.

    Args:
        scan: with its file's name, and what its header says.
        told: by the caller.
    """
    name = parse_name(scan.volume.path)
    last = name.stem.rpartition("_")[2]  # of a name that is not BIDS: patient_FLAIR
    option, file_name, header, _ = SOURCES
    for said, source in (
        (told, option), (name.suffix, file_name), (scan.contrast, header), (last, file_name)
    ):  # fmt: skip
        if said in CONTRASTS:
            return KnownContrast(str(said), source)
    return None


def guess_contrast(x: Tensor, phi: Tensor, p: Tensor, fluid: Tensor, mask: Tensor) -> str:
    """``"T1w"``, ``"T2w"`` or ``"FLAIR"``: what one scan looks like.

    Grey and white matter are as bright as the pseudo-healthy image makes them, which leaves lesions
    out. Fluid is what most of it stays below, wherever tissue or place let one expect it: brightest
    of all in a T2w. White matter is brighter than grey in a T1w, by at least a twelfth of itself.

    Args:
        x: scan without its bias field, ``(1, 1, D, H, W)``.
        phi: pseudo-healthy image without bias field, the same shape.
        p: tissue probabilities (CSF, GM, WM), ``(1, 3, D, H, W)``.
        fluid: probability of fluid, by tissue or place, ``(1, 1, D, H, W)``.
        mask: where the scan has signal inside the brain, bool ``(1, 1, D, H, W)``.
    """
    grey, white = (_median(phi, p[:, k : k + 1], mask) for k in (1, 2))
    wet = x[(fluid > _CERTAIN) & mask]
    if len(wet) >= _ENOUGH:
        rank = 1 + int(_FLUID_QUANTILE * (len(wet) - 1))
        if float(wet.kthvalue(rank).values) > max(grey, white):
            return "T2w"
    return "T1w" if white - grey > _T1_SHARE * white else "FLAIR"


def _median(phi: Tensor, share: Tensor, mask: Tensor) -> float:
    """Of phi where a tissue is certain, else its mean weighted by the tissue's probability."""
    certain = phi[(share > _CERTAIN) & mask]
    if len(certain) >= _ENOUGH:
        return float(certain.median())
    weight = share * mask
    return float((phi * weight).sum() / weight.sum().clamp_min(1e-6))
