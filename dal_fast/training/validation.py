"""How good a model is in the middle of its training, on brains that it never sees."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from dal_fast.data.brains import Brain
from dal_fast.data.synthesis import Recipe, Sample
from dal_fast.evaluation.agreement import SHOWN, agreement, placed, seed_of, shown_as
from dal_fast.models import DAL
from dal_fast.report import colour
from dal_fast.training.losses import tissue_dice

_PIXELS = 2  # of a picture, a voxel


@dataclass(frozen=True)
class Validation:
    """Means over brains.

    Attributes:
        dice: tissue Dice by contrast, mean of the tissues, of real scans where there are, else of
            one that was bent; lesions and degradations as in training.
        agreement: Dice of the tissue maps of two contrasts of one brain, the same anatomy without
            lesions, least of the pairs and tissues.
        picture: rows of contrasts of one brain: scan, true tissue, tissue map, phi; two pixels a
            voxel.
    """

    dice: dict[str, float]
    agreement: float
    picture: NDArray[np.uint8]


def validate(model: DAL, brains: list[Brain], seed: int) -> Validation:
    """Of held-out brains with real scans; the same seed shows the same samples every time."""
    device = next(model.parameters()).device
    dice: dict[str, list[float]] = defaultdict(list)
    agreements = []
    picture = np.zeros((0, 0, 3), np.uint8)
    model.eval()
    with torch.inference_mode():
        for number, brain in enumerate(brains):
            structures, scans = placed(brain, model)
            generator = Generator(device).manual_seed(seed_of(brain.name, seed))
            for contrast in SHOWN:
                sample = shown_as(contrast, structures, scans, generator, Recipe())
                logits = model.tissue_logits(sample.image, sample.mask)
                dice[contrast].append(float(tissue_dice(logits, sample.tissue, sample.mask).mean()))
                if number == 0:
                    picture = _below(picture, _row(model, sample, logits))
            pairs = agreement(model, brain, seed).values()
            agreements.append(min(float(pair.min()) for pair in pairs))
    return Validation({k: fmean(v) for k, v in dice.items()}, fmean(agreements), picture)


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
    # right on the left, front on top
    row = np.concatenate([panel[::-1, ::-1].swapaxes(0, 1) for panel in panels], axis=1)
    return row.repeat(_PIXELS, axis=0).repeat(_PIXELS, axis=1)


def _labels(tissue: Tensor, mask: Tensor) -> NDArray[np.uint8]:
    labels: NDArray[np.uint8] = ((tissue[0] + 1) * mask[0, 0]).to(torch.uint8).cpu().numpy()
    return labels


def _grey(plane: Tensor) -> NDArray[np.uint8]:
    return np.repeat(colour.grey(plane.cpu().numpy(), 1.0)[..., None], 3, axis=2)


def _below(top: NDArray[np.uint8], bottom: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return bottom if top.size == 0 else np.concatenate([top, bottom])
