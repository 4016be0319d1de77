"""Whether what was extracted is a brain, and what is doubtful about it, in words.

Without torch: the compiled chain (:mod:`dal_fast.screening.compiled`) says the same. Its own limits
are BrainLimits of ``csrc/chain/brain.h``; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Sequence

from dal_fast.errors import Code, InputError
from dal_fast.imaging.brain_shape import ROUNDEST
from dal_fast.imaging.defects import looks_like_ct
from dal_fast.imaging.mask_origin import ODD_SHAPE, UNCERTAIN, MaskQuality
from dal_fast.imaging.nifti import Volume
from dal_fast.imaging.orientation import Note

DOUBTFUL, HOPELESS = 0.8, 0.1
"""Confidence below which a mask gets a flag, and below which it is refused."""
OFFSET, OF_AGREEMENT, OF_SHARPNESS, LEAST_EXPECTED = -0.18, 1.1, 0.11, 0.9555
"""Dice with the true brain that agreement and sharpness let one expect, and below which a mask gets
a flag: a straight line through 137 synthetic heads of held-out maps."""
UNLIKELY = 0.7
"""Confidence below which a mask of an unusual shape is refused."""
ROUND = 0.93
"""Sphericity above which a mask of an unusual shape is refused, as every one is above ``ROUNDEST``;
not where a face of the field of view cuts it. A ball of water had 0.98; nine real heads had 0.89 to
0.91, one at seven tenths of its size 0.92, a synthetic child 0.925."""
SMALLEST_ML, LARGEST_ML = 150.0, 2600.0
"""Volumes beyond which a mask is refused; those of a flag are in :mod:`dal_fast.screening.qc`."""


def hopeless(
    quality: MaskQuality, millilitres: float, unusual: Sequence[str], cut: bool
) -> str | None:
    """Why a mask is no brain, a clause.

    Args:
        quality: of the mask.
        millilitres: its volume.
        unusual: what is unusual about its shape.
        cut: whether it reaches a face of the field of view.
    """
    if not SMALLEST_ML <= millilitres <= LARGEST_ML:
        return f"what was found has {millilitres:.0f} mL"
    if quality.confidence < (UNLIKELY if unusual else HOPELESS):
        shape = f"; {'; '.join(unusual)}" if unusual else ""
        return (
            f"what was found is no clear brain (confidence {quality.confidence:.2f}, Dice with "
            f"the mirrored run {quality.agreement:.2f}, sphericity {quality.sphericity:.2f}{shape})"
        )
    if quality.sphericity > (ROUND if unusual else ROUNDEST) and not cut:
        return (
            f"what was found is rounder than a brain (sphericity {quality.sphericity:.2f}), as a "
            "phantom is"
        )
    return None


def not_found(volume: Volume, reason: str) -> InputError:
    """The refusal of a scan in which there is no brain, for a reason."""
    if looks_like_ct(volume):
        reason += "; the values are those of a CT, and dal_fast is made for MRI"
    return InputError(
        Code.BRAIN_NOT_FOUND,
        f"no brain was found in {volume.shown}: {reason}. If it shows a head, check the header's "
        f"orientation, try --brain hd-bet, or {own_mask(volume)}",
    )


def own_mask(volume: Volume) -> str:
    """The way out that is always there."""
    first = "bring the series to NIfTI (dcm2niix) and " if volume.title else ""
    return (
        f"{first}give a mask of your own: dal-fast screen --mask, or a desc-brain_mask beside a "
        "NIfTI scan"
    )


def expected_dice(quality: MaskQuality) -> float:
    """The Dice with the true brain that a mask's quality lets one expect."""
    return OFFSET + OF_AGREEMENT * quality.agreement + OF_SHARPNESS * quality.sharpness


def doubts(quality: MaskQuality, unusual: Sequence[str]) -> tuple[Note, ...]:
    """What a reader of the map should know about its mask."""
    notes = []
    if quality.confidence < DOUBTFUL or expected_dice(quality) < LEAST_EXPECTED:
        notes.append(
            Note(
                UNCERTAIN,
                f"the extracted brain mask is not sure (confidence {quality.confidence:.2f}, Dice "
                f"with the mirrored run {quality.agreement:.3f}); look at its outline",
            )
        )
    if unusual:
        notes.append(
            Note(
                ODD_SHAPE,
                f"the extracted brain mask has an unusual shape: {'; '.join(unusual)}. Is the "
                "header's orientation right, and the whole head in view?",
            )
        )
    return tuple(notes)
