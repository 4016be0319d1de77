"""Thresholds of a model: what one healthy voxel in a thousand exceeds, by contrast and score.

Held-out healthy brains, as real T1w and bent into the other contrasts, degraded as in training but
without lesions; the median over brains, after the default smoothing. They are kept in the weight
file (card, ``thresholds``), because they are the model's own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import fmean, median, pstdev

import torch
from torch import Generator, Tensor

from dal_fast.data.brains import Brain
from dal_fast.data.synthesis import Recipe
from dal_fast.evaluation.agreement import SHOWN, placed, seed_of, shown_as
from dal_fast.inference.postprocess import choose_median, smooth
from dal_fast.inference.scoring import NAMED, anomaly_score
from dal_fast.inference.signed import PAIRS, SIGNED, Healthy, peak_of, score_scan
from dal_fast.models import DAL, DALOutput

HEALTHY_RATE = 0.001
_LEAST_LEVEL = 1e-4
_WAYS = ("recolour", "remap")  # to make a contrast that a brain has no real scan of


def calibrate(model: DAL, brains: list[Brain], seed: int) -> Healthy:
    """Thresholds of every score, and what the scan's sign is chosen by.

    Args:
        model: in evaluation mode.
        brains: held-out, with real scans.
        seed: of the degradations.
    """
    thresholds: dict[str, dict[str, float]] = {}
    peaks: dict[str, dict[str, tuple[float, float]]] = {}
    for contrast in SHOWN:
        scans = [
            _restored(model, brain, contrast, seed, way)
            for brain in brains
            for way in ([contrast] if contrast in brain.scans else _WAYS)
        ]
        own, highest = thresholds.setdefault(contrast, {}), peaks.setdefault(contrast, {})
        for name in NAMED:
            maps = _smooth([scan.named(name) for scan in scans], scans, contrast)
            own[name] = _usual_level(maps, scans)
            if name in PAIRS[contrast]:
                highest[name] = _peaks(maps, scans, own[name])
        healthy = Healthy(thresholds=thresholds, peaks=peaks)
        signed = [scan.signed(healthy) for scan in scans]
        own[SIGNED] = _usual_level(_smooth(signed, scans, contrast), scans)
    return Healthy(thresholds=thresholds, peaks=peaks)


def healthy_level(inside: Tensor) -> float:
    """What one voxel in a thousand exceeds, of ``(V,)``."""
    rank = max(1, round((1 - HEALTHY_RATE) * inside.numel()))
    return float(inside.kthvalue(rank).values)


@dataclass(frozen=True, eq=False)
class _Scan:
    """One healthy scan, its model's output, and where it has signal."""

    x: Tensor
    out: DALOutput
    view: Tensor

    def named(self, score: str) -> Tensor:
        phi, p = self.out.pseudo_healthy, self.out.probabilities
        return anomaly_score(self.x, phi, p, self.view, score, self.out.fluid)

    def signed(self, healthy: Healthy) -> Tensor:
        phi, p = self.out.pseudo_healthy, self.out.probabilities
        return score_scan(self.x, phi, p, self.view, self.out.fluid, healthy).anomaly


def _smooth(maps: list[Tensor], scans: list[_Scan], contrast: str) -> list[Tensor]:
    size = choose_median(contrast)
    return [smooth(m, scan.view, size) for m, scan in zip(maps, scans, strict=True)]


def _peaks(maps: list[Tensor], scans: list[_Scan], threshold: float) -> tuple[float, float]:
    """Mean and SD over scans of log E, of smooth maps in units of the threshold."""
    found = [peak_of(m / threshold, scan.view) for m, scan in zip(maps, scans, strict=True)]
    return round(fmean(found), 4), round(pstdev(found), 4)


def _usual_level(maps: list[Tensor], scans: list[_Scan]) -> float:
    """The median smooth map's level, and never 0: scores are divided by it."""
    levels = [healthy_level(m[scan.view]) for m, scan in zip(maps, scans, strict=True)]
    return max(_LEAST_LEVEL, round(median(levels), 4))


def _restored(model: DAL, brain: Brain, contrast: str, seed: int, way: str) -> _Scan:
    structures, scans = placed(brain, model)
    generator = Generator(structures.device).manual_seed(seed_of(f"{brain.name}/{contrast}", seed))
    recipe = replace(Recipe(), lesions=0.0)
    sample = shown_as(contrast, structures, scans, generator, recipe, way)
    with torch.inference_mode():
        out = model(sample.image, sample.mask)
    return _Scan(sample.image, out, sample.mask & (sample.image > 0))
