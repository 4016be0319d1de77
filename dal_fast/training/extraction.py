"""Training of brain extraction: samples, losses and validation on synthetic whole heads.

=============  =================================================================================
``distance``   mean |error| of the signed distance, in units of its reach, four times as heavy at
               the border as far from it; what lies beyond the reach on the right side is no error
``overlap``    1 - soft Dice of sigmoid(distance / 1 mm) with that of the target
=============  =================================================================================

All of it is ours; brain extraction is not part of the paper.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional as F

from dal_fast.models import BrainNet
from dal_fast.models.brain_net import BrainNetConfig
from dal_fast.synthesis.head_maps import HeadMap
from dal_fast.synthesis.heads import HeadSample, join_heads, synthesise_head

HELD_OUT = 5
"""One map in so many, the last of each five by name, is never trained on."""
SHRUNKEN_SHARE = 1 / 3
"""Of the heads that are trained on."""
SOFTNESS_MM = 1.0
_BORDER_WEIGHT, _BORDER_MM = 3.0, 3.0
_Map = TypeVar("_Map")


class HeadBatch(TypedDict):
    """``image`` and ``distance`` as in :class:`~dal_fast.synthesis.heads.HeadSample`."""

    image: Tensor
    distance: Tensor


@dataclass(frozen=True)
class HeadSamples:
    """Draws the batches of a training; a function of the seed and the step's number alone.

    Args:
        heads: to train on.
        model: says on which grid.
        count: heads of a step, over all processes.
        seed: of the training.
        shrunken: maps of shrunken brains, which a share of the heads are drawn from; or none.
    """

    heads: Sequence[HeadMap]
    model: BrainNetConfig
    count: int
    seed: int
    shrunken: Sequence[HeadMap] = ()

    def batch(
        self, step: int, difficulty: float, device: torch.device, rank: int = 0, world: int = 1
    ) -> HeadSample:
        """The heads ``rank``, ``rank + world``, ... of a step; all steps are as difficult."""
        chooser = random.Random(f"{self.seed}/{step}")
        drawn = [(self._map(chooser), chooser.getrandbits(62)) for _ in range(self.count)]
        heads = [head_of(self.model, head, seed) for head, seed in drawn[rank::world]]
        sample = join_heads(heads)
        image, distance, covered = (
            each.to(device) for each in (sample.image, sample.distance, sample.covered)
        )
        return HeadSample(image, distance, covered, sample.traits)

    def _map(self, chooser: random.Random) -> HeadMap:
        shrunken = bool(self.shrunken) and chooser.random() < SHRUNKEN_SHARE
        return chooser.choice(self.shrunken if shrunken else self.heads)

    def step_generator(self, step: int, device: torch.device, rank: int) -> Generator:
        """The losses draw nothing."""
        return Generator(device)


def head_of(config: BrainNetConfig, head: HeadMap, seed: int) -> HeadSample:
    """One synthetic scan on the grid of a model."""
    return synthesise_head(head, config.shape, config.voxel_mm, config.reach_mm, seed)


def split_heads(maps: Sequence[_Map]) -> tuple[list[_Map], list[_Map]]:
    """Maps, or their paths, to train on, and held-out ones."""
    used = [each for number, each in enumerate(maps, 1) if number % HELD_OUT]
    return used, list(maps[HELD_OUT - 1 :: HELD_OUT])


def distance_loss(distance: Tensor, target: Tensor, reach_mm: float) -> Tensor:
    """``(N,)``, see the module; both ``(N, 1, D, H, W)`` in millimetres."""
    beyond = ((target >= reach_mm) & (distance > target)) | (
        (target <= -reach_mm) & (distance < target)
    )
    error = (distance - target).abs().masked_fill(beyond, 0.0)
    weight = 1 + _BORDER_WEIGHT * (-target.abs() / _BORDER_MM).exp()
    return (error * weight).mean((1, 2, 3, 4)) / reach_mm


def overlap_loss(distance: Tensor, target: Tensor, reach_mm: float) -> Tensor:
    """``(N,)``, see the module."""
    p, y = (d.div(SOFTNESS_MM).sigmoid().flatten(1) for d in (distance, target))
    return 1 - 2 * (p * y).sum(1) / (p.square() + y.square()).sum(1).clamp_min(1.0)


EXTRACTION_LOSSES = {"distance": distance_loss, "overlap": overlap_loss}
"""By the name that a recipe uses."""


@torch.inference_mode()
def validate_heads(
    model: BrainNet, heads: Sequence[HeadMap], seed: int, count: int = 4
) -> tuple[dict[str, float], NDArray[np.uint8]]:
    """Metrics on synthetic scans of held-out maps; the same seed makes the same scans.

    Args:
        model: is put into evaluation mode.
        heads: held-out maps.
        seed: of the scans.
        count: scans of each map.

    Returns:
        Within the field of view: ``dice``, ``dice_worst_tenth`` (10 % quantile) and ``error_mm``
        (mean |error| within 5 mm of the border); and a picture of the first scans.
    """
    model.eval()
    device = next(model.parameters()).device
    dices, errors, rows = [], [], []
    for number in range(count * len(heads)):
        sample = head_of(model.config, heads[number % len(heads)], seed + number)
        found, true = model(sample.image.to(device)).cpu(), sample.distance
        inside, brain = ((d > 0) & sample.covered for d in (found, true))
        dices.append(float(2 * (inside & brain).sum() / (inside.sum() + brain.sum()).clamp_min(1)))
        near = (true.abs() < 5) & sample.covered
        errors.append(float((found - true)[near].abs().mean()) if bool(near.any()) else 0.0)
        if number < 4:
            rows.append(_row(sample.image[0, 0], found[0, 0], true[0, 0]))
    metrics = {
        "dice": float(np.mean(dices)),
        "dice_worst_tenth": float(np.quantile(dices, 0.1)),
        "error_mm": float(np.mean(errors)),
    }
    return metrics, np.concatenate(rows)


def _row(image: Tensor, found: Tensor, true: Tensor) -> NDArray[np.uint8]:
    """Three planes through the volume's middle, the found border red, the true one green."""
    panels = []
    for axis in range(3):
        cut = [v.select(axis, v.shape[axis] // 2).T.flip(0) for v in (image, found, true)]
        grey = (cut[0] * 200).clamp(0, 255)
        panel = torch.stack([grey] * 3, dim=-1)
        panel[cut[1].abs() < 1.3] = torch.tensor([255.0, 0.0, 0.0])
        panel[cut[2].abs() < 0.7] = torch.tensor([0.0, 255.0, 0.0])
        panels.append(F.pad(panel, (0, 0, 0, 0, max(image.shape) - panel.shape[0], 0)))
    row = torch.cat(panels, dim=1).to(torch.uint8)
    pixels: NDArray[np.uint8] = row.repeat_interleave(2, 0).repeat_interleave(2, 1).numpy()
    return pixels
