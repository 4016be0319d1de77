"""Intensities of a batch to the model's, as :mod:`dal_fast.imaging.normalise` does for one scan."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dal_fast.imaging.normalise import (
    _SMALLEST,
    BRAIN_LEVEL,
    STANDARDISED_SHARE,
    WIDEST,
)
from dal_fast.models.fixed import ranked

FINE, NO_SIGNAL, HALF_WITHOUT_SIGNAL, TOO_FAINT = range(4)
"""What is the matter with a scan; the host turns it into the error that the CPU raises."""


class Normalised(NamedTuple):
    """N normalised scans.

    Attributes:
        image: in [0, ``WIDEST``], ``(N, 1, D, H, W)``, 0 outside the field of view.
        field_of_view: bool, the same shape.
        scale, offset: normalised = (x - offset) scale, float64 ``(N,)``.
        median: of the brain, in the scan's unit, float64 ``(N,)``.
        problem: int64 ``(N,)``, one of the names above.
    """

    image: Tensor
    field_of_view: Tensor
    scale: Tensor
    offset: Tensor
    median: Tensor
    problem: Tensor

    def to_scan(self, image: Tensor) -> Tensor:
        """A normalised image in units of the scan."""
        scale, offset = (_each(value).to(image.dtype) for value in (self.scale, self.offset))
        return image / scale + offset


def normalise(image: Tensor, mask: Tensor) -> Normalised:
    """Bring every brain's median to 0.5; one sort serves both order statistics.

    Args:
        image: float32 ``(N, 1, D, H, W)``.
        mask: brains, bool, the same shape.
    """
    values, inside = image.flatten(1), mask.flatten(1)
    rising = values.masked_fill(~inside, torch.inf).sort(dim=1).values
    count, positive = inside.sum(1), (inside & (values > 0)).sum(1)
    negative = (inside & (values < 0)).sum(1)
    standardised = negative > STANDARDISED_SHARE * count.double()
    lowest = ranked(rising, count // 1000).double()
    offset = torch.where(standardised, lowest, 0.0)
    signal = torch.where(standardised, count, positive)
    rank = torch.where(standardised, 0, count - positive) + (signal - 1) // 2
    median = ranked(rising, rank).double() - offset
    problem = torch.where(median < _SMALLEST, TOO_FAINT, FINE)
    problem = torch.where(median > 0, problem, HALF_WITHOUT_SIGNAL)
    problem = torch.where(signal == 0, NO_SIGNAL, problem)
    scale = torch.where(problem == FINE, BRAIN_LEVEL / median, 1.0)
    seen = mask & ((image > 0) | _each(standardised))
    scaled = (image - _each(offset).to(image.dtype)) * _each(scale).to(image.dtype)
    return Normalised(scaled.clamp(0, WIDEST) * seen, seen, scale, offset, median, problem)


def _each(values: Tensor) -> Tensor:
    """``(N,)`` for volumes ``(N, 1, D, H, W)``."""
    return values.view(-1, 1, 1, 1, 1)
