"""Synthetic lesions: painted into a network's input, absent from its target.

The paper trains on healthy scans only. A tissue network that never saw a lesion labels it as
cerebrospinal fluid or breaks it into pieces, and most of the lesion then survives in the
pseudo-healthy image. A network that was shown painted lesions, with the healthy tissue underneath
as truth, ignores them. Not specified in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor

from dal_fast.synthesis.fields import chance, smooth_field, uniform
from dal_fast.synthesis.sample import Draft

CSF, GM, WM = 0, 1, 2
_BRIGHT = torch.tensor([0.9, 0.9, 0.2, 0.6])  # probability that a lesion is bright, of CONTRASTS


@dataclass(frozen=True)
class LesionRecipe:
    """Ranges that lesions are drawn from; lengths in voxels.

    Attributes:
        radius: log-uniform.
        small: radius below which a brain has several lesions.
        most: lesions of a brain at the most.
        follow_white: share of lesions that stay inside white matter.
        core: share of lesions with a core of another intensity.
        bright, dark: how far above or below the tissue at its centre a lesion lies, in units of
            the largest difference of two tissues.
        edge: width of the border.
        opacity: 1 hides the tissue underneath.
    """

    radius: tuple[float, float] = (1.5, 20.0)
    small: float = 5.0
    most: int = 10
    follow_white: float = 0.5
    core: float = 0.5
    bright: tuple[float, float] = (0.15, 0.9)
    dark: tuple[float, float] = (0.15, 0.8)
    edge: tuple[float, float] = (0.6, 2.5)
    opacity: tuple[float, float] = (0.5, 1.0)


@dataclass(frozen=True)
class AddLesions:
    """Noisy ellipsoids of one intensity, some with a core of another.

    The lesion mask is where a lesion covers more than half of the tissue.

    Attributes:
        probability: of each sample.
        bright: probability that a lesion is brighter than the tissue around it; by default it
            depends on the contrast.
        recipe: the ranges.
    """

    probability: float
    bright: float | None = None
    recipe: LesionRecipe = field(default_factory=LesionRecipe)

    def __call__(self, draft: Draft, generator: Generator) -> None:
        bright = _BRIGHT.to(generator.device)[draft.contrast]
        if self.bright is not None:
            bright = torch.full_like(bright, self.bright)
        chosen = chance(len(bright), self.probability, generator)
        cover, tissue = torch.zeros_like(draft.images[:, :1]), draft.tissue
        for n in chosen.nonzero().flatten().tolist():
            canvas = _Canvas(
                draft.images[n, 0], cover[n, 0], tissue[n], draft.means[n], float(bright[n])
            )
            self._add(canvas, generator)
        draft.lesion = cover > 0.5

    def _add(self, canvas: _Canvas, generator: Generator) -> None:
        """All lesions of one sample."""
        low, high = (torch.tensor(r).log().item() for r in self.recipe.radius)
        radius = float(uniform((), low, high, generator).exp())
        count = 1
        if radius < self.recipe.small:
            count = int(torch.randint(1, self.recipe.most + 1, (), generator=generator,
                                      device=generator.device))  # fmt: skip
        for seed in _seeds(canvas.tissue, count, generator):
            size = radius * float(uniform((), 0.7, 1.3, generator))
            _paint_one(canvas, seed, size, generator, self.recipe)


@dataclass(frozen=True)
class _Canvas:
    """One sample, which lesions are painted into.

    Attributes:
        image: ``(D, H, W)``, changed in place.
        cover: opacity of the lesions, ``(D, H, W)``, changed in place.
        tissue: ``(D, H, W)``, 0 CSF, 1 GM, 2 WM, -1 outside the brain.
        means: ``(3,)`` intensity of each tissue.
        bright: probability that a lesion is brighter than the tissue around it.
    """

    image: Tensor
    cover: Tensor
    tissue: Tensor
    means: Tensor
    bright: float


def _seeds(tissue: Tensor, count: int, generator: Generator) -> list[list[int]]:
    """Lesion centres: three in four in white matter, the others anywhere but in CSF."""
    white = bool(chance(1, 0.75, generator))
    where = ((tissue == WM) if white else (tissue >= GM)).nonzero()
    if len(where) == 0:
        return []
    pick = torch.randint(len(where), (count,), generator=generator, device=generator.device)
    return where[pick].tolist()


def _paint_one(
    canvas: _Canvas, seed: list[int], radius: float, generator: Generator, recipe: LesionRecipe
) -> None:
    """One lesion: a noisy ellipsoid in a box around ``seed``, blended over the image."""
    image, tissue, means = canvas.image, canvas.tissue, canvas.means
    reach = int(1.8 * radius) + 2
    box = tuple(
        slice(max(c - reach, 0), min(c + reach + 1, s))
        for c, s in zip(seed, image.shape, strict=True)
    )
    depth = _depth(box, seed, radius, generator)
    edge = float(uniform((), *recipe.edge, generator))
    alpha = (0.5 + depth * radius / edge).clamp(0, 1)
    if bool(chance(1, recipe.follow_white, generator)):
        alpha = alpha * (tissue[box] == WM)
    alpha = alpha * (tissue[box] >= 0) * uniform((), *recipe.opacity, generator)

    here = means[tissue[tuple(seed)]]
    intensity = _intensity(here, means, canvas.bright, generator, recipe)
    if radius > 3 and bool(chance(1, recipe.core, generator)):
        other = _intensity(here, means, 0.5, generator, recipe)
        inner = ((depth - uniform((), 0.25, 0.6, generator)) * radius / edge + 0.5).clamp(0, 1)
        intensity = intensity + inner * (other - intensity)
    texture = 1 + 0.08 * torch.randn(depth.shape, generator=generator, device=depth.device)
    image[box] += alpha * ((intensity * texture).clamp_min(0) - image[box])
    canvas.cover[box] = torch.maximum(canvas.cover[box], alpha)


def _depth(box: tuple[slice, ...], seed: list[int], radius: float, generator: Generator) -> Tensor:
    """1 at the centre, 0 on the border, negative beyond; a sheared ellipsoid plus noise."""
    device = generator.device
    pairs = zip(box, seed, strict=True)
    axes = [torch.arange(side.start, side.stop, device=device) - c for side, c in pairs]
    offset = torch.stack(torch.meshgrid(*axes, indexing="ij")).to(torch.float32)
    shape = torch.eye(3, device=device) * uniform((3,), 0.7, 1.5, generator)
    shape = shape + uniform((3, 3), -0.25, 0.25, generator)
    distance = (shape @ offset.flatten(1)).norm(dim=0).view(offset.shape[1:]) / radius
    noise = smooth_field(1, 1, distance.shape, 6, generator)[0, 0]
    depth: Tensor = 1 - distance + 0.3 * noise
    return depth


def _intensity(
    here: Tensor, means: Tensor, bright: float, generator: Generator, recipe: LesionRecipe
) -> Tensor:
    """Of a lesion, above or below the tissue ``here`` at its centre."""
    span = means.max() - means.min()
    if bool(chance(1, bright, generator)):
        return here + span * uniform((), *recipe.bright, generator)
    return (here - span * uniform((), *recipe.dark, generator)).clamp_min(0)
