"""The default score: bright or dark lesions, whichever this scan gives more reason to expect.

Lesions are usually bright in a T2w or FLAIR and dark in a T1w, but not always. Both maps e of
:mod:`dal_fast.screening.enhance` are computed, each in units of what one healthy voxel in a
thousand exceeds. Which sign stands out is told by their peaks: E is the mean of a map's highest
voxels, three in ten thousand (.4 mL), R the root mean square of the map inside the brain, and

    peak = log E - 0.7 log R

because a scan that differs from phi throughout has high maps without a lesion. How far a peak is
above those of healthy scans is z = (peak - mean) / SD over healthy scans of the contrast. With
d = benefit + z_usual - z_other the map is

    M = max(min(1, exp(d / 2)) S_usual, min(1, exp(-d / 2)) S_other)
    max(M, mean of M over 9^3, mean of M over 27^3) / level

so that a clear case shows one sign, a doubtful one both, and the usual sign has the benefit of the
doubt: standard deviations, by contrast. What lies in the midst of much that is abnormal, such as
the core of a tumour or a cavity, counts as much as its surroundings; small lesions do not lose by
that. S is e, and in a T1w e + max(g - u_g, 0) / (2 g_0), because what is abnormal there is the
structure more often than the intensity; u_g is how large g usually is at that place of a healthy
brain, 0 for a model that was never calibrated. ``level`` is what one voxel in a thousand of all
healthy scans exceeds, so that the threshold is 1. Ours, not specified in the paper.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from dal_fast.models.residuals import usual_spread
from dal_fast.screening.contrast import guess_contrast
from dal_fast.screening.enhance import (
    SMOOTHED,
    enhanced,
    mean3,
    residual_of_sign,
    structural_difference,
)
from dal_fast.screening.postprocess import choose_median, top_mean
from dal_fast.screening.scoring import ENHANCED, anomaly_score, check_score
from dal_fast.screening.usual_residual import usual_residual

COMBINED, BRIGHT, DARK = ENHANCED
STRUCTURE = "structure"
USUAL = {"T1w": DARK, "T2w": BRIGHT, "FLAIR": BRIGHT}
"""By contrast: the map of the usual sign of lesions."""
STRUCTURE_SHARE = {"T1w": 0.5, "T2w": 0.0, "FLAIR": 0.0}
"""By contrast: what (g - u_g) / g_0 adds to a map."""
BENEFIT = {"T1w": 2.5, "T2w": 5.0, "FLAIR": 5.0}
"""By contrast: the benefit of the doubt, in SD."""
PEAK_SHARE = 0.0003  # of the brain's voxels, whose mean is E
COMMON_SHARE = 0.7  # of log R
LEAST_SPREAD = 0.05  # SD of a peak, however few healthy scans it is from
LEAST_PEAK = 1e-6  # E and R of an empty map
_USUAL_PEAK = (1.5, 0.35)  # of a model that was never calibrated


class Calibration(BaseModel):
    """What healthy brains show under one model; kept in its weight file.

    Attributes:
        thresholds: by contrast and score, what one voxel in a thousand exceeds. Beside the scores
            ``structure``, g_0 of :mod:`dal_fast.screening.enhance`.
        peaks: by contrast and sign (``enhanced_positive``, ``enhanced_negative``), mean and SD of
            the peak.
        usual: by contrast and sign, u_s of :mod:`dal_fast.screening.usual_residual`, packed; for
            ``structure``, u_g.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    thresholds: dict[str, dict[str, float]] = {}
    peaks: dict[str, dict[str, tuple[float, float]]] = {}
    usual: dict[str, dict[str, str]] = {}

    def threshold(self, contrast: str, score: str) -> float:
        """1 for a model that was never calibrated."""
        return self.thresholds.get(contrast, {}).get(score, 1.0)

    def outstanding(self, contrast: str, score: str, peak: float) -> float:
        """z of a peak: how far it is above those of healthy scans, in their SD."""
        mean, spread = self.peaks.get(contrast, {}).get(score, _USUAL_PEAK)
        return (peak - mean) / max(spread, LEAST_SPREAD)

    def usual_residual(self, contrast: str, score: str, mask: Tensor) -> Tensor | None:
        """u_s or u_g in a brain, of the shape of ``mask``; None where it was never measured."""
        atlas = self.usual.get(contrast, {}).get(score)
        return None if atlas is None else usual_residual(atlas, mask)


