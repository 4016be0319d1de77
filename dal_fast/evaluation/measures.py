"""What one map says of one scan, in numbers.

Per case, of the map that the protocol judges; a voxel is marked when it is above the threshold:

    average_precision          sum_k (R_k - R_{k-1}) P_k over the brain's voxels (scikit-learn's
                               ``average_precision_score``); NaN without a lesion
    average_precision_volume   the same over all voxels, background included (UAD-IMAG, pDDPM)
    auroc                      over the brain's voxels
    best_dice                  the highest 2 TP / (2 TP + FP + FN) of any threshold: an oracle
    dice                       at the protocol's threshold, small components removed; no epsilon;
                               ``dice_NAME`` at the others of :mod:`dal_fast.evaluation.thresholds`
    false_positive_rate        FP / (FP + TN) in the brain outside the lesion, at that threshold
    lesions, lesions_found     26-connected lesions, and those that a marked voxel overlaps
    false_regions              26-connected marked regions that touch no lesion
    lesion_slices, slices_hit  axial slices with lesion, and those where a marked voxel overlaps it
                               (Luo's sensitivity)
    score                      mean of the highest 0.1 % of the map in the brain: one number a scan
    contrast                   of the lesion in the scan itself, see :class:`Anatomy`
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dal_fast.evaluation.case_metrics import Anatomy
from dal_fast.evaluation.protocols import Protocol
from dal_fast.ops import VoxelMetrics, components3d, remove_small
from dal_fast.screening.postprocess import scan_score

Row = dict[str, float | int | str]


@dataclass(frozen=True)
class Measured:
    """One case.

    Attributes:
        row: its numbers by name.
        brain, volume: its voxels, counted, to be pooled.
        voxels: with lesion and without, of those that the protocol counts.
        slice_errors: sum of the map in each axial slice of the image.
        sick_slices: which of them hold lesion.
    """

    row: Row
    brain: VoxelMetrics
    volume: VoxelMetrics
    voxels: tuple[int, int]
    slice_errors: Tensor
    sick_slices: Tensor


def measure(
    anatomy: Anatomy, score: Tensor, protocol: Protocol, thresholds: dict[str, float]
) -> Measured:
    """All numbers of one case.

    Args:
        anatomy: scan, brain and lesions.
        score: the map as the protocol judges it.
        protocol: which component stays, and whether background counts.
        thresholds: by name, the headline's first.
    """
    lesion, brain = anatomy.lesion, anatomy.brain
    inside, volume = VoxelMetrics(), VoxelMetrics()
    inside.update(score, lesion & brain, brain)
    volume.update(score, lesion)
    own = volume if protocol.whole_volume else inside
    sick = lesion if protocol.whole_volume else lesion & brain
    best = own.best_dice()
    row: Row = {
        "case": anatomy.truth.name,
        "participant": anatomy.truth.participant,
        "lesion_voxels": count(lesion),
        "lesion_ml": count(lesion) * anatomy.voxel_ml,
        "contrast": anatomy.contrast,
        "score": scan_score(score, brain),
        "average_precision": inside.average_precision(),
        "average_precision_volume": volume.average_precision(),
        "auroc": inside.auroc(),
        "best_dice": best.value,
        "best_threshold": best.threshold,
    }
    for number, (name, threshold) in enumerate(thresholds.items()):
        marked = remove_small(score > threshold, protocol.least_voxels)
        if not protocol.whole_volume:
            marked &= brain
        suffix = "" if number == 0 else f"_{name}"
        row[f"dice{suffix}"] = _dice(marked, sick)
        row[f"false_positive_rate{suffix}"] = _rate(marked, brain & ~lesion)
        if number == 0:
            row["marked_ml"] = count(marked) * anatomy.voxel_ml
            row |= _found(marked, sick) | _slices_hit(marked, lesion, anatomy.axial)
    across = tuple(axis for axis in (2, 3, 4) if axis != anatomy.axial)
    sums = torch.from_numpy(score.numpy().sum(across, dtype=np.float64).ravel())
    lesions, everything = count(sick), lesion.numel() if protocol.whole_volume else count(brain)
    voxels = lesions, everything - lesions
    return Measured(row, inside, volume, voxels, sums, in_slices(lesion, anatomy.axial))


def count(mask: Tensor) -> int:
    """Voxels of a bool volume on the CPU; numpy counts them several times as fast as torch."""
    return int(np.count_nonzero(mask.numpy()))


def _dice(marked: Tensor, lesion: Tensor) -> float:
    voxels = count(lesion)
    if not voxels:
        return math.nan
    return 2 * count(marked & lesion) / (count(marked) + voxels)


def _rate(marked: Tensor, healthy: Tensor) -> float:
    return count(marked & healthy) / max(1, count(healthy))


def _found(marked: Tensor, lesion: Tensor) -> Row:
    """Lesions that are overlapped, and marked regions that overlap none."""
    lesions, found = _touched(lesion, marked)
    regions, true_regions = _touched(marked, lesion)
    return {"lesions": lesions, "lesions_found": found, "false_regions": regions - true_regions}


def _touched(mask: Tensor, other: Tensor) -> tuple[int, int]:
    """26-connected components of ``mask``, and those that share a voxel with ``other``."""
    labels = components3d(mask, 26).numpy()
    total = int(labels.max(initial=0))
    both = labels[(mask & other).numpy()]
    return total, int(np.count_nonzero(np.bincount(both, minlength=total + 1)[1:]))


def _slices_hit(marked: Tensor, lesion: Tensor, axial: int) -> Row:
    return {
        "lesion_slices": count(in_slices(lesion, axial)),
        "slices_hit": count(in_slices(marked & lesion, axial)),
    }


def in_slices(mask: Tensor, axial: int) -> Tensor:
    """Whether each axial slice holds a voxel of the mask."""
    others = tuple(axis for axis in (2, 3, 4) if axis != axial)
    return torch.from_numpy(mask.numpy().any(others).ravel())
