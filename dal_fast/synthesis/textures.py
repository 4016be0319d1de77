"""Intensities of synthetic lesions: correlated noise, foreign texture, and how they are blended.

Not specified in the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Generator, Tensor

from dal_fast.synthesis import fields
from dal_fast.synthesis.fields import uniform
from dal_fast.synthesis.shapes import Region

Mode = Literal["additive", "replaced", "foreign", "selective"]
MODES: tuple[Mode, ...] = ("additive", "replaced", "foreign", "selective")
MODE_SHARES = (0.45, 0.20, 0.20, 0.15)
"""How often each is drawn: texture underneath stays; an intensity of its own; texture from
elsewhere, of the same range; texture stays, in chosen tissues alone."""
OPACITY = (0.1, 1.0)
"""Range of what replaces the tissue underneath."""
_TEXTURE_SIGMA = (0.5, 2.0)  # voxels


@dataclass(frozen=True)
class Canvas:
    """One sample that lesions and decoys are painted into.

    Attributes:
        images: ``(C, D, H, W)``, changed in place: all of them alike.
        tissue: ``(D, H, W)``, 0 CSF, 1 GM, 2 WM, -1 outside the brain.
        means: ``(3,)`` intensity of each tissue.
        donor: an image that texture is taken from, ``(D, H, W)``: of another brain, or this one
            mirrored.
    """

    images: Tensor
    tissue: Tensor
    means: Tensor
    donor: Tensor

    @cached_property
    def contrast(self) -> float:
        """The largest difference of two tissues."""
        return float(self.means.max() - self.means.min())

    @cached_property
    def healthy_sd(self) -> float:
        """Standard deviation of white matter; 2 to 25 % of the contrast."""
        white = self.images[0][self.tissue == 2]
        sd = float(white.std()) if white.numel() > 1 else 0.0
        return min(max(sd, 0.02 * self.contrast), 0.25 * self.contrast)


def draw_mode(generator: Generator) -> Mode:
    """One of the modes, by their shares."""
    shares = torch.tensor(MODE_SHARES, device=generator.device)
    return MODES[int(torch.multinomial(shares, 1, generator=generator))]


def correlated_noise(shape: Sequence[int], sigma: float, generator: Generator) -> Tensor:
    """Gaussian noise of unit variance, blurred by ``sigma`` voxels; never white."""
    noise = torch.randn((1, 1, *shape), generator=generator, device=generator.device)
    blurred = fields.blur(noise, torch.full((1, 3), sigma, device=generator.device))[0, 0]
    return blurred / blurred.std().clamp_min(1e-3) if blurred.numel() > 1 else blurred


def selected(region: Region, canvas: Canvas, generator: Generator) -> Region:
    """The part of a region in one tissue that it holds, blurred after the product."""
    held = [k for k in range(3) if bool(((canvas.tissue[region.box] == k) & (region.cover > 0.5))
                                        .any())] or [2]  # fmt: skip
    pick = torch.randint(len(held), (), generator=generator, device=generator.device)
    own = (canvas.tissue[region.box] == held[int(pick)]).float()
    sigma = float(uniform((), 0.6, 1.2, generator))
    cover = (region.cover * own)[None, None]
    cover = fields.blur(cover, torch.full((1, 3), sigma, device=own.device))[0, 0]
    return Region(region.box, cover / cover.max().clamp_min(1e-3))


def blend(canvas: Canvas, region: Region, delta: float, mode: Mode, generator: Generator) -> None:
    """Change the images inside a region.

    Args:
        canvas: whose images are changed.
        region: where, and how much.
        delta: what the region differs by from the tissue underneath; 0 for a decoy.
        mode: how.
        generator: of all random numbers.
    """
    box, cover = region.box, region.cover
    here = canvas.images[0][box]
    shape = cover.shape
    sigma = float(uniform((), *_TEXTURE_SIGMA, generator))
    weight = cover.sum().clamp_min(1e-3)
    noise = correlated_noise(shape, sigma, generator)
    noise = noise - (noise * cover).sum() / weight  # the mean differs by delta and no more
    sd = canvas.healthy_sd
    amplitude = float(uniform((), 0.0, 1.0, generator)) * min(sd, max(abs(delta), 0.5 * sd))
    if mode in ("additive", "selective"):
        change = cover * (delta + amplitude * noise)
    else:
        level = (here * cover).sum() / weight + delta
        opacity = float(uniform((), *OPACITY, generator))
        texture = amplitude * noise
        if mode == "foreign":
            texture = _foreign(canvas, region, sd, generator)
        change = cover * opacity * (level + texture - here)
    canvas.images[(slice(None), *box)] = (canvas.images[(slice(None), *box)] + change).clamp_min(0)


def _foreign(canvas: Canvas, region: Region, sd: float, generator: Generator) -> Tensor:
    """Texture of another place of the donor, of mean 0 inside the region.

    It keeps its own spread where that lies between the healthy one and three times that.
    """
    start = []
    for side, total in zip(region.cover.shape, canvas.donor.shape, strict=True):
        low, high = (total - side) // 4, total - side - (total - side) // 4
        start.append(int(torch.randint(low, high + 1, (), generator=generator,
                                       device=generator.device)))  # fmt: skip
    place = tuple(slice(s, s + n) for s, n in zip(start, region.cover.shape, strict=True))
    patch = canvas.donor[place]
    weight = region.cover.sum().clamp_min(1e-3)
    mean = (patch * region.cover).sum() / weight
    spread = float((((patch - mean).square() * region.cover).sum() / weight).sqrt())
    wanted = min(max(spread, sd), 3 * sd)
    return (patch - mean) * (wanted / max(spread, 1e-3))
