"""Synthetic lesions: painted into a network's input, absent from its target.

The paper trains on healthy scans only. A tissue network that never saw a lesion calls it
cerebrospinal fluid or breaks it into pieces, and most of the lesion then survives in the
pseudo-healthy image; one that was shown painted lesions, with the healthy tissue underneath as
truth, looks through them. Not specified in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from dal_fast.synthesis.fields import chance, smooth_field, uniform

CSF, GM, WM = 0, 1, 2


@dataclass(frozen=True)
class LesionRecipe:
    """Ranges that lesions are drawn from; lengths in voxels."""

    radius: tuple[float, float] = (1.5, 20.0)  # log-uniform
    small: float = 5.0  # below this radius a brain gets several
    most: int = 10  # lesions of a brain at the most
    follow_white: float = 0.5  # share that stays inside white matter
    core: float = 0.5  # share with a core of another intensity
    bright: tuple[float, float] = (0.15, 0.9)  # above the tissue, in units of tissue contrast
    dark: tuple[float, float] = (0.15, 0.8)  # below it
    edge: tuple[float, float] = (0.6, 2.5)  # width of the border
    opacity: tuple[float, float] = (0.5, 1.0)


def add_lesions(
    image: Tensor,
    tissue: Tensor,
    means: Tensor,
    brighten: Tensor,
    generator: Generator,
    recipe: LesionRecipe,
) -> Tensor:
    """Paint lesions into ``image`` in place.

    Args:
        image: ``(N, 1, D, H, W)`` in any unit.
        tissue: ``(N, D, H, W)``, 0 CSF, 1 GM, 2 WM, -1 outside the brain.
        means: ``(N, 3)`` intensity of each tissue in the unit of ``image``.
        brighten: ``(N,)`` probability that a lesion is brighter than the tissue around it;
            negative: this sample gets none.
        generator: of all random numbers.
        recipe: the ranges.

    Returns:
        bool ``(N, 1, D, H, W)``: where a lesion covers more than half.
    """
    cover = torch.zeros_like(image)
    for n in range(image.shape[0]):
        if brighten[n] < 0:
            continue
        low, high = (torch.tensor(r).log().item() for r in recipe.radius)
        radius = float(uniform((), low, high, generator).exp())
        count = 1
        if radius < recipe.small:
            count = int(torch.randint(1, recipe.most + 1, (), generator=generator,
                                      device=generator.device))  # fmt: skip
        seeds = _seeds(tissue[n], count, generator)
        for seed in seeds:
            size = radius * float(uniform((), 0.7, 1.3, generator))
            _paint_one(
                image[n, 0], cover[n, 0], tissue[n], means[n], float(brighten[n]),
                seed, size, generator, recipe,
            )  # fmt: skip
    return cover > 0.5


def _seeds(tissue: Tensor, count: int, generator: Generator) -> list[list[int]]:
    """Lesion centres: three in four in white matter, the others anywhere but in CSF."""
    white = bool(chance(1, 0.75, generator))
    where = ((tissue == WM) if white else (tissue >= GM)).nonzero()
    if len(where) == 0:
        return []
    pick = torch.randint(len(where), (count,), generator=generator, device=generator.device)
    return where[pick].tolist()


def _paint_one(
    image: Tensor,
    cover: Tensor,
    tissue: Tensor,
    means: Tensor,
    brighten: float,
    seed: list[int],
    radius: float,
    generator: Generator,
    recipe: LesionRecipe,
) -> None:
    """One lesion: a noisy ellipsoid in a box around ``seed``, blended over ``image (D, H, W)``."""
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
    intensity = _intensity(here, means, brighten, generator, recipe)
    if radius > 3 and bool(chance(1, recipe.core, generator)):
        other = _intensity(here, means, 0.5, generator, recipe)
        inner = ((depth - uniform((), 0.25, 0.6, generator)) * radius / edge + 0.5).clamp(0, 1)
        intensity = intensity + inner * (other - intensity)
    texture = 1 + 0.08 * torch.randn(depth.shape, generator=generator, device=depth.device)
    image[box] += alpha * ((intensity * texture).clamp_min(0) - image[box])
    cover[box] = torch.maximum(cover[box], alpha)


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
    here: Tensor, means: Tensor, brighten: float, generator: Generator, recipe: LesionRecipe
) -> Tensor:
    span = means.max() - means.min()
    if bool(chance(1, brighten, generator)):
        return here + span * uniform((), *recipe.bright, generator)
    return (here - span * uniform((), *recipe.dark, generator)).clamp_min(0)
