"""What one map says of one case, in numbers.

Of the map that the protocol compares; a voxel is marked when it is above the threshold:

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
    lesion_contrast            of the lesion in the scan itself, see :class:`GroundTruth`

Without a threshold, the measures that need one are NaN, and no lesion is found.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dal_fast.evaluation.ground_truth import GroundTruth
from dal_fast.evaluation.protocols import Protocol
from dal_fast.ops import VoxelMetrics, components3d, remove_small
from dal_fast.screening.postprocess import scan_score

SIZE_LIMITS_ML = (0.1, 1.0, 10.0)  # of a lesion: below, between, and above


@dataclass(frozen=True)
class CaseMetrics:
    """The measures of one detector on one case.

    Attributes:
        case: name of it.
        participant: whose scan it is.
        facts: what else is known of it, see :class:`dal_fast.evaluation.cases.Case`.
        values: by the names above; what is not defined is NaN.
    """

    case: str
    participant: str
    facts: Mapping[str, str]
    values: dict[str, float]

    @property
    def has_lesion(self) -> bool:
        """Whether there is a lesion voxel on the protocol's grid."""
        return bool(self.values["lesion_voxels"])


@dataclass(frozen=True)
class Measurement:
    """One case, as it is added to a detector's results.

    Attributes:
        metrics: its measures.
        brain, volume: its voxels, counted, to be pooled.
        lesion_voxels, healthy_voxels: of those that the protocol counts.
        slice_sums: sum of the map in each axial slice of the image, float64.
        slice_peaks: highest value of the map in each axial slice that crosses the brain.
        lesion_in_slice, lesion_in_brain_slice: which of them hold lesion.
        lesions_by_size, found_by_size: lesions, and those found, by :func:`size_class`.
    """

    metrics: CaseMetrics
    brain: VoxelMetrics
    volume: VoxelMetrics
    lesion_voxels: int
    healthy_voxels: int
    slice_sums: Tensor
    slice_peaks: Tensor
    lesion_in_slice: Tensor
    lesion_in_brain_slice: Tensor
    lesions_by_size: Counter[str]
    found_by_size: Counter[str]


def measure(
    truth: GroundTruth, score: Tensor, protocol: Protocol, thresholds: Mapping[str, float]
) -> Measurement:
    """All measures of one case.

    Args:
        truth: scan, brain and lesions.
        score: the map ``(1, 1, K, J, I)`` as the protocol compares it.
        protocol: which components stay, and whether background counts.
        thresholds: by name, the protocol's own first; NaN for one that is not known.
    """
    lesion, brain, axial = truth.lesion, truth.brain, truth.axial
    inside, volume = VoxelMetrics(), VoxelMetrics()
    inside.update(score, lesion & brain, brain)
    volume.update(score, lesion)
    counted = lesion if protocol.whole_volume else lesion & brain
    lesion_voxels = count(counted)
    voxels = lesion.numel() if protocol.whole_volume else count(brain)
    values = _without_threshold(truth, score, inside, volume, protocol)
    own, *others = thresholds
    marked = _marked(score, thresholds[own], brain, protocol)
    values |= _at_threshold(marked, thresholds[own], counted, brain & ~lesion)
    sizes, found = components_overlapped(counted, marked)
    values |= {"marked_ml": count(marked) * truth.voxel_ml}
    values |= {"lesions": len(sizes), "lesions_found": int(found.sum())}
    values |= {"false_regions": int((~components_overlapped(marked, counted)[1]).sum())}
    values |= {"lesion_slices": count(in_slices(lesion, axial))}
    values |= {"slices_hit": count(in_slices(marked & lesion, axial))}
    for name in others:
        at = _at_threshold(
            _marked(score, thresholds[name], brain, protocol), thresholds[name], counted,
            brain & ~lesion,
        )  # fmt: skip
        values |= {f"{measure}_{name}": value for measure, value in at.items()}
    classes = np.array([size_class(size * truth.voxel_ml) for size in sizes.tolist()], str)
    crosses_brain = in_slices(brain, axial)
    return Measurement(
        CaseMetrics(truth.case.name, truth.case.participant, truth.case.facts, values),
        inside,
        volume,
        lesion_voxels,
        voxels - lesion_voxels,
        torch.from_numpy(score.numpy().sum(_across(axial), dtype=np.float64).ravel()),
        torch.from_numpy(score.numpy().max(_across(axial)).ravel())[crosses_brain],
        in_slices(lesion, axial),
        in_slices(lesion & brain, axial)[crosses_brain],
        Counter(classes.tolist()),
        Counter(classes[found].tolist()),
    )


def size_class(ml: float) -> str:
    """``"< 0.1 mL"``, ``"0.1 to 1 mL"``, … by ``SIZE_LIMITS_ML``."""
    low, middle, high = SIZE_LIMITS_ML
    if ml < low:
        return f"< {low:g} mL"
    if ml >= high:
        return f">= {high:g} mL"
    return f"{low:g} to {middle:g} mL" if ml < middle else f"{middle:g} to {high:g} mL"


def count(mask: Tensor) -> int:
    """Voxels of a bool volume on the CPU; numpy counts them several times as fast as torch."""
    return int(np.count_nonzero(mask.numpy()))


def in_slices(mask: Tensor, axial: int) -> Tensor:
    """Whether each axial slice holds a voxel of the mask."""
    return torch.from_numpy(mask.numpy().any(_across(axial)).ravel())


def _across(axial: int) -> tuple[int, ...]:
    """The axes of an axial slice."""
    return tuple(axis for axis in (2, 3, 4) if axis != axial)


def _without_threshold(
    truth: GroundTruth,
    score: Tensor,
    inside: VoxelMetrics,
    volume: VoxelMetrics,
    protocol: Protocol,
) -> dict[str, float]:
    voxels = count(truth.lesion)
    best = (volume if protocol.whole_volume else inside).best_dice()
    return {
        "lesion_voxels": voxels,
        "lesion_ml": voxels * truth.voxel_ml,
        "lesion_contrast": truth.lesion_contrast,
        "score": scan_score(score, truth.brain),
        "average_precision": inside.average_precision(),
        "average_precision_volume": volume.average_precision(),
        "auroc": inside.auroc(),
        "best_dice": best.value,
        "best_threshold": best.threshold,
    }


def _marked(score: Tensor, threshold: float, brain: Tensor, protocol: Protocol) -> Tensor:
    """Voxels above a threshold, without small components."""
    marked = remove_small(score > threshold, protocol.least_voxels)
    return marked if protocol.whole_volume else marked & brain


def _at_threshold(
    marked: Tensor, threshold: float, lesion: Tensor, healthy: Tensor
) -> dict[str, float]:
    if math.isnan(threshold):
        return {"dice": math.nan, "false_positive_rate": math.nan}
    rate = count(marked & healthy) / max(1, count(healthy))
    return {"dice": _dice(marked, lesion), "false_positive_rate": rate}


def _dice(marked: Tensor, lesion: Tensor) -> float:
    voxels = count(lesion)
    if not voxels:
        return math.nan
    return 2 * count(marked & lesion) / (count(marked) + voxels)


def components_overlapped(
    mask: Tensor, other: Tensor
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Voxels of each 26-connected component of ``mask``, and whether ``other`` overlaps it."""
    labels = components3d(mask, 26).numpy()
    total = int(labels.max(initial=0))
    sizes, overlaps = (
        np.bincount(labels[where.numpy()], minlength=total + 1)[1:]
        for where in (mask, mask & other)
    )
    return sizes, overlaps > 0
