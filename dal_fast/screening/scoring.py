"""From scan and pseudo-healthy image to an anomaly map.

With residual r = x - phi, phi's range [lo, hi] in the 3x3x3 neighbourhood (inside the mask), and
the probability of cerebrospinal fluid p_CSF (by the network or by the atlas):

    hybrid              |r| (1 - SSIM(x, phi))         the paper's
    absolute            |r|
    positive, negative  max(r, 0), max(-r, 0)
    tolerant_positive   max(x - hi, 0)                 a boundary off by a voxel is no anomaly
    tolerant_negative   max(lo - x, 0)
    gated_positive      (1 - p_CSF) max(x - hi, 0)     nor is a sulcus wider than expected
    gated_negative      (1 - p_CSF) max(lo - x, 0)
    standard_positive   gated_positive / sigma         in units of what is usual in the tissue
    standard_negative   gated_negative / sigma
    blended_positive    (1 - p_CSF) max(x - (3 hi + 0.5) / 4, 0) / sigma

sigma is the spread of r around 0 in each tissue of the scan itself, mixed by the tissue's
probability. ``blended`` leans on the plain intensity (the brain's median is 0.5), which is strong
where lesions are the brightest of all. All but ``hybrid`` are ours ("not specified in the paper").
The default is ``enhanced`` (:mod:`dal_fast.screening.enhance`), of the sign that stands out
(:mod:`dal_fast.screening.calibration`).
"""

from __future__ import annotations

from torch import Tensor

from dal_fast.errors import Code, InputError
from dal_fast.imaging.normalise import BRAIN_LEVEL
from dal_fast.models.residuals import highest_nearby, usual_spread
from dal_fast.ops import hybrid_score

NAMED = (
    "hybrid",
    "absolute",
    "positive",
    "negative",
    "tolerant_positive",
    "tolerant_negative",
    "gated_positive",
    "gated_negative",
    "standard_positive",
    "standard_negative",
    "blended_positive",
)
WITHOUT_TISSUE = NAMED[:6]
"""Those that ask for no tissue maps."""
ENHANCED = ("enhanced", "enhanced_positive", "enhanced_negative")
"""Those of :mod:`dal_fast.screening.enhance`: both signs weighed, and each alone."""
SCORES = ("auto", *ENHANCED, *NAMED)

LEAN = 0.25  # share of the plain intensity in ``blended``


def check_score(score: str) -> str:
    """``score`` itself.

    Raises:
        InputError: ``value``, when there is no such score.
    """
    if score not in SCORES:
        raise InputError(Code.VALUE, f"score must be one of {', '.join(SCORES)}, not {score!r}")
    return score


def anomaly_score(
    x: Tensor,
    phi: Tensor,
    p: Tensor | None,
    mask: Tensor,
    score: str,
    fluid: Tensor | None = None,
    spread: Tensor | None = None,
) -> Tensor:
    """The anomaly map of a batch, at least 0; 0 outside the mask.

    In the unit of ``x``; ``standard`` and ``blended`` in spreads of the tissue.

    Args:
        x: normalised scan, ``(N, 1, D, H, W)``.
        phi: pseudo-healthy image, the same shape.
        p: tissue probabilities (CSF, GM, WM), ``(N, 3, D, H, W)``; None is enough for a score of
            ``WITHOUT_TISSUE``.
        mask: where the scan has signal inside the brain, bool ``(N, 1, D, H, W)``.
        score: one of ``NAMED``.
        fluid: probability of fluid, ``(N, 1, D, H, W)``; default that of ``p``.
        spread: :func:`usual_spread` of these volumes, where it is known already.

    Raises:
        InputError: ``value``, when there is no such score.
    """
    if score not in NAMED:
        raise InputError(Code.VALUE, f"a map's score is one of {', '.join(NAMED)}, not {score!r}")
    if score == "hybrid":
        return hybrid_score(x, phi) * mask
    if score == "absolute":
        return (x - phi).abs() * mask
    kind, _, sign = score.rpartition("_")
    flip = -1.0 if sign == "negative" else 1.0
    healthy = highest_nearby(flip * phi, mask) if kind else flip * phi
    if kind == "blended":
        healthy = (1 - LEAN) * healthy + LEAN * flip * BRAIN_LEVEL
    residual = (flip * x - healthy).clamp_min(0) * mask
    if score in WITHOUT_TISSUE:
        return residual
    if p is None:
        raise InputError(Code.VALUE, f"the score {score!r} needs tissue maps")
    residual = residual * (1 - (p[:, :1] if fluid is None else fluid))
    if kind == "gated":
        return residual
    return residual / (usual_spread(x, phi, p, mask) if spread is None else spread)
