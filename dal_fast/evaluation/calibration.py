"""Thresholds of a model: what one healthy voxel in a thousand exceeds, by contrast and score.

Held-out healthy brains, as real T1w and turned into the other contrasts as validation does it,
degraded but without lesions; the median over scans, after the default smoothing, and for the
default score one voxel in a thousand of brains that the level does not know, each being left out
once. How large residuals usually are at each place is taken from other healthy brains, those of
training, so that neither thresholds nor validation on held-out brains profit from it. All is kept
in the weight file (card, ``healthy``), because it is the model's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean, median, pstdev

import torch
from torch import Generator, Tensor

from dal_fast.evaluation.agreement import SHOWN, placed, seed_of, shown_as
from dal_fast.evaluation.thresholds import quantile
from dal_fast.models import AnyModel, Autoencoder
from dal_fast.screening.calibration import (
    COMBINED,
    STRUCTURE,
    STRUCTURE_SHARE,
    Calibration,
    combine,
    peak_of,
    sign_maps,
    structural_excess,
    weigh_signs,
)
from dal_fast.screening.enhance import mean3
from dal_fast.screening.model_output import PLAIN_MEDIAN, ModelOutput
from dal_fast.screening.postprocess import choose_median, smooth
from dal_fast.screening.scoring import ENHANCED, NAMED, WITHOUT_TISSUE
from dal_fast.screening.usual_residual import pack, placed_residual
from dal_fast.synthesis.brains import Brain
from dal_fast.synthesis.recipe import AnyRecipe, Recipe
from dal_fast.synthesis.shifted import ShiftedRecipe

HEALTHY_RATE = 0.001
USUAL_FROM = 40  # brains
_FEWEST = 8  # brains, of which leaving out one tells how far a level holds for others
_LEAST_RATE, _HALVINGS = HEALTHY_RATE / 30, 12
_LEAST_LEVEL = 1e-4
_FIELD = (0.0, 0.25)  # log-SD; a few scans beyond it would set the level for all others
_MILD_FIELD = (0.0, 0.15)  # a place's usual residual is of anatomy, not of fields
_METHOD = "remap"  # of validation; recoloured FLAIR scans show less
_RECIPES: tuple[AnyRecipe, ...] = (Recipe(), replace(ShiftedRecipe(), bias=_FIELD))


def calibrate(
    model: AnyModel, brains: list[Brain], seed: int, others: Sequence[Brain] = ()
) -> Calibration:
    """Thresholds of every score, and what the scan's sign is chosen by.

    Args:
        model: in evaluation mode. An autoencoder's are those of the contrast that it was trained
            on, and of the scores that ask for no tissue maps.
        brains: held-out, with real scans.
        seed: of the degradations.
        others: healthy brains with real scans, of training: ``USUAL_FROM`` of them say how large
            residuals usually are at each place; none, and maps go without.
    """
    if isinstance(model, Autoencoder):
        return _calibrate_autoencoder(model, brains, seed)
    thresholds: dict[str, dict[str, float]] = {}
    peaks: dict[str, dict[str, tuple[float, float]]] = {}
    usual = usual_residuals(model, others, seed)
    for contrast in SHOWN:
        scans = _scans(model, brains, contrast, seed)
        size = choose_median(contrast)
        levels, highest = thresholds.setdefault(contrast, {}), peaks.setdefault(contrast, {})
        for name in NAMED:
            maps = _smooth([scan.score_map(name) for scan in scans], scans, size)
            levels[name] = _usual_level(maps, scans)
        structures = [scan.evidence.structure() for scan in scans]
        levels[STRUCTURE] = _usual_level(structures, scans)
        structures = [structure / levels[STRUCTURE] for structure in structures]
        by_sign = [
            sign_maps(scan.evidence, structure, Calibration(usual=usual), contrast)
            for scan, structure in zip(scans, structures, strict=True)
        ]
        for sign in ENHANCED[1:]:
            maps = [signs[sign] for signs in by_sign]
            levels[sign] = _usual_level(maps, scans)
            highest[sign] = _peaks(maps, scans, levels[sign])
            for data in maps:
                data.div_(levels[sign])
        healthy = Calibration(thresholds=thresholds, peaks=peaks, usual=usual)
        combined = []
        for scan, structure, signs in zip(scans, structures, by_sign, strict=True):
            weights = weigh_signs(signs, scan.field_of_view, healthy, contrast)
            excess = structural_excess(structure, scan.field_of_view, healthy, contrast)
            combined.append(combine(signs, excess, weights, scan.field_of_view, contrast))
        levels[COMBINED] = _common_level(combined, scans)
    return Calibration(thresholds=thresholds, peaks=peaks, usual=usual)


def usual_residuals(
    model: AnyModel, brains: Sequence[Brain], seed: int
) -> dict[str, dict[str, str]]:
    """By contrast and sign, u_s of :mod:`dal_fast.screening.usual_residual`, packed; also u_g.

    Args:
        model: in evaluation mode.
        brains: of training; ``USUAL_FROM`` at even distances are taken, every second one disturbed
            as in training, the others by the generator of validation.
        seed: of the degradations.
    """
    chosen = brains[:: max(1, len(brains) // USUAL_FROM)][:USUAL_FROM]
    if not chosen:
        return {}
    ways = ("recolour", Recipe()), ("remap", replace(ShiftedRecipe(), bias=_MILD_FIELD))
    usual: dict[str, dict[str, str]] = {}
    for contrast in SHOWN:
        names = ENHANCED[1:] + ((STRUCTURE,) if STRUCTURE_SHARE[contrast] else ())
        placed: dict[str, list[Tensor]] = {name: [] for name in names}
        for n, brain in enumerate(chosen):
            evidence = _output(model, brain, contrast, seed, *ways[n % 2]).evidence
            spread = evidence.spread()
            for name, found in placed.items():
                if name == STRUCTURE:
                    shown = evidence.structure()
                else:
                    shown = mean3(evidence.residual(name, spread))
                found.append(placed_residual(shown, evidence.mask))
        usual[contrast] = {name: pack(found) for name, found in placed.items()}
    return usual


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


def _common_level(maps: list[Tensor], scans: list[ModelOutput]) -> float:
    """What one voxel in a thousand of all brains together exceeds, of brains that are not among
    these.

    A scan whose maps are high throughout counts for as much as it has voxels, so that the share of
    healthy voxels above the threshold is the intended one on average.
    """
    values = [m[scan.field_of_view] for m, scan in zip(maps, scans, strict=True)]
    each = len(_RECIPES)
    brains = [torch.cat(values[n : n + each]) for n in range(0, len(values), each)]
    return max(_LEAST_LEVEL, round(quantile(torch.cat(values), rate_here(brains)), 4))


def rate_here(brains: Sequence[Tensor]) -> float:
    """The share of these brains' voxels above a level that ``HEALTHY_RATE`` of others' exceed.

    A few brains with high maps set a quantile of all, and an unseen one of that kind exceeds it
    with more voxels than those that it was taken from. Hence every brain is left out once: the
    share is sought for which the levels of the others leave ``HEALTHY_RATE`` of all voxels above.
    Not below a thirtieth of it; ``HEALTHY_RATE`` itself for fewer than ``_FEWEST`` brains.

    Args:
        brains: values of each, ``(V,)``.
    """
    total = sum(map(len, brains))
    if len(brains) < _FEWEST:
        return HEALTHY_RATE
    most = round(HEALTHY_RATE * total) + 1
    highest = [brain.topk(min(most, len(brain))).values for brain in brains]

    def share_above(rate: float) -> float:
        above = 0
        for n, brain in enumerate(brains):
            others = torch.cat([*highest[:n], *highest[n + 1 :]])
            k = round(rate * (total - len(brain)))
            above += int((brain > others.topk(k + 1).values[-1]).sum())
        return above / total

    low, high = math.log(_LEAST_RATE), math.log(HEALTHY_RATE)
    if share_above(HEALTHY_RATE) <= HEALTHY_RATE:
        return HEALTHY_RATE
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if share_above(math.exp(middle)) <= HEALTHY_RATE:
            low = middle
        else:
            high = middle
    return math.exp(low)


def _scans(model: AnyModel, brains: list[Brain], contrast: str, seed: int) -> list[ModelOutput]:
    """Calibration scans of one contrast, with the output of the model.

    Every brain twice: once disturbed as in training, once by the generator of validation, with
    stronger fields. A real scan where the brain has one of this contrast, else two that are made
    from another one.
    """
    return [
        _output(model, brain, contrast, seed, _METHOD, recipe)
        for brain in brains
        for recipe in _RECIPES
    ]


def _output(
    model: AnyModel, brain: Brain, contrast: str, seed: int, method: str, recipe: AnyRecipe
) -> ModelOutput:
    structures, scans = placed(brain, model)
    generator = Generator(structures.device).manual_seed(seed_of(f"{brain.name}/{contrast}", seed))
    healthy = recipe.with_lesions(0.0)
    sample = shown_as(contrast, structures, scans, generator, healthy, method)
    with torch.inference_mode():
        out = model(sample.image, sample.mask)
    return ModelOutput.of(sample.image, sample.mask & (sample.image > 0), out, model)
