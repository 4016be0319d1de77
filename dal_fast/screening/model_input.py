"""A scan as the networks take it: on the model's grid, with normalised intensities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dal_fast.imaging.grid import ModelGrid, to_model_grid
from dal_fast.imaging.normalise import Normalisation, normalise
from dal_fast.screening.scan import Scan


@dataclass(frozen=True, eq=False)
class ModelInput:
    """What a model is given of one scan.

    Attributes:
        image: normalised intensities in [0, 2], ``(1, 1, D, H, W)`` float32, 0 outside the field
            of view; the model cuts them off where it was trained to.
        mask: brain, bool, the same shape.
        field_of_view: the part of the brain that was scanned, bool, the same shape.
        grid: the model's grid, and how it lies in the scan's.
        normalisation: between the scan's intensities and those of ``image``.
    """

    image: Tensor
    mask: Tensor
    field_of_view: Tensor
    grid: ModelGrid
    normalisation: Normalisation

    def intensities_on_scan(self, image: Tensor) -> NDArray[np.float32]:
        """A normalised image ``(1, 1, D, H, W)`` on the scan's grid, in the scan's intensities."""
        return self.grid.to_scan(self.normalisation.image_to_scan(image) * self.mask)


def prepare_input(scan: Scan, voxel_mm: float) -> ModelInput:
    """Resample a scan to the model's grid of ``voxel_mm`` and normalise its intensities.

    Raises:
        InputError: ``no-signal``, and the codes of :mod:`dal_fast.imaging.grid`.
    """
    resampled = to_model_grid(scan.volume, scan.mask.data, voxel_mm)
    mask = resampled.mask
    assert mask is not None  # because a mask was given
    image, field_of_view, normalisation = normalise(resampled.image, mask)
    return ModelInput(image, mask, field_of_view, resampled.grid, normalisation)
