"""Thresholds of a model: what one healthy voxel in a thousand exceeds, by contrast and score.

Held-out healthy brains, as real T1w and bent into the other contrasts, degraded as in training but
without lesions; the median over brains, after the default smoothing. They are kept in the weight
file (card, ``thresholds``), because they are the model's own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import median

import torch
from torch import Generator, Tensor

from dal_fast.data.brains import Brain
from dal_fast.data.synthesis import Recipe
from dal_fast.evaluation.agreement import SHOWN, placed, seed_of, shown_as
from dal_fast.inference.postprocess import choose_median, smooth
from dal_fast.inference.scoring import NAMED, anomaly_score
from dal_fast.inference.signed import SIGNED, Thresholds, score_scan
from dal_fast.models import DAL, DALOutput

HEALTHY_RATE = 0.001


def calibrate(model: DAL, brains: list[Brain], seed: int) -> dict[str, dict[str, float]]:
    """By contrast and score.

    Args:
        model: in evaluation mode.
        brains: held-out, with real scans.
        seed: of the degradations.
    """
    thresholds: dict[str, dict[str, float]] = {}
    for contrast in SHOWN:
        scans = [_restored(model, brain, contrast, seed) for brain in brains]
        own = {name: median(_level(s, s.named(name), contrast) for s in scans) for name in NAMED}
        thresholds[contrast] = own  # which the signed score needs
        own[SIGNED] = median(_level(s, s.signed(thresholds), contrast) for s in scans)
    return {c: {name: round(v, 4) for name, v in own.items()} for c, own in thresholds.items()}


def healthy_level(inside: Tensor) -> float:
    """What one voxel in a thousand exceeds, of ``(V,)``."""
    rank = max(1, round((1 - HEALTHY_RATE) * inside.numel()))
    return float(inside.kthvalue(rank).values)


@dataclass(frozen=True, eq=False)
class _Healthy:
    """One healthy scan, its model's output, and where it has signal."""

    x: Tensor
    out: DALOutput
    view: Tensor

    def named(self, score: str) -> Tensor:
        phi, p = self.out.pseudo_healthy, self.out.probabilities
        return anomaly_score(self.x, phi, p, self.view, score, self.out.fluid)

    def signed(self, thresholds: Thresholds) -> Tensor:
        phi, p = self.out.pseudo_healthy, self.out.probabilities
        return score_scan(self.x, phi, p, self.view, self.out.fluid, thresholds).anomaly


def _level(scan: _Healthy, anomaly: Tensor, contrast: str) -> float:
    smoothed = smooth(anomaly, scan.view, choose_median(contrast))
    return healthy_level(smoothed[scan.view])


def _restored(model: DAL, brain: Brain, contrast: str, seed: int) -> _Healthy:
    structures, scans = placed(brain, model)
    generator = Generator(structures.device).manual_seed(seed_of(f"{brain.name}/{contrast}", seed))
    recipe = replace(Recipe(), lesions=0.0)
    sample = shown_as(contrast, structures, scans, generator, recipe)
    with torch.inference_mode():
        out = model(sample.image, sample.mask)
    return _Healthy(sample.image, out, sample.mask & (sample.image > 0))
