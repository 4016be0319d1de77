"""Decoys: what may look abnormal in a healthy brain, and is not a lesion.

They are painted into a scan and into its healthy image alike, and leave tissue and lesion targets
as they are: a detector that marks them is wrong. Not specified in the paper.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import compress

import torch
from torch import Generator, Tensor

from dal_fast.imaging.morphology import dilate
from dal_fast.synthesis import fields
from dal_fast.synthesis.anatomy import random_voxel, random_voxels
from dal_fast.synthesis.fields import chance, uniform
from dal_fast.synthesis.lesion_kinds import VOXEL_ML, ventricle_distance
from dal_fast.synthesis.sample import Draft
from dal_fast.synthesis.shapes import (
    Region,
    box_around,
    covered,
    length,
    log_uniform,
    offsets,
    soften,
    solid_shape,
)
from dal_fast.synthesis.textures import Canvas, Mode, blend
from dal_fast.synthesis.varied_lesions import canvas_of

Decoy = Callable[[Canvas, Generator], list[Region]]
"""Changes a canvas and tells where."""


@dataclass(frozen=True)
class AddDecoys:
    """Some decoys in every sample.

    Attributes:
        probability: of each decoy and sample.
    """

    probability: float

    def __call__(self, draft: Draft, generator: Generator) -> None:
        tissue = draft.tissue
        for n in range(len(draft.images)):
            chosen = chance(len(DECOYS), self.probability, generator).tolist()
            if not any(chosen):
                continue
            canvas = canvas_of(draft, n, tissue[n], draft.images[n])
            for decoy in compress(DECOYS, chosen):
                draft.decoy[n, 0] |= covered(decoy(canvas, generator), tissue[n])


def nothing_added(canvas: Canvas, generator: Generator) -> list[Region]:
    """The shape, blur and texture noise of a lesion, without a difference in intensity."""
    return _shape(canvas, canvas.tissue >= 1, "additive", generator)


def swapped_texture(canvas: Canvas, generator: Generator) -> list[Region]:
    """White matter with healthy texture of another place, of the same mean and range."""
    return _shape(canvas, canvas.tissue == 2, "foreign", generator)


def perivascular_spaces(canvas: Canvas, generator: Generator) -> list[Region]:
    """Thin short tubes of fluid in white matter."""
    white = canvas.tissue == 2
    return _tubes(canvas, white, canvas.means[0], (1, 12), (2.0, 6.0), (0.2, 0.6), generator)


def vessels(canvas: Canvas, generator: Generator) -> list[Region]:
    """Tubes in the fluid around the brain, dark as flow voids or bright as inflow."""
    fluid = canvas.tissue == 0
    bright = bool(chance(1, 0.4, generator))
    level = 1.3 * canvas.means.max() if bright else 0.1 * canvas.means.min()
    return _tubes(canvas, fluid, level, (1, 8), (4.0, 14.0), (0.5, 1.0), generator)


def ventricle_caps(canvas: Canvas, generator: Generator) -> list[Region]:
    """A thin band around the ventricles, a little of the way towards grey matter."""
    distance = ventricle_distance(canvas.tissue)
    noise = fields.smooth_field(1, 1, distance.shape, 8, generator)[0, 0]
    width = float(uniform((), 1.0, 3.0, generator))
    band = (canvas.tissue == 2) & (distance + noise < width)
    region = soften(_whole(band), band, float(uniform((), 0.7, 1.2, generator)))
    if region is None:
        return []
    share = float(uniform((), 0.1, 0.5, generator))
    blend(canvas, region, share * float(canvas.means[1] - canvas.means[2]), "additive", generator)
    return [region]


def choroid_plexus(canvas: Canvas, generator: Generator) -> list[Region]:
    """Small clumps of tissue inside the ventricles."""
    inside = (canvas.tissue == 0) & (ventricle_distance(canvas.tissue) < 3)
    regions = []
    for _ in range(int(torch.randint(1, 4, (), generator=generator, device=generator.device))):
        centre = random_voxel(inside, generator).tolist()
        volume = log_uniform(0.05, 1.0, generator) / VOXEL_ML
        region = solid_shape(centre, volume, inside, generator)
        if region is not None:
            delta = float(uniform((), 0.4, 1.2, generator)) * (canvas.means[1] - canvas.means[0])
            blend(canvas, region, float(delta), "additive", generator)
            regions.append(region)
    return regions


def calcified_falx(canvas: Canvas, generator: Generator) -> list[Region]:
    """A piece of a dark sheet between the hemispheres, without haemosiderin around it."""
    shape = canvas.tissue.shape
    middle = shape[0] / 2 - 0.5
    fluid = dilate((canvas.tissue == 0)[None, None], 1)[0, 0]
    along = [float(uniform((), 0.2, 0.8, generator)) * side for side in shape[1:]]
    box = box_around([middle, *along], int(uniform((), 4.0, 14.0, generator)), shape)
    at = offsets(box, [middle, *along], generator.device)
    sheet = (at[0].abs() <= 0.6) & fluid[box] & (length(at[1:]) < 12)
    region = soften(box, sheet, 0.6)
    if region is None:
        return []
    _replace(canvas, region, 0.1 * canvas.means.min(), float(uniform((), 0.5, 1.0, generator)))
    return [region]


DECOYS: tuple[Decoy, ...] = (
    nothing_added,
    swapped_texture,
    perivascular_spaces,
    vessels,
    ventricle_caps,
    choroid_plexus,
    calcified_falx,
)


def _shape(canvas: Canvas, domain: Tensor, mode: Mode, generator: Generator) -> list[Region]:
    """A lesion's shape with a difference of 0."""
    volume = log_uniform(0.1, 50.0, generator) / VOXEL_ML
    region = solid_shape(random_voxel(domain, generator).tolist(), volume, domain, generator)
    if region is None:
        return []
    blend(canvas, region, 0.0, mode, generator)
    return [region]


