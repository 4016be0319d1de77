"""A second generator, for validation alone: other shapes, textures, contrasts and coils.

What is trained on :class:`dal_fast.synthesis.recipe.VariedRecipe` must not be chosen by it, because
real accuracy can fall while that of the training generator still rises. Nothing here shares a
formula with the lesions of training: blobs of spherical harmonics and regions grown by a cellular
automaton instead of thresholded noise, textures of a power-law spectrum, contrasts by a gamma curve
or a gamma-distributed difference, coil sensitivities that fall off from points outside of the head,
and Rician noise. Not specified in the paper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from dal_fast.synthesis.acquisition import Blur, BrainMask, MaskGaps, ThickSlices
from dal_fast.synthesis.anatomy import AnatomyStep, Deform, Enlarge, Mirror, random_voxel
from dal_fast.synthesis.contrast import BRIGHT_LESIONS
from dal_fast.synthesis.decoys import AddDecoys
from dal_fast.synthesis.fields import chance, uniform
from dal_fast.synthesis.lesion_kinds import VOXEL_ML
from dal_fast.synthesis.recipe import Shares, shares_of
from dal_fast.synthesis.sample import Draft, Step
from dal_fast.synthesis.shapes import (
    Box,
    Region,
    box_around,
    covered,
    cut,
    length,
    log_uniform,
    offsets,
    radius_of,
    soften,
)

_DEGREES = 6  # of the spherical harmonics
_SPREAD = 0.35  # standard deviation of a blob's log radius
_EXPONENT = (1.0, 3.0)  # of the textures' spectrum


def harmonic_score(box: Box, centre: Sequence[float], volume: float, g: Generator) -> Tensor:
    """A ball whose log radius is a random function on the sphere, of degrees 1 to 6.

    Every degree contributes one zonal harmonic about a random axis.
    """
    at = offsets(box, centre, g.device)
    distance = length(at)
    direction = at / distance.clamp_min(1e-3)
    radius = torch.zeros_like(distance)
    before, now = torch.ones_like(distance), None
    for degree in range(1, _DEGREES + 1):
        axis = torch.randn(3, generator=g, device=g.device)
        cosine = torch.einsum("c,cdhw->dhw", axis / axis.norm().clamp_min(1e-3), direction)
        before, now = torch.ones_like(cosine), cosine
        for k in range(1, degree):  # Legendre polynomials, by their recurrence
            before, now = now, ((2 * k + 1) * cosine * now - k * before) / (k + 1)
        weight = _SPREAD * float(torch.randn((), generator=g, device=g.device))
        radius = radius + weight / math.sqrt(degree) * now
    return -distance / (radius_of(volume) * radius.exp())


def grown(box: Box, centre: Sequence[float], volume: float, domain: Tensor, g: Generator) -> Tensor:
    """A region that a cellular automaton grows from a seed, voxel by voxel at its border.

    Args:
        box: of the region.
        centre: of the seed.
        volume: voxels at which growth stops.
        domain: where it may grow, bool of the box's shape.
        g: of all random numbers.
    """
    inside = (length(offsets(box, centre, g.device)) < 1.0) & domain
    speed = 0.15 + 0.7 * torch.rand(domain.shape, generator=g, device=g.device)
    for _ in range(4 * (int(radius_of(volume)) + 2)):
        if int(inside.sum()) >= volume:
            break
        border = _dilated(inside) & domain & ~inside
        if not bool(border.any()):
            break
        draw = torch.rand(domain.shape, generator=g, device=g.device)
        inside = inside | (border & (draw < speed))
    return inside


def spectral_texture(shape: Sequence[int], g: Generator) -> Tensor:
    """Noise whose amplitude falls with a power of the frequency; mean 0, unit variance."""
    noise = torch.randn(tuple(shape), generator=g, device=g.device)
    axes = [torch.fft.fftfreq(side, device=g.device) for side in shape]
    frequency = length(torch.stack(torch.meshgrid(*axes, indexing="ij")))
    exponent = float(uniform((), *_EXPONENT, g))
    filtered = torch.fft.fftn(noise) * frequency.clamp_min(1 / max(shape)) ** (-exponent)
    texture: Tensor = torch.fft.ifftn(filtered).real
    texture = texture - texture.mean()
    return texture / texture.square().mean().sqrt().clamp_min(1e-6)


@dataclass(frozen=True)
class AddShiftedLesions:
    """Lesions of the second generator; the parameters are those of the training generator's.

    Attributes:
        probability: of each sample.
        volume: range of a lesion's volume, mL; log-uniform.
        most: largest number of lesions.
        bright: probability that a lesion is brighter; by default it depends on the contrast.
    """

    probability: float
    volume: tuple[float, float] = (0.02, 150.0)
    most: int = 25
    bright: float | None = None

    def __call__(self, draft: Draft, generator: Generator) -> None:
        tissue = draft.tissue
        chosen = chance(len(tissue), self.probability, generator)
        for n in chosen.nonzero().flatten().tolist():
            regions = self._regions(tissue[n] >= 1, generator)
            bright = float(BRIGHT_LESIONS[int(draft.contrast[n])])
            bright = bright if self.bright is None else self.bright
            brighter = bool(chance(1, bright, generator))
            means = draft.means[n]
            law = _gamma_curve if bool(chance(1, 0.5, generator)) else _gamma_difference
            amount = float(torch.empty(()).exponential_(generator=_cpu(generator)))
            for region in regions:
                place = (n, 0, *region.box)
                here = draft.images[place]
                changed = law(here, region, means, brighter, amount, generator)
                draft.images[place] = (here + region.cover * (changed - here)).clamp_min(0)
            draft.lesion[n, 0] = covered(regions, tissue[n])

    def _regions(self, domain: Tensor, g: Generator) -> list[Region]:
        volume = log_uniform(*self.volume, g) / VOXEL_ML
        count = 1
        if volume * VOXEL_ML < 3:
            count = 1 + int(torch.randint(self.most, (), generator=g, device=g.device))
        regions = []
        for _ in range(count):
            size = max(volume / count, 1.0)
            centre = random_voxel(domain, g).tolist()
            box = box_around(centre, int(2.2 * radius_of(size)) + 4, domain.shape)
            if bool(chance(1, 0.5, g)):
                inside = grown(box, centre, size, domain[box], g)
            else:
                inside = cut(harmonic_score(box, centre, size, g), domain[box], size)
            region = soften(box, inside, float(uniform((), 0.5, 1.6, g)))
            if region is not None:
                regions.append(region)
        return regions


@dataclass(frozen=True)
class CoilField:
    """The sensitivities of a few coils outside of the head, summed, with a given log spread.

    Attributes:
        log_sd: range of the standard deviation of the field's logarithm.
    """

    log_sd: tuple[float, float]

    def __call__(self, draft: Draft, generator: Generator) -> None:
        space = draft.images.shape[2:]
        box = (slice(0, space[0]), slice(0, space[1]), slice(0, space[2]))
        middle = [(side - 1) / 2 for side in space]
        at = offsets(box, middle, generator.device)
        for n in range(len(draft.images)):
            coils = int(torch.randint(3, 9, (), generator=generator, device=generator.device))
            total = torch.zeros(space, device=generator.device)
            for _ in range(coils):
                direction = torch.randn(3, generator=generator, device=generator.device)
                distance = 0.7 * max(space) * direction / direction.norm().clamp_min(1e-3)
                gap = (at - distance.view(3, 1, 1, 1)).square().sum(dim=0)
                total = total + 1 / (1 + gap / (0.3 * max(space)) ** 2)
            log_field = total.log()
            inside = log_field[draft.mask[n, 0]] if bool(draft.mask[n].any()) else log_field
            wanted = float(uniform((), *self.log_sd, generator))
            scaled = (log_field - inside.mean()) * (wanted / inside.std().clamp_min(1e-3))
            draft.images[n] = draft.images[n] * scaled.exp()


@dataclass(frozen=True)
class RicianNoise:
    """The magnitude of a signal with white noise in its real and its imaginary part.

    Attributes:
        sd: range of each part's standard deviation, relative to the mean intensity of the tissues.
    """

    sd: tuple[float, float]

    def __call__(self, draft: Draft, generator: Generator) -> None:
        n, shape = len(draft.images), draft.images[:, :1].shape
        level = draft.means.mean(1).view(n, 1, 1, 1, 1)
        sigma = uniform((n, 1, 1, 1, 1), *self.sd, generator) * level
        real, imaginary = (
            sigma * torch.randn(shape, generator=generator, device=generator.device)
            for _ in range(2)
        )
        noisy = (draft.images + real).square() + imaginary.square()
        draft.images = noisy.sqrt() * (draft.images > 0)


@dataclass(frozen=True)
class ShiftedRecipe:
    """The second generator's ranges; see the module. Lengths are in voxels of 2 mm.

    Attributes:
        contrasts, spread, lesions, volume, most, bright, decoys: as in
            :class:`~dal_fast.synthesis.recipe.VariedRecipe`.
        bias: standard deviation of the log field.
        noise: of each part of the signal.
        blur, thick_slices, thickness, mask_error, mask_gaps: as there.
    """

    contrasts: Shares = (0.34, 0.33, 0.33, 0.0)
    spread: float = 0.10
    lesions: float = 1.0
    volume: tuple[float, float] = (0.02, 150.0)
    most: int = 25
    bright: float | None = None
    decoys: float = 0.1
    bias: tuple[float, float] = (0.0, 0.4)
    noise: tuple[float, float] = (0.0, 0.06)
    blur: tuple[float, float] = (0.0, 0.7)
    thick_slices: float = 0.4
    thickness: tuple[float, float] = (1.5, 3.5)
    mask_error: float = 0.5
    mask_gaps: float = 0.2

    def anatomy_steps(self) -> list[AnatomyStep]:
        """The steps that shape the brain, in their order."""
        return [
            Mirror(),
            Deform(rotation=0.12, scaling=0.08, elastic=2.0, spacing=20.0),
            Enlarge(0.4, ventricle=True, strength=(0.1, 0.7), radius=(4.0, 18.0)),
        ]

    def mask_step(self) -> BrainMask:
        """The step that draws the brain mask."""
        return BrainMask(self.mask_error, shift=(-0.2, 0.35), uneven=0.2)

    def scan_steps(self) -> list[Step]:
        """The steps that change the image, in their order."""
        return [
            AddDecoys(self.decoys),
            AddShiftedLesions(self.lesions, self.volume, self.most, self.bright),
            Blur(self.blur),
            ThickSlices(self.thick_slices, self.thickness),
            CoilField(self.bias),
            RicianNoise(self.noise),
            MaskGaps(self.mask_gaps),
        ]

    def only(self, contrast: str) -> Self:
        """This recipe for one contrast, of ``CONTRASTS``."""
        return replace(self, contrasts=shares_of(contrast))

    def with_lesions(self, probability: float) -> Self:
        """This recipe with lesions in a share of the samples."""
        return replace(self, lesions=probability)


def _gamma_curve(
    here: Tensor, region: Region, means: Tensor, brighter: bool, amount: float, g: Generator
) -> Tensor:
    """Intensities by a power law, as a display's gamma: contrasts inside the lesion change."""
    top = 1.2 * means.max()
    power = 1 / (1.15 + 0.8 * amount) if brighter else 1.15 + 0.8 * amount
    return top * (here / top).clamp(0, 1) ** power


