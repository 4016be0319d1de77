"""How the cases of a validation set are drawn: three generators, none of them that of a training
on :class:`~dal_fast.synthesis.recipe.VariedRecipe`.

``ellipsoids``
    noisy ellipsoids, mild degradations: :class:`~dal_fast.synthesis.recipe.Recipe`, by which the
    default weights' tissue network was trained.
``shifted``
    lesions to 150 mL of other shapes and laws, faint ones too, bias fields to a log standard
    deviation of 0.4, thick slices: :class:`~dal_fast.synthesis.shifted.ShiftedRecipe`. Also
    decoys, which look abnormal and are healthy.
``masks``
    given lesion masks in brains disturbed alike:
    :class:`~dal_fast.synthesis.given_masks.MaskRecipe`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from dal_fast.synthesis.brains import SCANS, Brain, fit_to_stride
from dal_fast.synthesis.given_masks import MaskRecipe
from dal_fast.synthesis.lesions import LesionRecipe
from dal_fast.synthesis.recipe import AnyRecipe, Recipe
from dal_fast.synthesis.sample import Sample
from dal_fast.synthesis.shifted import ShiftedRecipe
from dal_fast.synthesis.synthesiser import Synthesiser

GENERATORS = ("ellipsoids", "shifted", "masks")
HEALTHY, DECOY = "healthy", "decoy"
SIGNS = {"bright": 1.0, "dark": 0.0}
SIZES = ("small", "medium", "large")
"""That the cases of a set go round; ``"big"`` and ``"huge"`` are the halves of ``"large"``."""
RADII = {
    "small": (1.5, 3.0),
    "medium": (3.0, 7.0),
    "large": (7.0, 18.0),
    "big": (8.0, 14.0),
    "huge": (16.0, 22.0),
}
"""Of the ellipsoids, in voxels of 2 mm."""
VOLUMES_ML = {
    "small": (0.1, 1.0),
    "medium": (1.0, 10.0),
    "large": (10.0, 150.0),
    "big": (10.0, 60.0),
    "huge": (60.0, 150.0),
}
"""Of a case's lesions, by the other generators."""
VOXEL_ML = 0.008
DECOYS = 0.5
"""Probability of each kind of decoy in a case of decoys."""
_STRIDE = 16  # of the volumes' sides; any network's fits
_MOST_TRIES = 5


@dataclass(frozen=True)
class Plan:
    """One case that is to be drawn.

    Attributes:
        generator: of ``GENERATORS``.
        contrast: ``"T1w"``, ``"T2w"`` or ``"FLAIR"``.
        sign: ``"healthy"``, ``"decoy"``, or a key of ``SIGNS``.
        size: ``""``, or a key of ``RADII``; given masks have the size that they have.
        number: of the case among its generator's.
    """

    generator: str
    contrast: str
    sign: str
    size: str
    number: int


def plans(generator: str, subject: int) -> list[Plan]:
    """The cases of a generator's part for the subject of this number, whose sizes go round."""
    signs = (HEALTHY, *SIGNS, DECOY) if generator == "shifted" else (HEALTHY, *SIGNS)
    found = []
    for c, contrast in enumerate(SCANS):
        for s, sign in enumerate(signs):
            sized = sign in SIGNS and generator != "masks"
            size = SIZES[(subject + c + s) % len(SIZES)] if sized else ""
            number = len(signs) * (len(SCANS) * subject + c) + s
            found.append(Plan(generator, contrast, sign, size, number))
    return found


def draw(brain: Brain, plan: Plan, masks: Sequence[Tensor], seed: int) -> Sample:
    """One case; drawn again where its lesions, or its decoys, happen to vanish.

    Args:
        brain: with a real T1w scan, of which the other contrasts are made.
        plan: what to draw.
        masks: lesions of the generator ``masks``, see
            :func:`dal_fast.synthesis.given_masks.read_masks`.
        seed: another one is another draw of the same set.
    """
    # the parts of a set are drawn independently; the first as when there was no other
    part = GENERATORS.index(plan.generator) << 40
    generator = Generator().manual_seed(seed + 1009 * plan.number + part)
    scan = fit_to_stride(brain.scans["T1w"], _STRIDE).float()
    structures = fit_to_stride(brain.structures, _STRIDE)
    synthesiser = Synthesiser(generator, _recipe(plan, masks))
    make = synthesiser.keep if plan.contrast == "T1w" else synthesiser.remap
    with _one_thread():
        for _ in range(_MOST_TRIES):
            sample = make(scan, structures)
            wanted = sample.decoy if plan.sign == DECOY else sample.lesion
            if plan.sign == HEALTHY or (wanted is not None and bool(wanted.any())):
                break
    return sample


def size_of(plan: Plan, ml: float) -> str:
    """The size of a drawn case: the plan's, or by the volume of its lesions."""
    if plan.generator != "masks" or plan.sign not in SIGNS:
        return plan.size
    return next((size for size in SIZES if ml < VOLUMES_ML[size][1]), SIZES[-1])


def _recipe(plan: Plan, masks: Sequence[Tensor]) -> AnyRecipe:
    lesions, bright = float(plan.sign in SIGNS), SIGNS.get(plan.sign)
    if plan.generator == "ellipsoids":
        lesion = LesionRecipe(radius=RADII.get(plan.size, RADII["small"]))
        return replace(Recipe().only(plan.contrast), lesions=lesions, bright=bright, lesion=lesion)
    shifted = ShiftedRecipe().only(plan.contrast)
    if plan.generator == "masks":
        return MaskRecipe(masks, lesions, bright, shifted)
    volume = VOLUMES_ML.get(plan.size, VOLUMES_ML["small"])
    decoys = DECOYS if plan.sign == DECOY else shifted.decoys
    return replace(shifted, lesions=lesions, bright=bright, volume=volume, decoys=decoys)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """The rounding of torch's sums and matrix products depends on the number of threads; a set
    must not."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