def _tubes(
    canvas: Canvas,
    domain: Tensor,
    level: Tensor,
    counts: tuple[int, int],
    length: tuple[float, float],
    opacity: tuple[float, float],
    generator: Generator,
) -> list[Region]:
    """Thin straight tubes of one intensity; voxels that they touch are covered in part."""
    regions = []
    count = round(log_uniform(counts[0], counts[1] + 0.5, generator))
    centres = random_voxels(domain.float(), count, generator)
    for centre in [] if centres is None else centres.tolist():
        half = 0.5 * float(uniform((), *length, generator))
        box = box_around(centre, int(half) + 3, domain.shape)
        at = offsets(box, centre, generator.device)
        axis = torch.randn(3, generator=generator, device=generator.device)
        axis = axis / axis.norm().clamp_min(1e-3)
        along = torch.einsum("c,cdhw->dhw", axis, at)
        across = (at.square().sum(dim=0) - along.square()).clamp_min(0).sqrt()
        radius = float(uniform((), 0.4, 0.9, generator))
        inside = (1.2 * radius - across).clamp(0, 1) * (half + 0.5 - along.abs()).clamp(0, 1)
        cover = inside * domain[box]
        if float(cover.max()) < 0.05:
            continue
        cover = fields.blur(cover[None, None], torch.full((1, 3), 0.5, device=cover.device))[0, 0]
        region = Region(box, cover / cover.max())
        _replace(canvas, region, level, float(uniform((), *opacity, generator)))
        regions.append(region)
    return regions


def _replace(canvas: Canvas, region: Region, level: Tensor, opacity: float) -> None:
    place = (slice(None), *region.box)
    here = canvas.images[place]
    canvas.images[place] = here + opacity * region.cover * (level - here)


def _whole(volume: Tensor) -> tuple[slice, slice, slice]:
    d, h, w = volume.shape
    return slice(0, d), slice(0, h), slice(0, w)
