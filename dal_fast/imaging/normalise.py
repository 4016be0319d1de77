"""Intensities of a scan to the model's: the brain's median becomes 0.5."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dal_fast.errors import Code, InputError

BRAIN_LEVEL, CEILING = 0.5, 1.0
"""The median's place, and where brighter voxels are cut off: at twice the median."""
STANDARDISED_SHARE = 0.1
"""Share of negative voxels in the brain from which on a scan counts as standardised."""


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
        """Intensities of the scan, normalised and cut off."""
        return ((scan - self.offset) * self.scale).clamp(0, CEILING)

    def image_to_scan(self, image: Tensor) -> Tensor:
        """A normalised image, such as the pseudo-healthy one, in units of the scan."""
        return image / self.scale + self.offset


def normalise(image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Normalisation]:
    """Bring the brain's median to 0.5, dark to 0, and cut off above twice the median.

    The field of view is the mask where x > 0: part of a mask may lie outside what was scanned.
    A few negative voxels (interpolation rings) become 0. A scan with more than a tenth of its
    brain negative has been standardised; there its 0.1 % quantile inside the mask stands for no
    signal and the field of view is the mask. Choices of ours, not specified in the paper.

    Args:
        image: (1, 1, D, H, W) float32.
        mask: (1, 1, D, H, W) bool brain mask.

    Returns:
        The normalised image in [0, 1], 0 outside the field of view; the field of view, bool; and
        the way back.

    Raises:
        InputError: ``no-signal`` when the field of view is empty or its median is no signal.
    """
    brain = image[mask]
    offset, view = 0.0, mask & (image > 0)
    seen = brain[brain > 0]
    if brain.numel() and float((brain < 0).float().mean()) > STANDARDISED_SHARE:
        offset = float(brain.kthvalue(1 + brain.numel() // 1000).values)
        view, seen = mask, brain
    if seen.numel() == 0:
        raise InputError(Code.NO_SIGNAL, "the scan has no signal inside the brain mask")
    median = float(seen.median()) - offset
    if not median > 0:
        raise InputError(Code.NO_SIGNAL, "half the brain or more has no signal")
    way = Normalisation(BRAIN_LEVEL / median, offset)
    return way.scan_to_image(image) * view, view, way
