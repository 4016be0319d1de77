"""How good a model is in the middle of its training, on brains that it is never trained on.

DAL is measured by its tissue maps; an autoencoder by how well it restores healthy scans, and by how
well its residual finds synthetic lesions. The brains are shared by all processes of a training, so
that none of them waits for another's validation: torch's process groups give up after minutes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from dal_fast.evaluation.agreement import SHOWN, agreement, placed, seed_of, shown_as
from dal_fast.models import DAL, AnyModel, Autoencoder, DALOutput
from dal_fast.ops import VoxelMetrics
from dal_fast.report import colour
from dal_fast.screening.model_output import PLAIN, PLAIN_MEDIAN, ModelOutput
from dal_fast.screening.postprocess import smooth
from dal_fast.synthesis.brains import Brain
from dal_fast.synthesis.recipe import Recipe
from dal_fast.synthesis.sample import Sample
from dal_fast.synthesis.shifted import ShiftedRecipe
from dal_fast.training.losses import tissue_dice

_PIXELS = 2  # of a picture, for every voxel

COLUMNS = {
    "dal": (*(f"dice_{contrast}" for contrast in SHOWN), "agreement", "shifted_precision"),
    "autoencoder": ("error", "average_precision"),
    "brain": ("dice", "dice_worst_tenth", "error_mm"),
}
"""Names of the metrics, by the kind of model."""


@dataclass(frozen=True)
class ValidationResult:
    """Metrics of a model on held-out brains.

    Attributes:
        metrics: means over brains, by name, see ``COLUMNS``.

            - ``dice_<contrast>``: tissue Dice, mean of the tissues, of real scans where there are,
              otherwise of a recoloured one; lesions and degradations as in training.
            - ``agreement``: Dice of the tissue maps of two contrasts of one brain, the same anatomy
              without lesions, least of the pairs and tissues.
            - ``shifted_precision``: average precision of the smoothed |x - phi|, times the root of
              what a head on residual evidence says where there is one, mean over contrasts, of
              lesions that :mod:`dal_fast.synthesis.shifted` draws. They are other lesions than
              those of training: choose a checkpoint by this.
            - ``error``: mean |x - phi| in the brain of healthy scans.
            - ``average_precision``: of the smoothed |x - phi|, of scans with synthetic lesions; NaN
              where no brain has one.
        picture: uint8 ``(height, width, 3)`` of the first brain, two pixels a voxel. Rows of
            contrasts: scan, true tissue, tissue map, phi; or rows of scans, healthy and not: scan,
            phi, |x - phi|, lesion. Empty on all processes but the first.
    """

    metrics: dict[str, float]
    picture: NDArray[np.uint8]


def validate(
    model: AnyModel, brains: Sequence[Brain], seed: int, fabric: Any | None = None
) -> ValidationResult:
    """Measure a model on held-out brains; the same seed makes the same samples every time.

    Args:
        model: is put into evaluation mode.
        brains: with real scans.
        seed: of deformations, lesions and degradations.
        fabric: whose processes share the brains; all of them must call, and all get the metrics.
    """
    rank, world = (fabric.global_rank, fabric.world_size) if fabric else (0, 1)
    model.eval()
    device = next(model.parameters()).device
    columns = COLUMNS[model.config.kind]
    table = torch.zeros(len(brains), len(columns), dtype=torch.float64, device=device)
    picture = np.zeros((0, 0, 3), np.uint8)
    if world > 1:
        _share_buffers(model, fabric)
    with torch.inference_mode():
        for number in range(rank, len(brains), world):
            if isinstance(model, Autoencoder):
                metrics, rows = _residual_metrics(model, brains[number], seed)
            else:
                metrics, rows = _tissue_metrics(model, brains[number], seed)
            table[number] = table.new_tensor([metrics[name] for name in columns])
            if number == 0:
                picture = np.concatenate(rows)
    if fabric and world > 1:
        table = fabric.all_reduce(table, reduce_op="sum")
    means = [_mean(column) for column in table.T.tolist()]
    return ValidationResult(dict(zip(columns, means, strict=True)), picture)


def _share_buffers(model: AnyModel, fabric: Any) -> None:
    """Running statistics of a batch normalisation differ between processes: take the first's."""
    for buffer in model.buffers():
        buffer.copy_(fabric.broadcast(buffer))


