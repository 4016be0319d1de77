"""The ranges of a synthesis, and the list of steps that they stand for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from dal_fast.synthesis.acquisition import BiasField, Blur, BrainMask, Noise, ThickSlices
from dal_fast.synthesis.anatomy import AnatomyStep, Deform, Enlarge, Mirror
from dal_fast.synthesis.contrast import CONTRASTS
from dal_fast.synthesis.lesions import AddLesions, LesionRecipe
from dal_fast.synthesis.sample import Step


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

    contrasts: tuple[float, float, float, float] = (0.35, 0.30, 0.20, 0.15)
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
        t2w, flair, t1w, unclear = (float(name == contrast) for name in CONTRASTS)
        return replace(self, contrasts=(t2w, flair, t1w, unclear))

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