def _gamma_difference(
    here: Tensor, region: Region, means: Tensor, brighter: bool, amount: float, g: Generator
) -> Tensor:
    """Tissue that is half replaced, by a level that differs by an exponential variable."""
    contrast = float(means.max() - means.min())
    size = contrast * (0.06 + 0.4 * amount)
    level = (here * region.cover).sum() / region.cover.sum().clamp_min(1e-3)
    texture = 0.3 * size * spectral_texture(here.shape, g)
    kept = float(uniform((), 0.0, 0.8, g))
    return level + kept * (here - level) + (size if brighter else -size) + texture


def _dilated(inside: Tensor) -> Tensor:
    """With the six neighbours of every voxel."""
    x = inside[None, None].float()
    grown_by_axis = [
        F.max_pool3d(x, kernel, 1, padding)
        for kernel, padding in (((3, 1, 1), (1, 0, 0)), ((1, 3, 1), (0, 1, 0)),
                                ((1, 1, 3), (0, 0, 1)))
    ]  # fmt: skip
    return torch.stack(grown_by_axis).amax(dim=0)[0, 0] > 0


def _cpu(generator: Generator) -> Generator:
    """A generator for the CPU whose numbers follow from this one's."""
    seed = torch.randint(2**62, (), generator=generator, device=generator.device)
    return Generator().manual_seed(int(seed))