def _mean(values: Sequence[float]) -> float:
    """Of the values that are numbers."""
    known = [value for value in values if not math.isnan(value)]
    return fmean(known) if known else math.nan


def _tissue_metrics(
    model: DAL, brain: Brain, seed: int
) -> tuple[dict[str, float], list[NDArray[np.uint8]]]:
    """Metrics of one brain, and a row of its picture for every contrast."""
    structures, scans = placed(brain, model)
    generator = Generator(structures.device).manual_seed(seed_of(brain.name, seed))
    metrics, rows = {}, []
    for contrast in SHOWN:
        sample = shown_as(contrast, structures, scans, generator, Recipe())
        logits = model.tissue_logits(sample.image, sample.mask)
        dice = tissue_dice(logits, sample.tissue, sample.mask)
        metrics[f"dice_{contrast}"] = float(dice.mean())
        rows.append(_tissue_row(model, sample, logits))
    pairs = agreement(model, brain, seed).values()
    metrics["agreement"] = min(float(pair.min()) for pair in pairs)
    precisions = []
    for contrast in SHOWN:
        sample = shown_as(contrast, structures, scans, generator, ShiftedRecipe())
        precisions.append(_precision(_output(model, sample)[0], sample))
    metrics["shifted_precision"] = _mean(precisions)
    return metrics, rows


def _residual_metrics(
    model: Autoencoder, brain: Brain, seed: int
) -> tuple[dict[str, float], list[NDArray[np.uint8]]]:
    """Metrics of one brain, and a row of its picture without and with lesions."""
    structures, scans = placed(brain, model)
    metrics, rows = {"average_precision": math.nan}, []
    for lesions in (0.0, 1.0):
        generator = Generator(structures.device).manual_seed(seed_of(brain.name, seed))
        recipe = replace(Recipe(), lesions=lesions)
        sample = shown_as(model.config.contrast, structures, scans, generator, recipe)
        result, phi = _output(model, sample)
        residual = result.score_map(PLAIN)
        if lesions:
            metrics["average_precision"] = _precision(result, sample)
        else:
            metrics["error"] = float(residual[result.field_of_view].mean())
        rows.append(_scans_row((sample.image, phi, 2 * residual, sample.lesion.float())))
    return metrics, rows


def _output(model: AnyModel, sample: Sample) -> tuple[ModelOutput, Tensor]:
    """What the model makes of a sample, and phi."""
    prediction = model(sample.image, sample.mask)
    signal = sample.mask & (sample.image > 0)
    result = ModelOutput.of(sample.image, signal, prediction, model)
    return result, prediction.pseudo_healthy


def _precision(result: ModelOutput, sample: Sample) -> float:
    """Average precision of the smoothed |x - phi|, with the head on residual evidence where there
    is one; NaN where no lesion can be seen."""
    view = result.field_of_view
    if not bool((sample.lesion & view).any()):
        return math.nan
    voxels, anomaly = VoxelMetrics(), result.score_map(PLAIN)
    prediction = result.prediction
    if isinstance(prediction, DALOutput) and prediction.evidence is not None:
        anomaly = anomaly * prediction.evidence.sqrt()
    smoothed = smooth(anomaly, view, PLAIN_MEDIAN)
    voxels.update(smoothed.cpu(), sample.lesion.cpu(), view.cpu())
    return voxels.average_precision()


def _tissue_row(model: DAL, sample: Sample, logits: Tensor) -> NDArray[np.uint8]:
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
    return np.repeat(colour.grey(plane.cpu().numpy(), colour.Window(1.0))[..., None], 3, axis=2)
