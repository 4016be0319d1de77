"""Shapes of synthetic lesions: regions of a given volume around a place, with soft borders.

A shape is a score over a box, higher towards the inside, cut where the region has the volume that
was asked for. The cut is multiplied with the tissue that the lesion may lie in, and only then
blurred, so that no border of a lesion coincides with that of a label. Not specified in the paper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from dal_fast.imaging.morphology import bounding_box
from dal_fast.synthesis import fields
from dal_fast.synthesis.fields import smooth_field, uniform

Box = tuple[slice, slice, slice]
EDGE = (0.6, 1.8)
"""Range of a border's width, the standard deviation of a blur, voxels."""
_SHARPEST = 0.5  # voxels, of the borders of lesions of a few voxels
_OCTAVES = (5, 9, 17)  # control points of the noise


@dataclass(frozen=True)
class Region:
    """A part of a volume with a soft border.

    Attributes:
        box: where it lies.
        cover: how much of a voxel it covers, 0 to 1, of the box's shape.
    """

    box: Box
    cover: Tensor


def covered(regions: Sequence[Region], like: Tensor) -> Tensor:
    """bool ``(D, H, W)``, as ``like``: where regions together cover more than half of a voxel."""
    total = torch.zeros(like.shape, device=like.device)
    for region in regions:
        total[region.box] += region.cover
    return total > 0.5


def log_uniform(low: float, high: float, generator: Generator) -> float:
    """A number whose logarithm is uniform."""
    return float(uniform((), math.log(low), math.log(high), generator).exp())


def box_around(centre: Sequence[float], reach: int, shape: Sequence[int]) -> Box:
    """Voxels within ``reach`` of a centre along each axis, as far as the volume goes."""
    first, second, third = (
        slice(max(round(c) - reach, 0), max(min(round(c) + reach + 1, s), 1))
        for c, s in zip(centre, shape, strict=True)
    )
    return first, second, third


