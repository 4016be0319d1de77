"""Thresholds of a model: what one healthy voxel in a thousand exceeds, by contrast and score.

Held-out healthy brains, as real T1w and bent into the other contrasts, degraded as in training but
without lesions; the median over brains, after the default smoothing. They are kept in the weight
file (card, ``thresholds``), because they are the model's own.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean, median, pstdev

import torch
from torch import Generator, Tensor

from dal_fast.evaluation.agreement import SHOWN, placed, seed_of, shown_as
from dal_fast.evaluation.thresholds import quantile
from dal_fast.models import AnyModel, Autoencoder
from dal_fast.screening.calibration import PAIRS, SIGNED, Calibration, peak_of
from dal_fast.screening.model_output import PLAIN_MEDIAN, ModelOutput
from dal_fast.screening.postprocess import choose_median, smooth
from dal_fast.screening.scoring import NAMED, WITHOUT_TISSUE
from dal_fast.synthesis.brains import Brain
from dal_fast.synthesis.synthesiser import Recipe

HEALTHY_RATE = 0.001
_LEAST_LEVEL = 1e-4
_METHODS = ("recolour", "remap")  # to make a contrast that a brain has no real scan of


def calibrate(model: AnyModel, brains: list[Brain], seed: int) -> Calibration:
    """Thresholds of every score, and what the scan's sign is chosen by.

    Args:
        model: in evaluation mode. An autoencoder's are those of the contrast that it was trained
            on, and of the scores that ask for no tissue maps.
        brains: held-out, with real scans.
        seed: of the degradations.
    """
    if isinstance(model, Autoencoder):
        return _calibrate_autoencoder(model, brains, seed)
    thresholds: dict[str, dict[str, float]] = {}
    peaks: dict[str, dict[str, tuple[float, float]]] = {}
    for contrast in SHOWN:
        scans = _scans(model, brains, contrast, seed)
        size = choose_median(contrast)
        levels, highest = thresholds.setdefault(contrast, {}), peaks.setdefault(contrast, {})
        for name in NAMED:
            maps = _smooth([scan.score_map(name) for scan in scans], scans, size)
            levels[name] = _usual_level(maps, scans)
            if name in PAIRS[contrast]:
                highest[name] = _peaks(maps, scans, levels[name])
        healthy = Calibration(thresholds=thresholds, peaks=peaks)
        signed = [scan.anomaly_map(healthy).data for scan in scans]
        levels[SIGNED] = _usual_level(_smooth(signed, scans, size), scans)
    return Calibration(thresholds=thresholds, peaks=peaks)


def _calibrate_autoencoder(model: Autoencoder, brains: list[Brain], seed: int) -> Calibration:
    contrast = model.config.contrast
    scans = _scans(model, brains, contrast, seed)
    levels = {}
    for name in WITHOUT_TISSUE:
        maps = _smooth([scan.score_map(name) for scan in scans], scans, PLAIN_MEDIAN)
        levels[name] = _usual_level(maps, scans)
    return Calibration(thresholds={contrast: levels})


def _smooth(maps: list[Tensor], scans: list[ModelOutput], size: int | str) -> list[Tensor]:
    return [smooth(m, scan.field_of_view, size) for m, scan in zip(maps, scans, strict=True)]


def _peaks(maps: list[Tensor], scans: list[ModelOutput], threshold: float) -> tuple[float, float]:
    """Mean and SD over scans of log E, of smooth maps in units of the threshold."""
    pairs = zip(maps, scans, strict=True)
    logs = [peak_of(data / threshold, scan.field_of_view) for data, scan in pairs]
    return round(fmean(logs), 4), round(pstdev(logs), 4)


def _usual_level(maps: list[Tensor], scans: list[ModelOutput]) -> float:
    """The median smooth map's level, and never 0: scores are divided by it."""
    levels = [
        quantile(m[scan.field_of_view], HEALTHY_RATE) for m, scan in zip(maps, scans, strict=True)
    ]
    return max(_LEAST_LEVEL, round(median(levels), 4))


def _scans(model: AnyModel, brains: list[Brain], contrast: str, seed: int) -> list[ModelOutput]:
    """Calibration scans of one contrast, real or made, with the output of the model."""
    return [
        _output(model, brain, contrast, seed, method)
        for brain in brains
        for method in ([contrast] if contrast in brain.scans else _METHODS)
    ]


def _output(model: AnyModel, brain: Brain, contrast: str, seed: int, method: str) -> ModelOutput:
    structures, scans = placed(brain, model)
    generator = Generator(structures.device).manual_seed(seed_of(f"{brain.name}/{contrast}", seed))
    recipe = replace(Recipe(), lesions=0.0)
    sample = shown_as(contrast, structures, scans, generator, recipe, method)
    with torch.inference_mode():
        out = model(sample.image, sample.mask)
    return ModelOutput.of(sample.image, sample.mask & (sample.image > 0), out, model)
