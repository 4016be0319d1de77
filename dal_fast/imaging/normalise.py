"""Intensities of a scan to the model's: the brain's median becomes 0.5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dal_fast.errors import Code, InputError

if TYPE_CHECKING:
    from torch import Tensor

BRAIN_LEVEL, CEILING = 0.5, 1.0
"""The normalised intensities of the median and of twice the median, where residuals are cut off."""
WIDEST = 2.0
"""Of four times the median, the highest that a network can see: there fluid and bright lesions of a
T2w still differ."""
STANDARDISED_SHARE = 0.1
"""A scan with a larger share of negative brain voxels counts as standardised."""
_SMALLEST = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Normalisation:
    """normalised = (x − offset) · scale.

    Attributes:
        scale: per unit of the scan.
        offset: the scan's value that stands for no signal.
    """

    scale: float
    offset: float

    def scan_to_image(self, scan: Tensor) -> Tensor:
        """Intensities of the scan, normalised, cut off at 0 and ``WIDEST``."""
        return ((scan - self.offset) * self.scale).clamp(0, WIDEST)

    def image_to_scan(self, image: Tensor) -> Tensor:
        """A normalised image, such as the pseudo-healthy one, in units of the scan."""
        return image / self.scale + self.offset


def normalise(image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Normalisation]:
    """Bring the brain's median to 0.5 and no signal to 0; clip above four times the median.

    Models cut off further: see :attr:`dal_fast.models.config.DALConfig.input_ceiling`.

    The field of view is where the mask has positive values, since a part of the mask may lie
    outside of what was scanned. A few negative voxels (ringing of an interpolation) become 0. A
    scan with more than a tenth of its brain negative has been standardised: the 0.1 % quantile
    inside its mask stands for no signal, and its field of view is the mask. Not specified in the
    paper.

    Args:
        image: (1, 1, D, H, W) float32.
        mask: (1, 1, D, H, W) bool brain mask.

    Returns:
        The normalised image in [0, ``WIDEST``], 0 outside the field of view; the field of view,
        bool; and the normalisation.

    Raises:
        InputError: ``no-signal`` when the field of view is empty or its median is no signal.
    """
    from dal_fast.imaging.selection import Selection

    brain = Selection(image, mask)
    counts = brain.counts()
    offset, field_of_view, signal = 0.0, mask & (image > 0), counts.positive
    standardised = counts.negative > STANDARDISED_SHARE * counts.inside
    if standardised:
        offset = brain.kth(counts.inside // 1000)
        field_of_view, signal = mask, counts.inside
    if signal == 0:
        raise no_signal()
    median = brain.kth((signal - 1) // 2, positive=not standardised) - offset
    if not median > 0:
        raise half_without_signal()
    if median < _SMALLEST:
        raise too_faint(median)
    normalisation = Normalisation(BRAIN_LEVEL / median, offset)
    return normalisation.scan_to_image(image) * field_of_view, field_of_view, normalisation


def no_signal() -> InputError:
    """Of a scan without a positive voxel in the brain."""
    message = "the scan has no signal inside the brain mask; is it the right mask?"
    return InputError(Code.NO_SIGNAL, message)


def half_without_signal() -> InputError:
    """Of a brain whose median is no signal."""
    message = "at least half of the brain has no signal; are mask and scan those of one brain?"
    return InputError(Code.NO_SIGNAL, message)


def too_faint(median: float) -> InputError:
    """Of a median that float32 cannot tell from 0."""
    return InputError(
        Code.NO_SIGNAL,
        f"the brain's median intensity is {median:.2g}, less than float32 holds; multiply the "
        "intensities, for example by setting scl_slope to 1",
    )
