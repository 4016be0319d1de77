"""How good a model is in the middle of its training, on brains that it never sees.

DAL by its tissue maps; an autoencoder by how well it restores healthy scans, and how well the
residual tells synthetic lesions.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from dal_fast.evaluation.agreement import SHOWN, agreement, placed, seed_of, shown_as
from dal_fast.models import DAL, AnyModel, Autoencoder
from dal_fast.ops import VoxelMetrics
from dal_fast.report import colour
from dal_fast.screening.model_output import PLAIN, PLAIN_MEDIAN, ModelOutput
from dal_fast.screening.postprocess import smooth
from dal_fast.synthesis.brains import Brain
from dal_fast.synthesis.synthesiser import Recipe, Sample
from dal_fast.training.losses import tissue_dice

_PIXELS = 2  # of a picture, a voxel


COLUMNS = {
    "dal": (*(f"dice_{contrast}" for contrast in SHOWN), "agreement"),
    "autoencoder": ("error", "average_precision"),
}
"""Numbers of a validation, by the kind of model."""


@dataclass(frozen=True)
class Validation:
    """Means over brains.

    Attributes:
        numbers: of ``COLUMNS``. ``dice_<contrast>``: tissue Dice, mean of the tissues, of real
            scans where there are, else of one that was bent; lesions and degradations as in
            training. ``agreement``: Dice of the tissue maps of two contrasts of one brain, the same
            anatomy without lesions, least of the pairs and tissues. ``error``: mean |x - phi| in
            the brain of healthy scans. ``average_precision``: of the smoothed |x - phi|, of scans
            with synthetic lesions.
        picture: of one brain, two pixels a voxel. Rows of contrasts: scan, true tissue, tissue map,
            phi; or rows of scans, healthy and not: scan, phi, |x - phi|, lesion.
    """

    numbers: dict[str, float]
    picture: NDArray[np.uint8]


def validate(model: AnyModel, brains: list[Brain], seed: int) -> Validation:
    """Of held-out brains with real scans; the same seed shows the same samples every time."""
    model.eval()
    with torch.inference_mode():
        if isinstance(model, Autoencoder):
            return _of_residuals(model, brains, seed)
        return _of_tissue(model, brains, seed)


def _of_tissue(model: DAL, brains: list[Brain], seed: int) -> Validation:
    device = next(model.parameters()).device
    numbers: dict[str, list[float]] = defaultdict(list)
    picture = np.zeros((0, 0, 3), np.uint8)
    for number, brain in enumerate(brains):
        structures, scans = placed(brain, model)
        generator = Generator(device).manual_seed(seed_of(brain.name, seed))
        for contrast in SHOWN:
            sample = shown_as(contrast, structures, scans, generator, Recipe())
            logits = model.tissue_logits(sample.image, sample.mask)
            dice = tissue_dice(logits, sample.tissue, sample.mask)
            numbers[f"dice_{contrast}"].append(float(dice.mean()))
            if number == 0:
                picture = _below(picture, _row(model, sample, logits))
        pairs = agreement(model, brain, seed).values()
        numbers["agreement"].append(min(float(pair.min()) for pair in pairs))
    return Validation({name: fmean(values) for name, values in numbers.items()}, picture)


def _of_residuals(model: Autoencoder, brains: list[Brain], seed: int) -> Validation:
    device, contrast = next(model.parameters()).device, model.config.contrast
    errors, precisions = [], []
    picture = np.zeros((0, 0, 3), np.uint8)
    for number, brain in enumerate(brains):
        structures, scans = placed(brain, model)
        for lesions in (0.0, 1.0):
            generator = Generator(device).manual_seed(seed_of(brain.name, seed))
            recipe = replace(Recipe(), lesions=lesions)
            sample = shown_as(contrast, structures, scans, generator, recipe)
            output = model(sample.image, sample.mask)
            signal = sample.mask & (sample.image > 0)
            judged = ModelOutput.of(sample.image, signal, output, model)
            residual = judged.score_map(PLAIN)
            if not lesions:
                errors.append(float(residual[judged.field_of_view].mean()))
            elif bool((sample.lesion & judged.field_of_view).any()):
                metrics = VoxelMetrics()
                smoothed = smooth(residual, judged.field_of_view, PLAIN_MEDIAN)
                metrics.update(smoothed.cpu(), sample.lesion.cpu(), judged.field_of_view.cpu())
                precisions.append(metrics.average_precision())
            if number == 0:
                panels = (sample.image, output.pseudo_healthy, 2 * residual, sample.lesion.float())
                picture = _below(picture, _scans_row(panels))
    precision = fmean(precisions) if precisions else math.nan
    return Validation({"error": fmean(errors), "average_precision": precision}, picture)


def _row(model: DAL, sample: Sample, logits: Tensor) -> NDArray[np.uint8]:
    """One axial slice: scan, true tissue, tissue map, phi, side by side."""
    mask = sample.mask
    output = model.recouple(sample.image, mask, logits)
    level = mask.shape[-1] // 2
    panels: list[NDArray[np.uint8]] = [
        _grey(sample.image[0, 0, :, :, level]),
        colour.tissue(_labels(sample.tissue, mask)[:, :, level]),
        colour.tissue(_labels(logits.argmax(dim=1), mask)[:, :, level]),
        _grey(output.pseudo_healthy[0, 0, :, :, level]),
    ]
    return _side_by_side(panels)


def _scans_row(volumes: Sequence[Tensor]) -> NDArray[np.uint8]:
    """The middle axial slice of volumes ``(1, 1, D, H, W)``, side by side."""
    return _side_by_side([_grey(v[0, 0, :, :, v.shape[-1] // 2]) for v in volumes])


def _side_by_side(panels: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Axial planes, right on the left, front on top."""
    row = np.concatenate([panel[::-1, ::-1].swapaxes(0, 1) for panel in panels], axis=1)
    return row.repeat(_PIXELS, axis=0).repeat(_PIXELS, axis=1)


def _labels(tissue: Tensor, mask: Tensor) -> NDArray[np.uint8]:
    labels: NDArray[np.uint8] = ((tissue[0] + 1) * mask[0, 0]).to(torch.uint8).cpu().numpy()
    return labels


def _grey(plane: Tensor) -> NDArray[np.uint8]:
    return np.repeat(colour.grey(plane.cpu().numpy(), 1.0)[..., None], 3, axis=2)


def _below(top: NDArray[np.uint8], bottom: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return bottom if top.size == 0 else np.concatenate([top, bottom])
