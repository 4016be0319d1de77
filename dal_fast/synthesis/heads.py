"""Synthetic scans of whole heads from label maps, for brain extraction. Not in the paper.

A head is turned, scaled and bent; every class of its map gets an intensity; what scanners, pictures
and people do to heads is added; and the result is placed and normalised as
:mod:`dal_fast.imaging.head_grid` does with a real scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Generator, Tensor

from dal_fast.imaging.head_grid import normalise_head
from dal_fast.synthesis.fields import smooth_field
from dal_fast.synthesis.head_contrast import draw_contrast
from dal_fast.synthesis.head_defects import (
    Draft,
    acquire,
    open_skull,
    paint_lesions,
    removed,
)
from dal_fast.synthesis.head_maps import STEPS, HeadMap
from dal_fast.synthesis.head_view import (
    View,
    distance_to_faces,
    draw_view,
    inside_box,
    places_of,
)

_NOTHING = -20 * STEPS << 8  # a packed voxel of air, far from the brain
_QUARTERS = ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1))
"""Corners of a tetrahedron: where a voxel's mixture of classes is looked up, in quarters."""
_RIM_MM = 1.25
"""How far outside of the closed tissue the border is drawn: HD-BET's masks of four real heads (two
T1w of 1 mm, one of 2 mm, one T2w) agree best with it there."""
_FAINTEST = 0.1
"""Median of a brain that can be seen, as a share of what is bright."""
_UNSEEN = 0.02  # share of a brain that may be out of view where the whole is said to be seen
_TRIES = 10  # scans that are drawn until one shows its brain
_EXTRUDED = 0.7  # share of heads that go on below the end of their map


@dataclass(frozen=True, eq=False)
class HeadSample:
    """A batch for the brain extraction network.

    Attributes:
        image: ``(N, 1, D, H, W)`` float32, as of ``place_head``.
        distance: ``(N, 1, D, H, W)`` float32, signed distance to the brain's border in mm, positive
            inside, cut off at the network's reach. Where the field of view cuts the brain, it ends
            a voxel outside.
        covered: ``(N, 1, D, H, W)`` bool, the field of view.
        traits: of each head, words for the contrast and the defects that were drawn.
    """

    image: Tensor
    distance: Tensor
    covered: Tensor
    traits: tuple[tuple[str, ...], ...]


def join_heads(samples: Sequence[HeadSample]) -> HeadSample:
    """One batch of several."""
    return HeadSample(
        torch.cat([sample.image for sample in samples]),
        torch.cat([sample.distance for sample in samples]),
        torch.cat([sample.covered for sample in samples]),
        tuple(traits for sample in samples for traits in sample.traits),
    )


def synthesise_head(
    head: HeadMap,
    shape: tuple[int, int, int],
    voxel_mm: float,
    reach_mm: float,
    seed: int,
) -> HeadSample:
    """One scan of a head, on which the brain can be seen; the same seed makes the same scan.

    Args:
        head: its map.
        shape: (D, H, W) of the network's volume.
        voxel_mm: edge of its voxels.
        reach_mm: where the distance is cut off.
        seed: of everything that is drawn.
    """
    rng, generator = Random(seed), Generator().manual_seed(seed)
    for _ in range(_TRIES):
        sample = _scan(head, shape, voxel_mm, reach_mm, rng, generator)
        brain = sample.image[(sample.distance > 0) & sample.covered]
        if brain.numel() and float(brain.median()) >= _FAINTEST:
            break
    return sample


def _scan(
    head: HeadMap,
    shape: tuple[int, int, int],
    voxel_mm: float,
    reach_mm: float,
    rng: Random,
    generator: Generator,
) -> HeadSample:
    """See :func:`synthesise_head`; its brain may be lost in what is brighter."""
    view = draw_view(head, shape, voxel_mm, rng)
    draft = _paint(head, view, rng, generator)
    open_skull(draft, rng)
    paint_lesions(draft, rng, generator)
    gone = removed(draft, rng, generator)
    image = acquire(draft, rng, generator)
    inside = inside_box(view.inside())
    if gone is not None:
        image = image.masked_fill(gone, 0.0)
    image = normalise_head(image * inside, inside)
    distance = torch.minimum(draft.distance, distance_to_faces(view) + voxel_mm)
    distance.clamp_(-reach_mm, reach_mm)
    unseen = (draft.distance > 0) & ~inside
    if int(unseen.sum()) > _UNSEEN * int((draft.distance > 0).sum()):
        draft.traits.append("partly in view")
    return HeadSample(
        image[None, None], distance[None, None], inside[None, None], (tuple(draft.traits),)
    )


def _paint(head: HeadMap, view: View, rng: Random, generator: Generator) -> Draft:
    """The head's intensities without any artefact."""
    means, spreads, traits = draw_contrast(rng)
    places = places_of(view, head, rng, generator)
    image, distance = torch.zeros(view.shape), torch.zeros(view.shape)
    classes = torch.zeros(0)
    extruded = rng.random() < _EXTRUDED
    below = None if extruded else places[2] < -0.5
    for quarters in _QUARTERS:
        offsets = [q * view.voxel_mm / 4 for q in quarters]
        packed = _look_up(head.packed, places, offsets)
        if below is not None:
            packed[below] = _NOTHING
        classes = (packed & 255).int()
        image += means.index_select(0, classes.flatten()).view(view.shape)
        distance += packed >> 8
    image /= len(_QUARTERS)
    distance *= view.scale / (STEPS * len(_QUARTERS))
    distance += _RIM_MM
    distance = torch.minimum(distance, places[2] * view.scale)  # no brain below the map's end
    spread = spreads.index_select(0, classes.flatten()).view(view.shape)
    image += spread * torch.randn(view.shape, generator=generator)
    blotches = smooth_field(1, 1, view.shape, rng.randint(8, 20), generator)[0, 0]
    outside, within = rng.uniform(0, 0.28), rng.uniform(0, 0.08)
    image *= 1 + blotches * torch.where(distance > 0, within, outside)
    if view.child:
        traits.append("child-sized")
    return Draft(image, distance, classes, places, head, view, traits)


def _look_up(packed: Tensor, places: Tensor, offsets: Sequence[float]) -> Tensor:
    """The voxels of a map nearest to places and an offset; edge voxels go on outside."""
    index = torch.zeros(0)
    for axis, size in enumerate(packed.shape):
        at = (places[axis] + offsets[axis]).round_().clamp_(0, size - 1).int()
        index = at if axis == 0 else index.mul_(size).add_(at)
    return packed.view(-1).index_select(0, index.flatten()).view(index.shape)
