"""The default score: bright or dark lesions, whichever this scan gives more reason to expect.

Lesions are usually bright in a T2w or FLAIR and dark in a T1w, but not always. Both maps are
computed, each in units of what one healthy voxel in a thousand exceeds, and compared by their
highest thousandth, E (:func:`dal_fast.inference.postprocess.scan_score`), after the usual
smoothing. With r = 1.5 E_usual / E_other the map is

    max(min(1, r)^4 S_usual, min(1, 1 / r)^4 S_other)

so that a clear case shows one sign, a doubtful one both, and the usual sign has the benefit of the
doubt. Ours, not specified in the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dal_fast.inference.postprocess import choose_median, scan_score, smooth
from dal_fast.inference.scoring import anomaly_score, check_score, contrast_of

SIGNED = "signed"
PAIRS = {
    "T1w": ("standard_negative", "standard_positive"),
    "T2w": ("standard_positive", "standard_negative"),
    "FLAIR": ("blended_positive", "standard_negative"),
}
"""By contrast: the usual sign's score, and the other one's."""
BENEFIT, POWER = 1.5, 4
Thresholds = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, eq=False)
class Scored:
    """One scan's map.

    Attributes:
        anomaly: ``(1, 1, D, H, W)``, before smoothing.
        score: its name.
        contrast: what the scan looks like.
        sign: of the lesions that it shows: ``"bright"``, ``"dark"`` or ``"both"``.
    """

    anomaly: Tensor
    score: str
    contrast: str
    sign: str


def score_scan(
    x: Tensor,
    phi: Tensor,
    p: Tensor,
    mask: Tensor,
    fluid: Tensor,
    thresholds: Thresholds,
    score: str = "auto",
) -> Scored:
    """Score one scan; volumes as of :func:`dal_fast.inference.scoring.anomaly_score`.

    Args:
        thresholds: of the model, by contrast and score; 1 for what is not in it.
        score: of ``SCORES``; ``"auto"`` is ``"signed"``.

    Raises:
        InputError: ``value``, when there is no such score.
    """
    contrast = contrast_of(x, p, mask)
    if check_score(score) not in ("auto", SIGNED):
        return Scored(anomaly_score(x, phi, p, mask, score, fluid), score, contrast, _sign(score))
    names = PAIRS[contrast]
    usual, other = (
        anomaly_score(x, phi, p, mask, name, fluid) / threshold_of(thresholds, contrast, name)
        for name in names
    )
    median = choose_median(contrast)
    seen = [scan_score(smooth(one, mask, median), mask) for one in (usual, other)]
    ratio = BENEFIT * max(seen[0], 1e-6) / max(seen[1], 1e-6)
    weights = min(1.0, ratio) ** POWER, min(1.0, 1 / ratio) ** POWER
    anomaly = torch.maximum(weights[0] * usual, weights[1] * other)
    return Scored(anomaly, SIGNED, contrast, _sign(names[0] if ratio >= 1 else names[1]))


def threshold_of(thresholds: Thresholds, contrast: str, score: str) -> float:
    """What one healthy voxel in a thousand exceeds; 1 where a model was never calibrated."""
    return thresholds.get(contrast, {}).get(score, 1.0)


def _sign(score: str) -> str:
    if score.endswith("positive"):
        return "bright"
    return "dark" if score.endswith("negative") else "both"
