"""Sampling a grid at the centres of another, on any device, by what a plan holds."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dal_fast.screening.device.plan import Sides


def resample(x: Tensor, axes: Sides | None, way: tuple[Tensor, ...], shape: Sides) -> Tensor:
    """What :func:`dal_fast.imaging.grid.resample` makes of each scan, but for rounding.

    Args:
        x: float32 ``(N, A, B, C)``.
        axes: of ``x`` that the target's axes run along; None for an oblique target.
        way: matrices, or filters and transform, as ``to_model`` of
            :class:`~dal_fast.screening.device.plan.Inputs`.
        shape: of the target.

    Returns:
        float32 ``(N, *shape)``.
    """
    if axes is None:
        *filters, transform = way
        return _oblique(_along(x, filters), transform, shape)
    return _along(x.permute(0, *(1 + axis for axis in axes)), way)


def _along(x: Tensor, matrices: tuple[Tensor, ...] | list[Tensor]) -> Tensor:
    """``(N, a, b, c)``, each axis multiplied by its matrix; the one that shrinks most first."""
    first, second, third = matrices
    x = torch.einsum("nabc,nwc->nabw", x, third)
    x = torch.einsum("nabw,nhb->nahw", x, second)
    return torch.einsum("nahw,nda->ndhw", x, first)


def _oblique(x: Tensor, transform: Tensor, shape: Sides) -> Tensor:
    """Trilinear; up to half a voxel beyond the outermost centres the edge voxel, further out 0.

    The positions are a volume of three channels; a kernel that computes them would spare it.
    """
    along = [torch.arange(side, device=x.device, dtype=torch.float32) for side in shape]
    ends = transform[:, :, 3].view(-1, 3, 1, 1, 1)
    steps = [transform[:, :, axis].view(-1, 3, 1, 1, 1) for axis in range(3)]
    places = [
        line.view([-1 if a == axis else 1 for a in range(3)]) for axis, line in enumerate(along)
    ]
    at = ends + sum(step * place for step, place in zip(steps, places, strict=True))
    sizes = list(x.shape[1:])
    inside = torch.ones_like(at[:, 0], dtype=torch.bool)
    scaled = []
    for axis, size in enumerate(sizes):
        position = at[:, axis]
        inside = inside & (position >= -0.5) & (position <= size - 0.5)
        scaled.append(2 * position / max(size - 1, 1) - 1)
    grid = torch.stack(scaled[::-1], dim=-1)  # grid_sample names the fastest axis first
    sampled = F.grid_sample(
        x[:, None], grid, mode="bilinear", padding_mode="border", align_corners=True
    )
    return sampled[:, 0] * inside
