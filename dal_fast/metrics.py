"""Measures that models, screening, evaluation and training share; torch is imported by those that
need it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

MAD_TO_SIGMA = 1.4826
"""The standard deviation of a normal distribution, in median absolute deviations."""


def robust_spread(deviations: Tensor) -> Tensor:
    """An estimate of the standard deviation that few outliers do not change.

    ``1.4826 * median(|d|)``, the median absolute deviation scaled to a normal distribution's
    standard deviation.

    Args:
        deviations: from a centre, such as residuals; any shape, not empty.

    Returns:
        A tensor without axes, of the same dtype. The lower of two middle values is the median.
    """
    return MAD_TO_SIGMA * deviations.abs().median()


def label_dice(a: Tensor, b: Tensor, classes: int, mask: Tensor) -> Tensor:
    """Dice coefficient of every class of two label maps.

    ``2 |A and B| / (|A| + |B|)``; 0 for a class that neither map holds.

    Args:
        a, b: labels from 0 to ``classes - 1``, int64 ``(N, D, H, W)``.
        classes: number of classes.
        mask: voxels that count, bool ``(N, 1, D, H, W)``.

    Returns:
        float64 ``(N, classes)``.
    """
    from torch.nn import functional as F

    first, second = (F.one_hot(labels, classes).movedim(-1, 1) * mask for labels in (a, b))
    both = (first * second).sum((2, 3, 4)).double()
    return 2 * both / (first.sum((2, 3, 4)) + second.sum((2, 3, 4))).clamp_min(1)


def auroc(scores: Sequence[float], positive: Sequence[bool]) -> float:
    """Area under the ROC curve of one score for each item.

    Args:
        scores: finite; higher means more likely to be positive.
        positive: the class of each.

    Returns:
        NaN where all items, or none, are positive.
    """
    if len(set(positive)) < 2:
        return math.nan
    import torch

    from dal_fast.ops import VoxelMetrics

    metrics, shape = VoxelMetrics(), (1, 1, 1, 1, len(scores))
    metrics.update(torch.tensor(scores).view(shape), torch.tensor(positive).view(shape))
    return metrics.auroc()
