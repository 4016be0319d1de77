"""What happens to a head before, in and after the scanner, for synthetic whole-head scans."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from random import Random

import torch
from torch import Generator, Tensor

from dal_fast.synthesis.fields import apply_separable, gaussian_matrix, slice_matrix, smooth_field
from dal_fast.synthesis.head_maps import CLASSES, HeadMap
from dal_fast.synthesis.head_view import View

_REMOVED = {
    "face": "defaced",
    "ears": "without ears",
    "partly": "partly stripped",
    "stripped": "stripped",
}
_HARD = tuple(CLASSES.index(name) for name in ("bone", "marrow", "dura"))
_WRAPPED_MM = 5.0  # depth of the brain that is never wrapped around
_TRIES = 40  # random voxels that are looked at for a place


@dataclass(eq=False)
class Draft:
    """A head on the network's volume; ``image`` is changed in place.

    Attributes:
        image: ``(D, H, W)``, 0 without signal, tissue about 0.2 to 1.
        distance: to the brain's border, mm, positive inside.
        classes: int32, of :data:`dal_fast.synthesis.head_maps.CLASSES` and soft tissue.
        places: ``(3, D, H, W)``, in the head's map.
        head, view: what is seen, and how.
        traits: words for what was drawn.
    """

    image: Tensor
    distance: Tensor
    classes: Tensor
    places: Tensor
    head: HeadMap
    view: View
    traits: list[str] = field(default_factory=list)


def paint_lesions(draft: Draft, rng: Random, generator: Generator) -> None:
    """Lesions in a third of the brains, half of them at the border."""
    if rng.random() > 0.35:
        return
    draft.traits.append("lesions")
    for _ in range(rng.randint(1, 3)):
        depth = (0.0, 4.0) if rng.random() < 0.5 else (0.0, 60.0)
        cover = _blob(draft, depth, rng.uniform(3, rng.choice((8, 15, 30))), rng)
        if cover is None:
            return
        cover *= (draft.distance + 1.5).clamp_(0, 1)
        rough = rng.uniform(0, 0.1)
        texture = rough * torch.randn(cover.shape, generator=generator)
        draft.image += cover * (rng.uniform(0, 1.4) + texture - draft.image)


def open_skull(draft: Draft, rng: Random) -> None:
    """A missing piece of skull in one head of twenty: fluid or soft tissue in its place."""
    if rng.random() > 0.05:
        return
    cover = _blob(draft, (-8.0, 0.0), rng.uniform(10, 35), rng)
    if cover is None:
        return
    draft.traits.append("open skull")
    hard = torch.isin(draft.classes, torch.tensor(_HARD, dtype=torch.int32))
    draft.image += cover * (hard & (draft.distance < 0)) * (rng.uniform(0.1, 1.2) - draft.image)


def _blob(draft: Draft, depth: tuple[float, float], radius_mm: float, rng: Random) -> Tensor | None:
    """Cover, 0 to 1, of an ellipsoid around a voxel at some depth in the brain, or None."""
    shape, distance = draft.view.shape, draft.distance
    for _ in range(_TRIES):
        d, h, w = (rng.randrange(size) for size in shape)
        if depth[0] <= float(distance[d, h, w]) <= depth[1]:
            break
    else:
        return None
    squares = []
    for size, at in zip(shape, (d, h, w), strict=True):
        radius = radius_mm * rng.uniform(0.6, 1.5) / draft.view.voxel_mm
        squares.append(((torch.arange(size) - at) / radius).square())
    r = (squares[0][:, None, None] + squares[1][:, None] + squares[2]).sqrt_()
    return ((1 - r) * (radius_mm / draft.view.voxel_mm) + 0.5).clamp_(0, 1)


def removed(draft: Draft, rng: Random, generator: Generator) -> Tensor | None:
    """What somebody has set to zero, bool: faces, ears, or all but the brain; None for nothing."""
    kind = rng.choices(
        ("nothing", "face", "ears", "partly", "stripped"), (0.64, 0.18, 0.05, 0.05, 0.08)
    )[0]
    if kind == "nothing":
        return None
    draft.traits.append(_REMOVED[kind])
    rough = smooth_field(1, 1, draft.view.shape, rng.randint(6, 16), generator)[0, 0]
    if kind == "stripped":
        return draft.distance < rng.uniform(-3, 1.0) + rough * rng.uniform(0, 1.0)
    if kind == "partly":
        return draft.distance < -rng.uniform(3, 16) + rough * rng.uniform(0, 6)
    head = draft.head
    x, y, z = (
        (draft.places[axis] - (a + b) / 2) / ((b - a) / 2)
        for axis, (a, b) in enumerate(zip(head.low, head.high, strict=True))
    )  # 1 is the brain's end
    kept = draft.distance > -rng.uniform(1, 8)
    if kind == "ears":
        return (x.abs() + 0.05 * rough > rng.uniform(1.02, 1.25)) & ~kept
    angle = rng.uniform(math.radians(10), math.radians(75))
    plane = math.cos(angle) * y - math.sin(angle) * z + rng.choice((0.0, 0.05, 0.15)) * rough
    return (plane > rng.uniform(0.6, 1.1)) & ~kept


def acquire(draft: Draft, rng: Random, generator: Generator) -> Tensor:
    """The image as a scanner and its software deliver it: everything but the field of view."""
    image = draft.image
    if rng.random() < 0.06:
        image = _wrapped(image, draft, rng)
    image = _blurred(image, draft, rng)
    image = _shaded(image, draft, rng, generator)
    if rng.random() < 0.2:
        draft.traits.append("motion")
        image = _moved(image, rng)
    image = image.clamp_min_(0).pow_(rng.uniform(0.7, 1.5))
    image = _noisy(image, draft, rng, generator)
    if rng.random() < 0.1:  # air that is not zero, beside what was set to zero
        draft.traits.append("air above zero")
        image = image + rng.uniform(0.02, 0.35)
    return image


def _blurred(image: Tensor, draft: Draft, rng: Random) -> Tensor:
    """Point spread and thick slices."""
    coarsest = 1.3 if rng.random() < 0.12 else 0.65
    if coarsest > 1:
        draft.traits.append("blur")
    matrices = []
    for size in image.shape:
        sigma = torch.tensor([rng.uniform(0.2, coarsest)])
        matrices.append(gaussian_matrix(size, sigma))
    if rng.random() < 0.4:
        axis = rng.choice((0, 1, 2, 2, 2))
        draft.traits.append("thick slices")
        thickness = torch.tensor([rng.uniform(3.0, 7.5) / draft.view.voxel_mm])
        matrices[axis] = slice_matrix(image.shape[axis], thickness) @ matrices[axis]
    return apply_separable(image[None, None], matrices)[0, 0]


def _shaded(image: Tensor, draft: Draft, rng: Random, generator: Generator) -> Tensor:
    """Bias field; in some scans a coil that fades along a direction."""
    strength = rng.uniform(0, 0.9 if rng.random() < 0.15 else 0.45)
    if strength > 0.45:
        draft.traits.append("strong bias")
    bias = strength * smooth_field(1, 1, image.shape, rng.randint(4, 5), generator)[0, 0]
    if rng.random() < 0.12:
        draft.traits.append("fading")
        axis = rng.randrange(3)
        along = torch.linspace(-1, 1, image.shape[axis]) * rng.choice((-1, 1))
        ramp = rng.uniform(0.5, 2.5) * (along - rng.uniform(-0.3, 0.5)).clamp_min(0)
        bias -= ramp.view([-1 if a == axis else 1 for a in range(3)])
    return image * bias.exp_()


def _moved(image: Tensor, rng: Random) -> Tensor:
    """Ghosts along the phase direction, or a head that moved."""
    axis = rng.randrange(3)
    if rng.random() < 0.6:
        shift, strength = rng.randint(5, image.shape[axis] // 2), rng.uniform(0.03, 0.3)
        ghosts = image.roll(shift, axis) + image.roll(-shift, axis)
        return image * (1 - strength / 2) + ghosts * (strength / 2)
    shift, strength = rng.randint(1, 3), rng.uniform(0.1, 0.5)
    return image * (1 - strength) + image.roll(shift, axis) * strength


def _wrapped(image: Tensor, draft: Draft, rng: Random) -> Tensor:
    """Tissue beyond a face of the field of view comes back at the opposite one.

    Not where it would be brain: a scan is not planned through the middle of one along an axis that
    wraps around.
    """
    axis = rng.randrange(3)
    view, size = draft.view, image.shape[axis]
    away = ~view.inside()[axis]
    width = size - int(away.sum())
    if width == size:
        width -= rng.randint(4, 20)
        away = torch.ones(size, dtype=torch.bool)
    away[size - width : width] = False
    if bool((draft.distance.movedim(axis, 0)[away] > _WRAPPED_MM).any()):
        return image
    draft.traits.append("wrap-around")
    strength = rng.uniform(0.2, 0.7)
    result = image.clone()
    near, far = image.narrow(axis, 0, size - width), size - width
    result.narrow(axis, width, far).add_(near, alpha=strength)
    result.narrow(axis, 0, far).add_(image.narrow(axis, width, far), alpha=strength)
    return result


def _noisy(image: Tensor, draft: Draft, rng: Random, generator: Generator) -> Tensor:
    """Gaussian or Rician noise, in some scans with a glow in the air."""
    if rng.random() < 0.12:
        glow = smooth_field(1, 1, image.shape, rng.randint(5, 12), generator)[0, 0]
        image = image + rng.uniform(0.01, 0.1) * glow.abs_()
    sigma = rng.uniform(0, 0.15 if rng.random() < 0.08 else 0.06)
    if sigma > 0.06:
        draft.traits.append("strong noise")
    image = image + sigma * torch.randn(image.shape, generator=generator)
    if rng.random() < 0.5:
        other = sigma * torch.randn(image.shape, generator=generator)
        return torch.hypot(image, other)
    return image.clamp_min(0) if rng.random() < 0.6 else image
