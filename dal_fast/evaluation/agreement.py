"""Do the tissue maps of one brain's contrasts agree? The disentanglement that the method claims.

The real T1w of a healthy brain, and the T2w- and FLAIR-like scans that are made from it by a
non-monotonic change of its intensities (``recolour``), show the same anatomy in every voxel. A
network that depends on the anatomy and not on the contrast gives the same map for all three.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Generator, Tensor

from dal_fast.metrics import label_dice
from dal_fast.models import DAL, AnyModel
from dal_fast.synthesis.brains import Brain, fit
from dal_fast.synthesis.contrast import CONTRASTS
from dal_fast.synthesis.synthesiser import Recipe, Sample, Synthesiser

SHOWN = CONTRASTS[:3]
PAIRS = ((0, 1), (0, 2), (1, 2))


def agreement(model: DAL, brain: Brain, seed: int) -> dict[tuple[str, str], Tensor]:
    """By pair of contrasts: Dice ``(K,)`` between the tissue maps of one brain, 1 at best.

    Args:
        model: in evaluation mode.
        brain: with a real scan.
        seed: of deformation and noise; the same for every call with the same brain.
    """
    names, samples = paired_contrasts(model, brain, seed)
    with torch.inference_mode():
        maps = [model.tissue_logits(s.image, s.mask).argmax(dim=1) for s in samples]
    tissues = len(model.config.tissues)
    mask = samples[0].mask
    return {(names[a], names[b]): label_dice(maps[a], maps[b], tissues, mask)[0] for a, b in PAIRS}


def paired_contrasts(model: DAL, brain: Brain, seed: int) -> tuple[list[str], list[Sample]]:
    """A real scan and other contrasts made from it, deformed alike, without lesions, hardly
    degraded."""
    structures, scans = placed(brain, model)
    first = next(iter(scans))
    names = [first, *(c for c in SHOWN if c != first)]
    generator = Generator(structures.device).manual_seed(seed_of(brain.name, seed))
    state = generator.get_state()
    samples = []
    for name in names:
        generator.set_state(state)  # the same deformation
        method = name if name == first else "recolour"
        synthesiser = Synthesiser(generator, _clear().only(name))
        samples.append(synthesiser.contrasts(structures, scans, [method]))
    return names, samples


def _clear() -> Recipe:
    return replace(
        Recipe(), lesions=0.0, swelling=0.0, mass_effect=0.0, spread=0.0, thick_slices=0.0,
        blur=(0.0, 0.0), bias=(0.0, 0.05), noise=(0.0, 0.02), mask_error=0.0,
    )  # fmt: skip


def shown_as(
    contrast: str,
    structures: Tensor,
    scans: Mapping[str, Tensor],
    generator: Generator,
    recipe: Recipe,
    method: str = "recolour",
) -> Sample:
    """One brain in a contrast: its real scan, or one made from another contrast by ``method``."""
    method = contrast if contrast in scans else method
    return Synthesiser(generator, recipe.only(contrast)).contrasts(structures, scans, [method])


def seed_of(name: str, seed: int) -> int:
    """A seed of a subject's own, whatever the other subjects are."""
    return int.from_bytes(hashlib.sha256(f"{name}/{seed}".encode()).digest()[:7], "big")


def placed(brain: Brain, model: AnyModel) -> tuple[Tensor, dict[str, Tensor]]:
    """Structure map and scans on the model's device, on the volume that it sees."""
    device = next(model.parameters()).device
    space = model.space_for(brain.structures.shape[2:])
    structures = fit(brain.structures, space).to(device)
    scans = {c: fit(scan, space).to(device) for c, scan in brain.scans.items()}
    return structures, {c: scan.float() for c, scan in scans.items()}
