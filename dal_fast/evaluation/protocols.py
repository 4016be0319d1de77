"""How the field compares anomaly maps with lesions, by name.

A protocol says on which grid maps and lesions are compared, how a map is processed before, which
voxels count, and where the threshold comes from. Where an original differs from the common
definition, the results hold its value and the common one.

``default`` (ours)
    The map as it is, inside the brain. Threshold: what one healthy voxel in a thousand exceeds.

``validation-set`` (ours, what ``dal-fast compare`` uses)
    As ``default``, but the threshold is the mean over healthy scans of what one voxel in a thousand
    of each exceeds.

``uad-imag`` (Frotscher et al. 2025, arXiv 2512.01534; code of December 2025)
    Background 0, then the median of 4³ voxels, not masked again. AP over all voxels of all
    subjects, background included. Threshold: false-positive rate 0.01 in the brains of healthy
    scans, *of the unfiltered maps*, which is then applied to the filtered ones. Its ``roc_curve``
    drops thresholds without ties; here the quantile is exact. A missing lesion mask makes its case
    healthy there, and is a failure of the case here. An installed detector gets the scan scaled by
    its own smallest and largest value to [0, 1], as their loaders do.

``pddpm`` (Behrendt et al. 2023, patched diffusion models; also its conditioned sibling)
    On a 2 mm grid. The map times the brain mask eroded slice by slice (2D cross, as often as a
    25th of the rows: three times in 96), then the median of 5³, not masked again. Lesions are
    not eroded, so that what lies at the edge cannot be found. AP of each subject over all voxels of
    the box. Threshold: the best pooled Dice of validation cases, by their interval halving. Then
    26-connected components of 7 voxels or fewer are removed (theirs after filling holes).

``luo2023`` (Luo et al. 2023, 3D autoencoder for T2w)
    The median of 5³, then the brain mask eroded by two voxels (the published code does not say
    how deep), threshold of the best pooled Dice of held-out cases, then 26-connected components of
    7 voxels or fewer are removed (number ours). Slices: score 1 - minmax(sum of the map), with the
    min and max over all slices of each volume; positive are the *normal* slices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dal_fast.errors import Code, InputError
from dal_fast.imaging.morphology import erode, erode_along
from dal_fast.ops import median3d

Step = Callable[[Tensor, Tensor, int], Tensor]
"""Map and brain ``(1, 1, D, H, W)`` and the axial axis (2, 3 or 4) to a new map."""


def as_it_is(scan: NDArray[np.float32]) -> NDArray[np.float32]:
    """The scan itself."""
    return scan


def min_to_max(scan: NDArray[np.float32]) -> NDArray[np.float32]:
    """(x - min) / (max - min) over the whole volume, UAD-IMAG's ``normalize_image``; a constant
    scan is 0."""
    low, high = float(scan.min()), float(scan.max())
    return ((scan - low) / (high - low or 1.0)).astype(np.float32)


@dataclass(frozen=True)
class Protocol:
    """One way to compare maps with lesions.

    Attributes:
        name: of it.
        before, after: steps before and after the filter, whose result the unfiltered thresholds
            are taken from.
        median: voxels a side of the filter; 0 none.
        voxel_mm: of the grid that all is brought to; ``None`` is the scan's own.
        whole_volume: whether background counts in the headline AP.
        threshold: the headline's, a name of :mod:`dal_fast.evaluation.thresholds`.
        fpr: false-positive rate of the thresholds from healthy scans.
        least_voxels: of a component that stays.
        scan: how a scan (I, J, K) is normalised for an installed detector.
        headline: names of the measures that its authors report.
    """

    name: str
    before: tuple[Step, ...]
    median: int
    after: tuple[Step, ...]
    threshold: str
    headline: tuple[str, ...]
    voxel_mm: float | None = None
    whole_volume: bool = False
    fpr: float = 0.01
    least_voxels: int = 1
    scan: Callable[[NDArray[np.float32]], NDArray[np.float32]] = as_it_is

    def apply(self, score: Tensor, brain: Tensor, axial: int) -> tuple[Tensor, Tensor]:
        """The map that is compared, and the same without its median."""
        for step in self.before:
            score = step(score, brain, axial)
        smooth = median3d(score, self.median) if self.median else score
        for step in self.after:
            smooth, score = step(smooth, brain, axial), step(score, brain, axial)
        return smooth, score


def masked(score: Tensor, brain: Tensor, axial: int) -> Tensor:
    """0 outside the brain."""
    return score * brain


def masked_eroded(voxels: int) -> Step:
    """0 outside the brain, and within ``voxels`` of its surface (26-neighbourhood)."""

    def step(score: Tensor, brain: Tensor, axial: int) -> Tensor:
        return score * erode(brain, voxels)

    return step


def masked_eroded_by_slice(share: int) -> Step:
    """0 outside the brain eroded by a 2D cross in each axial slice, rows // ``share`` times.

    As ``scipy.ndimage.binary_erosion(slice, generate_binary_structure(2, 1), iterations)``: what
    lies beyond the image counts as outside.
    """

    def step(score: Tensor, brain: Tensor, axial: int) -> Tensor:
        rows, columns = (axis for axis in (2, 3, 4) if axis != axial)
        inside = brain
        for _ in range(brain.shape[rows] // share):
            inside = erode_along(inside, rows) & erode_along(inside, columns)
        return score * inside

    return step


PROTOCOLS = {
    p.name: p
    for p in (
        Protocol(
            "default", (masked,), 0, (), "healthy",
            ("average_precision", "mean_average_precision", "dice", "false_positive_rate"),
            fpr=0.001,
        ),
        Protocol(
            "validation-set", (masked,), 0, (), "healthy_mean",
            ("mean_average_precision", "mean_best_dice", "dice", "slice_peak_auroc"),
            fpr=0.001,
        ),
        Protocol(
            "uad-imag", (masked,), 4, (), "healthy_unfiltered",
            ("average_precision_volume", "best_mean_dice", "dice", "false_positive_rate"),
            whole_volume=True, scan=min_to_max,
        ),
        Protocol(
            "pddpm", (masked_eroded_by_slice(25),), 5, (), "halving",
            ("mean_average_precision_volume", "dice", "mean_best_dice"),
            voxel_mm=2.0, whole_volume=True, least_voxels=8,
        ),
        Protocol(
            "luo2023", (), 5, (masked_eroded(2),), "validation",
            ("slice_auroc", "slice_auprc_normal", "dice", "best_mean_dice", "slice_sensitivity"),
            least_voxels=8,
        ),
    )
}  # fmt: skip


def protocol(name: str) -> Protocol:
    """By name.

    Raises:
        InputError: ``protocol-unknown``.
    """
    if name not in PROTOCOLS:
        known = ", ".join(PROTOCOLS)
        raise InputError(
            Code.PROTOCOL_UNKNOWN, f"there is no protocol {name!r}; choose one of {known}"
        )
    return PROTOCOLS[name]
