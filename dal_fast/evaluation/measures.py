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

import torch
from torch import Tensor

from dal_fast.evaluation.judged import Anatomy
from dal_fast.evaluation.protocols import Protocol
from dal_fast.inference.postprocess import scan_score
from dal_fast.ops import VoxelMetrics, components3d, remove_small

Row = dict[str, float | int | str]


@dataclass(frozen=True)
class Measured:
    """One case.

    Attributes:
        row: its numbers by name.
        brain, volume: its voxels, counted, to be pooled.
        slice_errors: sum of the map in each axial slice of the image.
        sick_slices: which of them hold lesion.
    """

    row: Row
    brain: VoxelMetrics
    volume: VoxelMetrics
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
        "lesion_voxels": int(lesion.sum()),
        "lesion_ml": float(lesion.sum()) * anatomy.voxel_ml,
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
            row["marked_ml"] = float(marked.sum()) * anatomy.voxel_ml
            row |= _found(marked, sick) | _slices_hit(marked, lesion, anatomy.axial)
    across = [axis for axis in (2, 3, 4) if axis != anatomy.axial]
    sums = score.double().sum(across).flatten()
    return Measured(row, inside, volume, sums, _any_in_slice(lesion, anatomy.axial))


def _dice(marked: Tensor, lesion: Tensor) -> float:
    if not bool(lesion.any()):
        return math.nan
    return 2 * float((marked & lesion).sum()) / float(marked.sum() + lesion.sum())


def _rate(marked: Tensor, healthy: Tensor) -> float:
    return float((marked & healthy).sum()) / max(1, int(healthy.sum()))


def _found(marked: Tensor, lesion: Tensor) -> Row:
    """Lesions that are overlapped, and marked regions that overlap none."""
    return {
        "lesions": (lesions := _regions(lesion)),
        "lesions_found": lesions - _untouched(lesion, marked),
        "false_regions": _untouched(marked, lesion),
    }


def _regions(mask: Tensor) -> int:
    return int(components3d(mask, 26).max())


def _untouched(mask: Tensor, other: Tensor) -> int:
    """Components of ``mask`` that share no voxel with ``other``."""
    labels = components3d(mask, 26)
    count = int(labels.max())
    touched = torch.bincount(labels[mask & other], minlength=count + 1) > 0
    return count - int(touched[1:].sum())


def _slices_hit(marked: Tensor, lesion: Tensor, axial: int) -> Row:
    sick, hit = _any_in_slice(lesion, axial), _any_in_slice(marked & lesion, axial)
    return {"lesion_slices": int(sick.sum()), "slices_hit": int(hit.sum())}


def _any_in_slice(mask: Tensor, axial: int) -> Tensor:
    first, second = (axis for axis in (4, 3, 2) if axis != axial)
    return mask.any(first).any(second).flatten()
