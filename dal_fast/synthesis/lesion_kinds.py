"""Where lesions of a kind lie and which parts they have: tumours, strokes, plaques, and any shape.

Every kind is a function that gives parts: a region, and the name of its tissue in
:data:`dal_fast.synthesis.laws.LESIONS`. Volumes are log-uniform. Not specified in the paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from dal_fast.synthesis import fields
from dal_fast.synthesis.anatomy import random_voxel, random_voxels
from dal_fast.synthesis.fields import chance, smooth_field, uniform
from dal_fast.synthesis.shapes import (
    EDGE,
    Box,
    Region,
    blurred,
    box_around,
    cut,
    length,
    log_uniform,
    noise_score,
    offsets,
    radius_of,
    small_shapes,
    soften,
    solid_shape,
)

VOXEL_ML = 0.008
"""Of a voxel of 2 mm, the grid of training."""
_COARSE = 4  # voxels of the grid on which the distance from the ventricles is computed


@dataclass(frozen=True)
class Place:
    """One brain that lesions are placed in.

    Attributes:
        tissue: ``(D, H, W)``, 0 CSF, 1 GM, 2 WM, -1 outside the brain.
        mass: centre and radius of a mass effect, ``(4,)``, voxels; radius 0 where there is none.
        volume: range of a lesion's volume, mL.
        most: largest number of small lesions.
    """

    tissue: Tensor
    mass: Tensor
    volume: tuple[float, float] = (0.02, 150.0)
    most: int = 40

    def draw_volume(self, low: float, generator: Generator) -> float:
        """Voxels; at least ``low`` mL where the range allows it."""
        least, highest = self.volume
        return log_uniform(min(max(least, low), highest), highest, generator) / VOXEL_ML


Part = tuple[Region, str]
Kind = Callable[[Place, Generator], list[Part]]


def any_shape(place: Place, generator: Generator) -> list[Part]:
    """One region of any shape, or up to ``most`` small ones, in any tissue but fluid."""
    tissue = place.tissue
    white = bool(chance(1, 0.4, generator))
    domain = (tissue == 2) if white else (tissue >= 1)
    volume = place.draw_volume(0.0, generator)
    name = ("solid", "plaque", "infarct", "haematoma")
    part = name[int(torch.randint(4, (), generator=generator, device=generator.device))]
    if volume < 1.5 / VOXEL_ML and bool(chance(1, 0.6, generator)):
        count = round(log_uniform(1, place.most + 0.5, generator))
        return [(r, part) for r in _scattered(domain, count, volume, generator)]
    region = solid_shape(random_voxel(domain, generator).tolist(), volume, domain, generator)
    return [] if region is None else [(region, part)]


def tumour(place: Place, generator: Generator) -> list[Part]:
    """Necrotic core, rim and solid part, and oedema along white matter that avoids ventricles.

    It lies where the anatomy has a mass effect, otherwise anywhere.
    """
    tissue, mass = place.tissue, place.mass
    brain = tissue >= 1
    volume = place.draw_volume(1.0, generator)
    centre = random_voxel(brain, generator)
    if float(mass[3]) > 0:
        centre = mass[:3]
        bulk = 4 / 3 * math.pi * float(mass[3]) ** 3
        volume = min(max(volume, 0.3 * bulk), 3 * bulk, max(place.volume[1] / VOXEL_ML, 1.0))
    whole = 1.0 + float(uniform((), 0.0, 2.5, generator)) * float(chance(1, 0.7, generator))
    box = box_around(centre.tolist(), int(2.2 * radius_of(whole * volume)) + 4, tissue.shape)
    score = noise_score(box, centre.tolist(), volume, generator)
    solid = cut(score, brain[box], volume)
    core = _inner(score, solid, float(uniform((), 0.1, 0.6, generator)))
    rim = _inner(score, solid & ~core, float(uniform((), 0.2, 0.6, generator)))
    if not bool(chance(1, 0.7, generator)):
        core, rim = torch.zeros_like(core), torch.zeros_like(rim)
    finger = 0.3 * smooth_field(1, 1, score.shape, 9, generator)[0, 0]
    oedema = cut(score + finger, (tissue[box] == 2) & ~solid, (whole - 1) * volume)
    if whole == 1.0:
        oedema = torch.zeros_like(oedema)
    sigma = float(uniform((), *EDGE, generator))
    parts = ((oedema, "oedema"), (solid & ~core & ~rim, "solid"), (rim, "rim"), (core, "core"))
    regions = [(_part(box, inside, sigma), name) for inside, name in parts]
    return [(region, name) for region, name in regions if region is not None]


def stroke(place: Place, generator: Generator) -> list[Part]:
    """An arterial territory with its cortex, in some a cavity: the cell of one of many seeds."""
    tissue, brain = place.tissue, place.tissue >= 1
    volume = place.draw_volume(0.3, generator)
    centre = random_voxel(tissue == 1, generator)
    box = box_around(centre.tolist(), int(2.4 * radius_of(volume)) + 4, tissue.shape)
    at = offsets(box, centre.tolist(), generator.device)
    radius = max(radius_of(volume), 1.5)
    at = at + 0.3 * radius * smooth_field(1, 3, at.shape[1:], 7, generator)[0]
    others = torch.randn((6, 3), generator=generator, device=generator.device)
    others = 2.2 * radius * others / others.norm(dim=1, keepdim=True).clamp_min(1e-3)
    own = length(at)
    near = torch.stack([length(at - o.view(3, 1, 1, 1)) for o in others]).amin(dim=0)
    score = torch.minimum(near - own, 1.4 * radius - own)
    inside = cut(score, brain[box], volume)
    cavity = _inner(score, inside, float(uniform((), 0.1, 0.5, generator)))
    if not bool(chance(1, 0.3, generator)):
        cavity = torch.zeros_like(cavity)
    sigma = float(uniform((), *EDGE, generator))
    parts = ((inside & ~cavity, "infarct"), (cavity, "cavity"))
    regions = [(_part(box, where, sigma), name) for where, name in parts]
    return [(region, name) for region, name in regions if region is not None]


def plaques(place: Place, generator: Generator) -> list[Part]:
    """Multiple sclerosis: ellipsoids in white matter, along the way from the ventricle."""
    white = place.tissue == 2
    distance = ventricle_distance(place.tissue)
    reach = float(uniform((), 3.0, 12.0, generator))
    weights = white * torch.exp(-distance / reach)
    count = round(log_uniform(2, max(place.most, 2) + 0.5, generator))
    centres = random_voxels(weights, count, generator)
    if centres is None:
        return []
    gradient = torch.stack(torch.gradient(distance))
    x, y, z = centres.long().unbind(1)
    axes = gradient[:, x, y, z].T
    axes = axes / axes.norm(dim=1, keepdim=True).clamp_min(1e-3)
    volume = min(place.draw_volume(0.0, generator), 40.0 / VOXEL_ML)
    domain = place.tissue >= 1
    return [(r, "plaque") for r in small_shapes(centres, volume, domain, generator, axes)]


def hyperintensities(place: Place, generator: Generator) -> list[Part]:
    """White matter hyperintensities: a band around the ventricles, and spots beside it."""
    white = place.tissue == 2
    distance = ventricle_distance(place.tissue)
    volume = min(place.draw_volume(0.1, generator), 60.0 / VOXEL_ML)
    noise = smooth_field(1, 1, white.shape, 12, generator)[0, 0]
    rough = float(uniform((), 0.5, 2.5, generator))
    box: Box = (slice(0, white.shape[0]), slice(0, white.shape[1]), slice(0, white.shape[2]))
    sigma = float(uniform((), *EDGE, generator))
    band = soften(box, cut(rough * noise - distance, white, 0.7 * volume), sigma)
    parts = [] if band is None else [(band, "hyperintensity")]
    count = round(log_uniform(1, max(place.most, 1) + 0.5, generator))
    spots = _scattered(white & (distance > 4), count, 0.3 * volume, generator)
    return parts + [(spot, "hyperintensity") for spot in spots]


KINDS: tuple[tuple[Kind, float], ...] = (
    (any_shape, 0.45),
    (tumour, 0.20),
    (stroke, 0.12),
    (plaques, 0.13),
    (hyperintensities, 0.10),
)
"""The kinds of lesions and how often each is drawn."""


def ventricle_distance(tissue: Tensor) -> Tensor:
    """Distance from the ventricles, ``(D, H, W)``, voxels; to a few voxels.

    Ventricles are taken to be fluid in the middle half of the brain's extent, away from its
    surface, as label protocols name them differently.
    """
    fluid = (tissue == 0)[None, None].float()
    wide = torch.full((1, 3), 2.0, device=tissue.device)
    deep = (fluid > 0) & (fields.blur((tissue < 0)[None, None].float(), wide) < 0.01)
    for axis, side in enumerate(tissue.shape):
        place = torch.arange(side, device=tissue.device)
        middle = (place >= side // 4) & (place < side - side // 4)
        deep &= middle.view([-1 if a == axis else 1 for a in range(-2, 3)])
    coarse = F.max_pool3d(deep.float(), _COARSE, ceil_mode=True)[0, 0]
    sources = coarse.nonzero().float()
    if len(sources) == 0:
        return torch.full(tissue.shape, 1e3, device=tissue.device)
    axes = [torch.arange(side, device=tissue.device, dtype=torch.float32) for side in coarse.shape]
    nodes = torch.cartesian_prod(*axes)
    distance = torch.cdist(nodes, sources).amin(dim=1).view(1, 1, *coarse.shape) * _COARSE
    fine = F.interpolate(distance, scale_factor=_COARSE, mode="trilinear")
    d, h, w = tissue.shape
    return fine[0, 0, :d, :h, :w].contiguous()


def _inner(score: Tensor, inside: Tensor, share: float) -> Tensor:
    """The innermost share of a part."""
    count = float(inside.sum()) * share
    return cut(score, inside, count) if count >= 1 else torch.zeros_like(inside)


def _part(box: Box, inside: Tensor, sigma: float) -> Region | None:
    """A part of a larger lesion; none of its parts is sharper than the others."""
    if not bool(inside.any()):
        return None
    region = blurred(box, inside, sigma)
    return region if float(region.cover.max()) > 0.5 else None


def _scattered(domain: Tensor, count: int, volume: float, generator: Generator) -> list[Region]:
    """Small lesions anywhere in a domain."""
    centres = random_voxels(domain.float(), count, generator)
    return [] if centres is None else small_shapes(centres, volume, domain, generator)
