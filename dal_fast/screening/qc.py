"""Quality flags: what about a scan makes its anomaly map less trustworthy.

The limits are ours, not specified in the paper.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dal_fast.imaging.bids import parse_name
from dal_fast.imaging.brain_shape import odd_mask
from dal_fast.imaging.defects import find_defects
from dal_fast.imaging.mask import BrainMask
from dal_fast.imaging.mask_origin import ODD_SHAPE
from dal_fast.imaging.nifti import Volume
from dal_fast.imaging.orientation import voxel_ml
from dal_fast.imaging.text import counted
from dal_fast.metrics import MAD_TO_SIGMA
from dal_fast.screening.contrast import KnownContrast
from dal_fast.screening.result import Flag

MAX_VOXEL_MM = 3.0
MAX_ANISOTROPY = 2.5
BRAIN_ML = (700.0, 2200.0)
MAX_CUT_CM2 = 4.0
MIN_CONTRAST, MIN_OVER_NOISE = 0.8, 2.0
TISSUE_SHARE = (0.05, 0.75)
MAX_ABOVE = 0.15
MAX_FIELD = 0.3


def quality_flags(
    volume: Volume,
    brain: NDArray[np.bool_],
    tissue: NDArray[np.uint8] | None,
    normalised: NDArray[np.float32],
    above: NDArray[np.bool_],
    known: KnownContrast | None,
    looks_like: str,
    bias: NDArray[np.float32] | None = None,
) -> list[Flag]:
    """Every flag that is raised, in the order of the processing.

    Args:
        volume: the scan as read, with the doubts about its header.
        brain: ``(I, J, K)`` on the scan's grid.
        tissue: ``(D, H, W)`` labels 0 to 3 on the model's grid, where there are any.
        normalised: ``(D, H, W)`` scan on the model's grid.
        above: ``(I, J, K)`` anomaly mask.
        known: the contrast and who says so, where it is known.
        looks_like: the contrast that the intensities suggest.
        bias: ``(D, H, W)`` the scan's bias field, 0 outside the brain, where it is estimated.
    """
    checks: list[Callable[[], Flag | None]] = [
        lambda: _replaced(volume.nonfinite),
        lambda: _contrast_agent(volume),
        lambda: _resolution(volume),
        lambda: _anisotropy(volume),
        lambda: _cropped(volume, brain),
        lambda: _volume(volume, brain),
        lambda: None if tissue is None else _shares(tissue),
        lambda: None if tissue is None else _contrast(tissue, normalised),
        lambda: None if tissue is None else _unexpected(known, looks_like),
        lambda: None if bias is None else _strong_field(bias),
        lambda: _widespread(brain, above),
    ]
    notes = (*volume.notes, *find_defects(volume, brain))
    flags = [Flag(note.code, note.message) for note in notes]
    return flags + [flag for check in checks if (flag := check()) is not None]


def _replaced(count: int) -> Flag | None:
    if count == 0:
        return None
    voxels = counted(count, "NaN or infinite voxel")
    return Flag("nonfinite-replaced", f"{voxels} replaced by 0")


def _contrast_agent(volume: Volume) -> Flag | None:
    """A BIDS name with the entity ``ce``; of DICOM series the header says it."""
    agent = parse_name(volume.path).entities.get("ce")
    if agent is None:
        return None
    message = f"a contrast agent was given (ce-{agent}), which the model has never seen"
    return Flag("contrast-agent", message)


def _resolution(volume: Volume) -> Flag | None:
    largest = max(volume.voxel_mm)
    if largest <= MAX_VOXEL_MM:
        return None
    return Flag("low-resolution", f"voxels reach {largest:.2g} mm; small lesions are not seen")


def _anisotropy(volume: Volume) -> Flag | None:
    ratio = max(volume.voxel_mm) / min(volume.voxel_mm)
    if ratio <= MAX_ANISOTROPY:
        return None
    return Flag("anisotropic", f"voxels are {ratio:.2g} times longer along one axis")


def _cropped(volume: Volume, brain: NDArray[np.bool_]) -> Flag | None:
    """The brain touches the rim of the field of view with more than 4 cm²."""
    spacing = volume.voxel_mm
    for axis in range(3):
        area = spacing[(axis + 1) % 3] * spacing[(axis + 2) % 3] / 100  # cm² a voxel face
        for end in (0, -1):
            cut = float(np.count_nonzero(np.moveaxis(brain, axis, 0)[end]) * area)
            if cut > MAX_CUT_CM2:
                return Flag(
                    "cropped-brain", f"the brain mask is cut off at the scan's rim ({cut:.0f} cm²)"
                )
    return None


def _volume(volume: Volume, brain: NDArray[np.bool_]) -> Flag | None:
    ml = np.count_nonzero(brain) * voxel_ml(volume.affine)
    low, high = BRAIN_ML
    if low <= ml <= high:
        return None
    return Flag("brain-volume", f"the brain mask has {ml:.0f} mL; expected {low:.0f} to {high:.0f}")


def _shares(tissue: NDArray[np.uint8]) -> Flag | None:
    """One tissue is nearly absent or nearly everything: the network did not understand the scan."""
    counts = np.bincount(tissue[tissue > 0], minlength=4)[1:]
    if counts.sum() == 0:
        return None
    shares = counts / counts.sum()
    low, high = TISSUE_SHARE
    if (shares[1:] >= low).all() and (shares <= high).all():
        return None
    listed = ", ".join(
        f"{name} {share:.0%}" for name, share in zip(("CSF", "GM", "WM"), shares, strict=True)
    )
    return Flag("tissue-share", f"implausible shares of tissue: {listed}")


def _contrast(tissue: NDArray[np.uint8], x: NDArray[np.float32]) -> Flag | None:
    """The best-separated two tissues are hardly apart, by their own spread or by the noise."""
    groups = [x[tissue == label] for label in (1, 2, 3)]
    groups = [g for g in groups if g.size > 100]
    if len(groups) < 2:
        return None
    middle = np.array([np.median(g) for g in groups])
    spread = np.mean(
        [MAD_TO_SIGMA * np.median(np.abs(g - m)) for g, m in zip(groups, middle, strict=True)]
    )
    apart = float(np.ptp(middle))
    contrast, over_noise = (apart / max(s, 1e-6) for s in (float(spread), _noise(tissue, x)))
    if contrast < MIN_CONTRAST:
        return Flag("low-contrast", f"tissues differ by only {contrast:.2f} of their own spread")
    if over_noise < MIN_OVER_NOISE:
        return Flag("low-contrast", f"tissues differ by only {over_noise:.2f} times the noise")
    return None


def _noise(tissue: NDArray[np.uint8], x: NDArray[np.float32]) -> float:
    """Robust standard deviation of what neighbours of the same tissue differ by, over √2."""
    one, other = (slice(start, len(x) // 3 * 3, 3) for start in (0, 1))
    alike = (tissue[one] == tissue[other]) & (tissue[one] > 0)
    if not alike.any():
        return 0.0
    between = np.abs(x[one][alike] - x[other][alike])
    return float(MAD_TO_SIGMA * np.median(between) / np.sqrt(2))


def _unexpected(known: KnownContrast | None, looks_like: str) -> Flag | None:
    """The intensities suggest another contrast than the one that is known."""
    if known is None or known.name == looks_like:
        return None
    by = "--contrast" if known.source == "option" else f"its {known.source}"
    return Flag(
        "unexpected-contrast",
        f"the scan is a {known.name} by {by} but looks like a {looks_like}; is that right, and are "
        "its intensities not inverted?",
    )


def _strong_field(bias: NDArray[np.float32]) -> Flag | None:
    """The scan is much brighter in some places than in others, beyond what maps are made for."""
    inside = bias[bias > 0]
    spread = float(np.log(inside).std()) if inside.size else 0.0
    if spread <= MAX_FIELD:
        return None
    return Flag(
        "strong-field",
        f"the bias field varies by {spread:.0%} (SD); the brain's bright side may be marked: "
        "correct the scan's bias first, for instance with N4",
    )


def _widespread(brain: NDArray[np.bool_], above: NDArray[np.bool_]) -> Flag | None:
    share = int(np.count_nonzero(above)) / max(1, int(np.count_nonzero(brain)))
    if share <= MAX_ABOVE:
        return None
    return Flag("widespread", f"{share:.0%} of the brain is above the threshold")


def mask_flags(volume: Volume, mask: BrainMask) -> list[Flag]:
    """The flags of a scan's header, resolution and brain mask, without a model.

    Args:
        volume: the scan as read.
        mask: its brain.
    """
    notes = (*volume.notes, *find_defects(volume, mask.data))
    checks = (
        _replaced(volume.nonfinite),
        _resolution(volume),
        _anisotropy(volume),
        _cropped(volume, mask.data),
        _volume(volume, mask.data),
    )
    raised = [flag for flag in checks if flag is not None]
    return [Flag(n.code, n.message) for n in notes] + raised + shape_flags(volume, mask)


def shape_flags(volume: Volume, mask: BrainMask) -> list[Flag]:
    """What is doubtful about a mask: its notes, and its shape where they say nothing of it.

    Args:
        volume: the scan as read.
        mask: its brain, wherever it comes from.
    """
    flags = [Flag(note.code, note.message) for note in mask.notes]
    if any(flag.code == ODD_SHAPE for flag in flags):
        return flags
    clauses = odd_mask(mask.data, volume.affine)
    if clauses:
        message = (
            f"the brain mask has an unusual shape in the patient's axes: {'; '.join(clauses)}. Is "
            "it the brain, all of it, and is the header's orientation right?"
        )
        flags.append(Flag(ODD_SHAPE, message))
    return flags