def offsets(box: Box, centre: Sequence[float], device: torch.device) -> Tensor:
    """Of every voxel of a box from a centre, ``(3, d, h, w)``."""
    axes = [
        torch.arange(s.start, s.stop, device=device, dtype=torch.float32) - c
        for s, c in zip(box, centre, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def length(vectors: Tensor) -> Tensor:
    """Of vectors along the first axis; several times as fast as torch's own norm."""
    return vectors.square().sum(dim=0).sqrt()


def octave_noise(shape: Sequence[int], generator: Generator, roughness: float = 0.5) -> Tensor:
    """Smooth noise of several scales, about unit variance; ``roughness`` is of each next scale."""
    noise = torch.zeros(*shape, device=generator.device)
    for octave, nodes in enumerate(_OCTAVES):
        weight = roughness**octave
        noise = noise + weight * smooth_field(1, 1, shape, nodes, generator)[0, 0]
    return noise / math.sqrt(sum(roughness ** (2 * k) for k in range(len(_OCTAVES))))


def divergence_free(shape: Sequence[int], generator: Generator) -> Tensor:
    """A smooth displacement that keeps volumes, ``(3, d, h, w)``, standard deviation 1.

    The curl of a random vector potential. Of central differences, its divergence is 0.
    """
    potential = smooth_field(1, 3, shape, 6, generator)[0]

    def along(component: int, axis: int) -> Tensor:
        if shape[axis] < 3:
            return torch.zeros_like(potential[component])
        return torch.gradient(potential[component], dim=axis)[0]

    curl = torch.stack(
        [
            along(2, 1) - along(1, 2),
            along(0, 2) - along(2, 0),
            along(1, 0) - along(0, 1),
        ]
    )
    return curl / curl.std().clamp_min(1e-6)


def cut(score: Tensor, domain: Tensor, volume: float) -> Tensor:
    """The ``volume`` voxels of a domain with the highest score; bool of the box's shape."""
    inside = score[domain]
    if inside.numel() == 0:
        return torch.zeros_like(domain)
    count = min(max(round(volume), 1), inside.numel())
    threshold = inside.kthvalue(inside.numel() - count + 1).values
    return (score >= threshold) & domain


def soften(box: Box, inside: Tensor, sigma: float) -> Region | None:
    """A region of a binary shape, whose border is blurred; None if the shape is empty.

    Args:
        box: of the shape.
        inside: bool of the box's shape.
        sigma: width of the border, voxels; narrower for lesions of a few voxels.
    """
    volume = int(inside.sum())
    if not volume:
        return None
    width = max(_SHARPEST, min(sigma, 0.6 * radius_of(volume)))
    region = blurred(box, inside, width)
    return Region(region.box, region.cover / region.cover.max())


def blurred(box: Box, inside: Tensor, sigma: float) -> Region:
    """A binary shape that is not empty, blurred; its box is cut to where there is something."""
    around = bounding_box(inside, math.ceil(3 * sigma))
    at = inside[around][None, None].float()
    cover = fields.blur(at, torch.full((1, 3), sigma, device=inside.device))[0, 0]
    first, second, third = (
        slice(outer.start + inner.start, outer.start + inner.start + side)
        for outer, inner, side in zip(box, around, cover.shape, strict=True)
    )
    return Region((first, second, third), cover)


def radius_of(volume: float) -> float:
    """Of a ball of this volume."""
    return (3 * volume / (4 * math.pi)) ** (1 / 3)


def noise_score(box: Box, centre: Sequence[float], volume: float, generator: Generator) -> Tensor:
    """Thresholded multi-octave noise in an ellipsoidal envelope, warped without divergence."""
    radius = radius_of(volume)
    at = offsets(box, centre, generator.device)
    shape = at.shape[1:]
    at = at + float(uniform((), 0.0, 0.5, generator)) * radius * divergence_free(shape, generator)
    stretch = torch.eye(3, device=at.device) * uniform((3,), 0.7, 1.4, generator)
    stretch = stretch + uniform((3, 3), -0.25, 0.25, generator)
    distance = length((stretch @ at.flatten(1)).view(3, *shape)) / max(radius, 1.0)
    amplitude = float(uniform((), 0.1, 0.6, generator))
    return amplitude * octave_noise(shape, generator) - distance


def blob_score(box: Box, centre: Sequence[float], volume: float, generator: Generator) -> Tensor:
    """A union of two to eight balls, each beside one before it."""
    at = offsets(box, centre, generator.device)
    count = int(torch.randint(2, 9, (), generator=generator, device=generator.device))
    radius = max(radius_of(volume) / count ** (1 / 3), 0.8)
    places = torch.zeros(1, 3, device=at.device)
    score = torch.full(at.shape[1:], -torch.inf, device=at.device)
    for _ in range(count):
        size = radius * float(uniform((), 0.6, 1.6, generator))
        pick = torch.randint(len(places), (), generator=generator, device=generator.device)
        step = torch.randn(3, generator=generator, device=generator.device)
        place = places[pick] + step / step.norm().clamp_min(1e-3) * size
        places = torch.cat([places, place[None]])
        ball = 1 - length(at - place.view(3, 1, 1, 1)) / size
        score = torch.maximum(score, ball)
    return score


SCORES = (noise_score, blob_score)


def solid_shape(
    centre: Sequence[float], volume: float, domain: Tensor, generator: Generator
) -> Region | None:
    """One region of noise or of blobs.

    Args:
        centre: voxel.
        volume: voxels; less where the domain holds less within its reach.
        domain: where a lesion may lie, bool ``(D, H, W)``.
        generator: of all random numbers.
    """
    box = box_around(centre, int(2.2 * radius_of(volume)) + 4, domain.shape)
    pick = torch.randint(len(SCORES), (), generator=generator, device=generator.device)
    score = SCORES[int(pick)](box, centre, volume, generator)
    sigma = float(uniform((), *EDGE, generator))
    return soften(box, cut(score, domain[box], volume), sigma)


def small_shapes(
    centres: Tensor,
    volume: float,
    domain: Tensor,
    generator: Generator,
    axes: Tensor | None = None,
) -> list[Region]:
    """Ellipsoids that share a volume, one at each centre.

    Args:
        centres: voxels, ``(count, 3)``.
        volume: of all together, voxels; the shares are log-normal.
        domain: where a lesion may lie, bool ``(D, H, W)``.
        generator: of all random numbers.
        axes: directions of the ellipsoids' long axes, unit vectors ``(count, 3)``; by default
            any.
    """
    count = len(centres)
    shares = torch.randn(count, generator=generator, device=generator.device).mul(0.8).exp()
    volumes = (volume * shares / shares.sum()).tolist()
    if axes is None:
        axes = torch.randn((count, 3), generator=generator, device=generator.device)
        axes = axes / axes.norm(dim=1, keepdim=True).clamp_min(1e-3)
    sigma = float(uniform((), EDGE[0], 1.0, generator))
    regions = []
    for centre, size, axis in zip(centres.tolist(), volumes, axes, strict=True):
        radius = radius_of(max(size, 1.0))
        box = box_around(centre, int(2.0 * radius) + 3, domain.shape)
        at = offsets(box, centre, generator.device)
        long = float(uniform((), 1.0, 2.2, generator))
        along = torch.einsum("c,cdhw->dhw", axis, at)
        across = (at.square().sum(dim=0) - along.square()).clamp_min(0)
        score = -(across + (along / long).square())
        region = soften(box, cut(score, domain[box], size), sigma)
        if region is not None:
            regions.append(region)
    return regions
