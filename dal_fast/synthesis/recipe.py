"""The ranges of a synthesis, and the list of steps that they stand for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol, Self

from torch import Generator, Tensor

from dal_fast.synthesis.acquisition import (
    BiasField,
    Blur,
    BrainMask,
    MaskGaps,
    Motion,
    Noise,
    PartialFieldOfView,
    ThickSlices,
)
from dal_fast.synthesis.anatomy import AnatomyStep, Deform, Enlarge, MassEffect, Mirror
from dal_fast.synthesis.contrast import CONTRASTS
from dal_fast.synthesis.decoys import AddDecoys
from dal_fast.synthesis.lesions import AddLesions, LesionRecipe
from dal_fast.synthesis.sample import Step
from dal_fast.synthesis.varied_lesions import AddVariedLesions

Shares = tuple[float, float, float, float]
"""Of ``CONTRASTS``."""


class MaskStep(Protocol):
    """Draws the brain mask of structure maps."""

    def __call__(self, structures: Tensor, generator: Generator, /) -> Tensor: ...


class AnyRecipe(Protocol):
    """What a synthesiser asks of a recipe.

    Attributes:
        contrasts: relative shares of ``CONTRASTS``.
        spread: of structures around their tissue, see
            :func:`~dal_fast.synthesis.appearance.draw_structures`.
    """

    @property
    def contrasts(self) -> Shares: ...
    @property
    def spread(self) -> float: ...

    def anatomy_steps(self) -> list[AnatomyStep]:
        """The steps that shape the brain, in their order."""

    def mask_step(self) -> MaskStep:
        """The step that draws the brain mask."""

    def scan_steps(self) -> list[Step]:
        """The steps that change the image, in their order."""

    def only(self, contrast: str) -> Self:
        """This recipe for one contrast, of ``CONTRASTS``."""

    def with_lesions(self, probability: float) -> Self:
        """This recipe with lesions in a share of the samples."""


class TrainingRecipe(AnyRecipe, Protocol):
    """A recipe whose samples can be easy at first."""

    def at_difficulty(self, difficulty: float) -> Self:
        """This recipe at difficulty 1; at 0 clear contrasts alone, hardly disturbed."""


def shares_of(contrast: str) -> Shares:
    """All of one contrast."""
    t2w, flair, t1w, unclear = (float(name == contrast) for name in CONTRASTS)
    return t2w, flair, t1w, unclear


@dataclass(frozen=True)
class Recipe:
    """How often, and how far, a sample departs from its brain. Lengths are in voxels.

    Attributes:
        contrasts: relative shares of ``CONTRASTS``.
        lesions: probability that a sample has lesions.
        bright: probability that a lesion is brighter than its surroundings; by default it depends
            on the contrast.
        swelling: probability that a ventricle is enlarged, see
            :class:`~dal_fast.synthesis.anatomy.Enlarge`.
        mass_effect: probability that a place anywhere in the brain pushes its surroundings away.
        spread: of structures around their tissue, see
            :func:`~dal_fast.synthesis.appearance.draw_structures`.
        thick_slices, thickness: see :class:`~dal_fast.synthesis.acquisition.ThickSlices`.
        blur: see :class:`~dal_fast.synthesis.acquisition.Blur`.
        bias: see :class:`~dal_fast.synthesis.acquisition.BiasField`.
        noise: see :class:`~dal_fast.synthesis.acquisition.Noise`.
        mask_error: see :class:`~dal_fast.synthesis.acquisition.BrainMask`.
        lesion: ranges that lesions are drawn from.
    """

    contrasts: Shares = (0.35, 0.30, 0.20, 0.15)
    lesions: float = 0.8
    bright: float | None = None
    swelling: float = 0.4
    mass_effect: float = 0.3
    spread: float = 0.10
    thick_slices: float = 0.2
    thickness: tuple[float, float] = (1.5, 3.0)
    blur: tuple[float, float] = (0.0, 0.6)
    bias: tuple[float, float] = (0.0, 0.15)
    noise: tuple[float, float] = (0.0, 0.05)
    mask_error: float = 0.4
    lesion: LesionRecipe = field(default_factory=LesionRecipe)

    def anatomy_steps(self) -> list[AnatomyStep]:
        """The steps that shape the brain, in their order."""
        return [
            Mirror(),
            Deform(),
            Enlarge(self.swelling, ventricle=True),
            Enlarge(self.mass_effect),
        ]

    def mask_step(self) -> BrainMask:
        """The step that draws the brain mask."""
        return BrainMask(self.mask_error)

    def scan_steps(self) -> list[Step]:
        """The steps that change the image, in their order."""
        return [
            AddLesions(self.lesions, self.bright, self.lesion),
            Blur(self.blur),
            ThickSlices(self.thick_slices, self.thickness),
            BiasField(self.bias),
            Noise(self.noise),
        ]

    def only(self, contrast: str) -> Recipe:
        """This recipe for one contrast, of ``CONTRASTS``."""
        return replace(self, contrasts=shares_of(contrast))

    def with_lesions(self, probability: float) -> Recipe:
        """This recipe with lesions in a share of the samples."""
        return replace(self, lesions=probability)

    def at_difficulty(self, difficulty: float) -> Recipe:
        """This recipe at difficulty 1; at 0 clear contrasts alone, hardly disturbed.

        Nothing random in contrast, no lesion, swelling, mass effect, thick slice or mask error; a
        fifth of the spread, blur, bias and noise. In between, everything grows in proportion.
        """
        mild = 0.2 + 0.8 * difficulty
        t2w, flair, t1w, unclear = self.contrasts
        return replace(
            self,
            contrasts=(t2w, flair, t1w, unclear * difficulty),
            lesions=self.lesions * difficulty,
            swelling=self.swelling * difficulty,
            mass_effect=self.mass_effect * difficulty,
            spread=self.spread * mild,
            thick_slices=self.thick_slices * difficulty,
            blur=(self.blur[0], self.blur[1] * mild),
            bias=(self.bias[0], self.bias[1] * mild),
            noise=(self.noise[0], self.noise[1] * mild),
            mask_error=self.mask_error * difficulty,
        )


@dataclass(frozen=True)
class VariedRecipe:
    """The second generation: lesions of many kinds, decoys, and what scanners really do.

    Lengths are in voxels of 2 mm. The default ranges are chosen to be wider than real scans.

    Attributes:
        contrasts, spread, noise, blur: as in :class:`Recipe`.
        lesions: probability that a sample has lesions.
        volume: range of a lesion's volume, mL.
        most: largest number of small lesions of a brain.
        lawful: see :class:`~dal_fast.synthesis.varied_lesions.AddVariedLesions`.
        bright: probability that a lesion is brighter than its surroundings; by default it depends
            on the contrast.
        mass_effect: probability of a mass effect, which a tumour comes with.
        ventricles: probability that a ventricle is enlarged.
        sulci: probability that a place at the surface is enlarged, as in atrophy.
        decoys: probability of each kind of decoy.
        thick_slices, thickness: slices to 7 mm.
        bias: standard deviation of the log field, to that of raw scans at 3 T.
        motion, mask_gaps, partial_view: probability of each.
        mask_error: probability of a mask that is too tight or too generous.
    """

    contrasts: Shares = (0.30, 0.30, 0.25, 0.15)
    spread: float = 0.10
    lesions: float = 0.8
    volume: tuple[float, float] = (0.02, 150.0)
    most: int = 40
    lawful: float = 0.5
    bright: float | None = None
    mass_effect: float = 0.25
    ventricles: float = 0.5
    sulci: float = 0.3
    decoys: float = 0.15
    thick_slices: float = 0.4
    thickness: tuple[float, float] = (1.5, 3.5)
    blur: tuple[float, float] = (0.0, 0.7)
    bias: tuple[float, float] = (0.0, 0.4)
    noise: tuple[float, float] = (0.0, 0.06)
    motion: float = 0.15
    mask_error: float = 0.5
    mask_gaps: float = 0.2
    partial_view: float = 0.15

    def anatomy_steps(self) -> list[AnatomyStep]:
        """The steps that shape the brain, in their order."""
        return [
            Mirror(),
            Deform(),
            Enlarge(self.ventricles, ventricle=True, strength=(0.15, 0.8)),
            Enlarge(self.sulci, radius=(3.0, 8.0)),
            MassEffect(self.mass_effect),
        ]

    def mask_step(self) -> BrainMask:
        """The step that draws the brain mask."""
        return BrainMask(self.mask_error, shift=(-0.3, 0.42), uneven=0.15)

    def scan_steps(self) -> list[Step]:
        """The steps that change the image, in their order."""
        return [
            AddDecoys(self.decoys),
            AddVariedLesions(self.lesions, self.volume, self.most, self.lawful, self.bright),
            Blur(self.blur),
            ThickSlices(self.thick_slices, self.thickness),
            Motion(self.motion),
            BiasField(self.bias, exact=True),
            Noise(self.noise),
            MaskGaps(self.mask_gaps),
            PartialFieldOfView(self.partial_view),
        ]

    def only(self, contrast: str) -> VariedRecipe:
        """This recipe for one contrast, of ``CONTRASTS``."""
        return replace(self, contrasts=shares_of(contrast))

    def with_lesions(self, probability: float) -> VariedRecipe:
        """This recipe with lesions in a share of the samples."""
        return replace(self, lesions=probability)

    def at_difficulty(self, difficulty: float) -> VariedRecipe:
        """This recipe at difficulty 1; at 0 clear contrasts alone, hardly disturbed.

        Probabilities grow in proportion; ranges start at a fifth.
        """
        mild = 0.2 + 0.8 * difficulty
        t2w, flair, t1w, unclear = self.contrasts
        return replace(
            self,
            contrasts=(t2w, flair, t1w, unclear * difficulty),
            spread=self.spread * mild,
            lesions=self.lesions * difficulty,
            mass_effect=self.mass_effect * difficulty,
            ventricles=self.ventricles * difficulty,
            sulci=self.sulci * difficulty,
            decoys=self.decoys * difficulty,
            thick_slices=self.thick_slices * difficulty,
            blur=(self.blur[0], self.blur[1] * mild),
            bias=(self.bias[0], self.bias[1] * mild),
            noise=(self.noise[0], self.noise[1] * mild),
            motion=self.motion * difficulty,
            mask_error=self.mask_error * difficulty,
            mask_gaps=self.mask_gaps * difficulty,
            partial_view=self.partial_view * difficulty,
        )