@dataclass(frozen=True, eq=False)
class AnomalyMap:
    """One scan's anomaly map, and how it was computed.

    Attributes:
        data: ``(1, 1, D, H, W)``, before smoothing.
        score: its name.
        contrast: that it was computed for.
        sign: of the lesions that it shows: ``"bright"``, ``"dark"`` or ``"both"``.
        median: the smoothing that suits it, see :func:`dal_fast.screening.postprocess.smooth`.
        threshold: what one healthy voxel in a thousand exceeds.
        looks_like: the contrast that the intensities suggest.
    """

    data: Tensor
    score: str
    contrast: str
    sign: str
    median: int | str
    threshold: float
    looks_like: str


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a map is made from; every volume is one scan's, ``(1, 1, D, H, W)``.

    Attributes:
        x, phi, p, mask, fluid: as of :func:`dal_fast.screening.scoring.anomaly_score`.
            The first two are without the bias field where the model estimates one.
        abnormal: probability of an abnormal voxel, by the model's head; None without one.
    """

    x: Tensor
    phi: Tensor
    p: Tensor
    mask: Tensor
    fluid: Tensor
    abnormal: Tensor | None = None

    def looks_like(self) -> str:
        """The contrast that the intensities suggest."""
        return guess_contrast(self.x, self.phi, self.p, self.fluid, self.mask)

    def spread(self) -> Tensor:
        """The residual's usual spread."""
        return usual_spread(self.x, self.phi, self.p, self.mask)

    def structure(self) -> Tensor:
        """g of :mod:`dal_fast.screening.enhance`."""
        return structural_difference(self.x, self.phi, self.fluid, self.mask)

    def residual(self, score: str, spread: Tensor) -> Tensor:
        """r_s of :mod:`dal_fast.screening.enhance`, of the sign that ``score`` names."""
        sign = 1.0 if score == BRIGHT else -1.0
        return residual_of_sign(self.x, self.phi, self.mask, spread, sign)

    def enhanced(
        self, score: str, contrast: str, spread: Tensor, structure: Tensor, usual: Tensor | None
    ) -> Tensor:
        """e of a contrast and of the sign that ``score`` names."""
        sign = 1.0 if score == BRIGHT else -1.0
        return enhanced(
            self.x,
            self.phi,
            self.fluid,
            self.mask,
            spread,
            structure,
            sign,
            SMOOTHED[contrast],
            self.abnormal,
            usual,
        )


def score_scan(
    evidence: Evidence, calibration: Calibration, score: str = "auto", contrast: str | None = None
) -> AnomalyMap:
    """Score one scan.

    Args:
        evidence: of it.
        calibration: what the model shows of healthy brains.
        score: of ``SCORES``; ``"auto"`` is ``"enhanced"``.
        contrast: where it is known; by default what the scan looks like.

    Raises:
        InputError: ``value``, when there is no such score.
    """
    looks_like = evidence.looks_like()
    contrast = contrast or looks_like
    name = COMBINED if check_score(score) == "auto" else score
    if name not in ENHANCED:
        e = evidence
        data = anomaly_score(e.x, e.phi, e.p, e.mask, name, e.fluid)
        level = calibration.threshold(contrast, name)
        median = choose_median(contrast)
        return AnomalyMap(data, name, contrast, sign_of(name), median, level, looks_like)
    signs = ENHANCED[1:] if name == COMBINED else (name,)
    structure = evidence.structure() / calibration.threshold(contrast, STRUCTURE)
    maps = sign_maps(evidence, structure, calibration, contrast, signs)
    weights = {name: 1.0}
    if name == COMBINED:
        weights = weigh_signs(maps, evidence.mask, calibration, contrast)
    excess = structural_excess(structure, evidence.mask, calibration, contrast)
    combined = combine(maps, excess, weights, evidence.mask, contrast)
    data = combined / calibration.threshold(contrast, COMBINED)
    shown = max(weights, key=lambda sign: (weights[sign], sign == USUAL[contrast]))
    return AnomalyMap(data, name, contrast, sign_of(shown), 0, 1.0, looks_like)


