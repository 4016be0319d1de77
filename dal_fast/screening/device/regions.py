"""The regions of a mask as a table of fixed size, without a list of its voxels.

Every column is a reduction by label. Voxels outside go to many spare slots, so that they do not
queue for one; sums are of whole numbers, so that their order does not matter. One kernel could
make the table in a pass over the labels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dal_fast.ops import components3d

CAPACITY = 1024
"""Regions that the table holds; with more, the host makes it from the maps."""
_SPARE = 16384  # slots
_UNIT = 2.0**-20  # of the values that are summed


class Regions(NamedTuple):
    """The regions of N masks, in the order of their labels.

    Attributes:
        number: int64 ``(N,)``, of all regions, however many the table holds.
        size: voxels, int64 ``(N, CAPACITY)``; 0 beyond ``number``.
        peak: highest value, float32, the same shape.
        mean: float64, the same shape.
        place: of the peak's first voxel in memory, int64, the same shape.
    """

    number: Tensor
    size: Tensor
    peak: Tensor
    mean: Tensor
    place: Tensor


def find_regions(values: Tensor, mask: Tensor) -> Regions:
    """The 26-connected regions of each mask.

    Args:
        values: float32 ``(N, K, J, I)``, below a million.
        mask: bool, the same shape.
    """
    labels = components3d(mask[:, None], connectivity=26).flatten(1)
    values, voxels = values.flatten(1), labels.shape[1]
    index = torch.arange(voxels, device=values.device).expand_as(labels)
    listed = (labels > 0) & (labels <= CAPACITY)
    slot = torch.where(listed, labels.long() - 1, CAPACITY + index % _SPARE)
    shape = (len(values), CAPACITY + _SPARE)
    zeros = torch.zeros(shape, dtype=torch.int64, device=values.device)
    size = zeros.scatter_add(1, slot, listed.long())
    whole = (values.double() / _UNIT).round().long() * listed
    total = zeros.scatter_add(1, slot, whole)
    peak = values.new_zeros(shape).scatter_reduce(1, slot, values, "amax")
    at_peak = listed & (values == peak.gather(1, slot))
    place = torch.full_like(zeros, voxels).scatter_reduce(
        1, slot, torch.where(at_peak, index, voxels), "amin"
    )
    size, total, peak, place = (table[:, :CAPACITY] for table in (size, total, peak, place))
    mean = total.double() * _UNIT / size.clamp_min(1)
    return Regions(labels.amax(1).long(), size, peak, mean, place)
