"""The default score: bright or dark lesions, whichever this scan gives more reason to expect.

Lesions are usually bright in a T2w or FLAIR and dark in a T1w, but not always. Both maps S are
computed, each in units of what one healthy voxel in a thousand exceeds, and smoothed; E is the mean
of their highest thousandth (:func:`dal_fast.screening.postprocess.scan_score`). How far E is above
that of healthy scans says which sign stands out, z = (log E - mean) / SD over healthy scans of the
contrast. With d = 2 + z_usual - z_other the map is

    max(min(1, exp(d / 2)) S_usual, min(1, exp(-d / 2)) S_other)

so that a clear case shows one sign, a doubtful one both, and the usual sign has the benefit of the
doubt: two standard deviations. Ours, not specified in the paper.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from dal_fast.models.residuals import usual_spread
from dal_fast.screening.postprocess import choose_median, scan_score, smooth
from dal_fast.screening.scoring import anomaly_score, check_score, contrast_of

SIGNED = "signed"
PAIRS = {
    "T1w": ("standard_negative", "standard_positive"),
    "T2w": ("standard_positive", "standard_negative"),
    "FLAIR": ("blended_positive", "standard_negative"),
}
"""By contrast: the usual sign's score, and the other one's."""
BENEFIT = 2.0  # of the doubt, in SD
LEAST_SPREAD = 0.05  # SD of log E, however few healthy scans it is from
_LEAST_PEAK = 1e-6  # E of an empty map
_USUAL_PEAK = (0.4, 0.2)  # of a model that was never calibrated


class Calibration(BaseModel):
    """What healthy brains show under one model; kept in its weight file.

    Attributes:
        thresholds: by contrast and score, what one voxel in a thousand exceeds.
        peaks: by contrast and score of ``PAIRS``, mean and SD of log E.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    thresholds: dict[str, dict[str, float]] = {}
    peaks: dict[str, dict[str, tuple[float, float]]] = {}

    def threshold(self, contrast: str, score: str) -> float:
        """1 for a model that was never calibrated."""
        return self.thresholds.get(contrast, {}).get(score, 1.0)

    def outstanding(self, contrast: str, score: str, peak: float) -> float:
        """z of a peak log E: how far it is above those of healthy scans, in their SD."""
        mean, spread = self.peaks.get(contrast, {}).get(score, _USUAL_PEAK)
        return (peak - mean) / max(spread, LEAST_SPREAD)


@dataclass(frozen=True, eq=False)
class AnomalyMap:
    """One scan's anomaly map, and how it was computed.

    Attributes:
        data: ``(1, 1, D, H, W)``, before smoothing.
        score: its name.
        contrast: what the scan looks like.
        sign: of the lesions that it shows: ``"bright"``, ``"dark"`` or ``"both"``.
        median: the smoothing that suits it, see :func:`dal_fast.screening.postprocess.smooth`.
    """

    data: Tensor
    score: str
    contrast: str
    sign: str
    median: int | str


def score_scan(
    x: Tensor,
    phi: Tensor,
    p: Tensor,
    mask: Tensor,
    fluid: Tensor,
    calibration: Calibration,
    score: str = "auto",
) -> AnomalyMap:
    """Score one scan; volumes as of :func:`dal_fast.screening.scoring.anomaly_score`.

    Args:
        calibration: what the model shows of healthy brains.
        score: of ``SCORES``; ``"auto"`` is ``"signed"``.

    Raises:
        InputError: ``value``, when there is no such score.
    """
    contrast = contrast_of(x, p, mask)
    size = choose_median(contrast)
    if check_score(score) not in ("auto", SIGNED):
        anomaly = anomaly_score(x, phi, p, mask, score, fluid)
        return AnomalyMap(anomaly, score, contrast, sign_of(score), size)
    names = PAIRS[contrast]
    spread = usual_spread(x, phi, p, mask)
    maps = [
        anomaly_score(x, phi, p, mask, name, fluid, spread) / calibration.threshold(contrast, name)
        for name in names
    ]
    usual, other = (
        calibration.outstanding(contrast, name, peak_of(smooth(raw, mask, size), mask))
        for name, raw in zip(names, maps, strict=True)
    )
    doubt = BENEFIT + usual - other
    weights = math.exp(min(0.0, doubt / 2)), math.exp(min(0.0, -doubt / 2))
    anomaly = torch.maximum(weights[0] * maps[0], weights[1] * maps[1])
    sign = sign_of(names[0] if doubt >= 0 else names[1])
    return AnomalyMap(anomaly, SIGNED, contrast, sign, size)


def peak_of(anomaly: Tensor, mask: Tensor) -> float:
    """log E of a smooth map."""
    return math.log(max(scan_score(anomaly, mask), _LEAST_PEAK))


def sign_of(score: str) -> str:
    """Of the lesions that a score of ``NAMED`` shows."""
    if score.endswith("positive"):
        return "bright"
    return "dark" if score.endswith("negative") else "both"