def sign_maps(
    evidence: Evidence,
    structure: Tensor,
    calibration: Calibration,
    contrast: str,
    signs: tuple[str, ...] = ENHANCED[1:],
) -> dict[str, Tensor]:
    """e of every sign, in units of its healthy level; ``structure`` is g / g_0."""
    spread, maps = evidence.spread(), {}
    for sign in signs:
        usual = calibration.usual_residual(contrast, sign, evidence.mask)
        one = evidence.enhanced(sign, contrast, spread, structure, usual)
        maps[sign] = one.div_(calibration.threshold(contrast, sign))
    return maps


def weigh_signs(
    maps: dict[str, Tensor], mask: Tensor, calibration: Calibration, contrast: str
) -> dict[str, float]:
    """What each sign's map counts: 1 for the one that stands out."""
    usual = USUAL[contrast]
    other = DARK if usual == BRIGHT else BRIGHT
    z = {s: calibration.outstanding(contrast, s, peak_of(maps[s], mask)) for s in (usual, other)}
    doubt = BENEFIT[contrast] + z[usual] - z[other]
    return {usual: math.exp(min(0.0, doubt / 2)), other: math.exp(min(0.0, -doubt / 2))}


def structural_excess(
    structure: Tensor, mask: Tensor, calibration: Calibration, contrast: str
) -> Tensor | None:
    """max(g - u_g, 0) / g_0, from ``structure``, g / g_0; None where it adds nothing to a map."""
    if not STRUCTURE_SHARE[contrast]:
        return None
    usual = calibration.usual_residual(contrast, STRUCTURE, mask)
    if usual is None:
        return structure
    return (structure - usual / calibration.threshold(contrast, STRUCTURE)).clamp_min_(0)


def combine(
    maps: dict[str, Tensor],
    excess: Tensor | None,
    weights: dict[str, float],
    mask: Tensor,
    contrast: str,
) -> Tensor:
    """M and its surroundings; ``excess`` of :func:`structural_excess`."""
    share = STRUCTURE_SHARE[contrast]
    parts = [
        (maps[sign] if excess is None else maps[sign] + share * excess) * weight
        for sign, weight in weights.items()
    ]
    shown = parts[0] if len(parts) == 1 else torch.maximum(parts[0], parts[1])
    return with_surroundings(shown, mask)


def with_surroundings(shown: Tensor, mask: Tensor) -> Tensor:
    """Maps ``(N, 1, D, H, W)``, at least their means over 9^3 and 27^3; 0 outside the mask."""
    near = mean3(mean3(shown), step=3)
    return torch.maximum(torch.maximum(shown, near), mean3(near, step=9)) * mask


def peak_of(anomaly: Tensor, mask: Tensor) -> float:
    """log E - 0.7 log R of a smooth map, which is 0 outside the mask."""
    highest = top_mean(anomaly, mask, PEAK_SHARE)
    total = float(anomaly.square().sum(dtype=torch.float64))
    spread = math.sqrt(total / max(1, int(torch.count_nonzero(mask))))
    return math.log(max(highest, LEAST_PEAK)) - COMMON_SHARE * math.log(max(spread, LEAST_PEAK))


def sign_of(score: str) -> str:
    """Of the lesions that a score of ``NAMED`` or ``ENHANCED`` shows."""
    if score.endswith("positive"):
        return "bright"
    return "dark" if score.endswith("negative") else "both"
