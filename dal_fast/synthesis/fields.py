"""Smooth random fields, blurs and deformations for batches of volumes, in plain torch.

Everything separable is written as one small dense matrix per axis and sample, ``(N, out, in)``:
blurring, thick slices and the upsampling of a coarse random field are then three batched matrix
products with parameters of their own for each sample, on any device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional as F


def uniform(
    shape: Sequence[int], low: float | Tensor, high: float | Tensor, generator: Generator
) -> Tensor:
    """Uniform numbers in [low, high) on the generator's device."""
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def chance(n: int, probability: float, generator: Generator) -> Tensor:
    """bool ``(n,)``, true with the given probability."""
    return torch.rand(n, generator=generator, device=generator.device) < probability


def apply_separable(x: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """``x (N, C, D, H, W)`` multiplied along each axis by a ``(N, out, in)`` matrix."""
    along_d, along_h, along_w = matrices
    x = x @ along_w[:, None, None].mT
    x = along_h[:, None, None] @ x
    h, w = x.shape[-2:]
    planes = along_d[:, None] @ x.flatten(3)
    return planes.reshape(*planes.shape[:3], h, w)


def gaussian_matrix(size: int, sigma: Tensor) -> Tensor:
    """Gaussian blur of an axis, normalised at the border; sigma ``(N,)`` in voxels, 0 is exact."""
    i = torch.arange(size, device=sigma.device, dtype=sigma.dtype)
    distance = (i[:, None] - i[None, :])[None] / sigma.clamp_min(1e-3)[:, None, None]
    weight = torch.exp(-0.5 * distance.square())
    return weight / weight.sum(dim=2, keepdim=True)


def blur(x: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur, sigma ``(N, 3)`` in voxels per sample and axis."""
    return apply_separable(x, [gaussian_matrix(x.shape[2 + a], sigma[:, a]) for a in range(3)])


def slice_matrix(size: int, thickness: Tensor) -> Tensor:
    """Average over slices ``thickness (N,)`` voxels thick, then interpolate linearly back."""
    i = torch.arange(size, device=thickness.device, dtype=thickness.dtype)
    t = thickness[:, None].clamp_min(1.0)
    edges = torch.arange(size + 1, device=t.device, dtype=t.dtype)[None] * t  # slice k: [k, k+1) t
    overlap = torch.minimum(edges[:, 1:, None], i + 1) - torch.maximum(edges[:, :-1, None], i)
    overlap = overlap.clamp_min(0)  # (N, slice, voxel)
    covered = overlap.sum(dim=2, keepdim=True)
    average = overlap / covered.clamp_min(1e-6)
    last = (covered[..., 0] > 1e-6).sum(dim=1, keepdim=True) - 1
    where = ((i + 0.5) / t - 0.5).clamp_min(0)  # in slices, (N, voxel)
    where = torch.minimum(where, last.to(where.dtype))
    k = torch.arange(size, device=t.device, dtype=t.dtype)
    interpolate = (1 - (where[..., None] - k).abs()).clamp_min(0)  # (N, voxel, slice)
    return interpolate @ average


def spline_matrix(size: int, nodes: int, device: torch.device) -> Tensor:
    """Cubic B-spline basis ``(1, size, nodes)`` of ``nodes`` control points over an axis."""
    at = torch.linspace(1.0, nodes - 2.0, size, device=device)
    u = (at[:, None] - torch.arange(nodes, device=device)).abs()
    near = 2 / 3 - u.square() + u**3 / 2
    far = (2 - u).clamp_min(0) ** 3 / 6
    return torch.where(u < 1, near, far)[None]


def smooth_field(
    n: int, channels: int, space: Sequence[int], nodes: int, generator: Generator
) -> Tensor:
    """Random field ``(n, channels, *space)``, about unit variance, ``nodes`` >= 4 an axis."""
    coarse = torch.randn(
        (n, channels, nodes, nodes, nodes), generator=generator, device=generator.device
    )
    bases = [spline_matrix(size, nodes, generator.device) for size in space]
    return 3.0 * apply_separable(coarse, bases)  # 3: the B-spline's mean square is 0.48 an axis


def identity(n: int, like: Tensor) -> Tensor:
    """Every voxel at its own place, ``(n, 3, D, H, W)`` in voxels; ``like (N, C, D, H, W)``."""
    axes = [torch.arange(side, device=like.device, dtype=torch.float32) for side in like.shape[2:]]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).expand(n, -1, -1, -1, -1)


def deformation(
    n: int,
    space: Sequence[int],
    generator: Generator,
    rotation: float = 0.2,
    scaling: float = 0.12,
    elastic: float = 1.5,
    spacing: float = 14.0,
) -> Tensor:
    """Where each voxel of the deformed volume comes from, ``(n, 3, D, H, W)`` in voxels.

    Args:
        n, space: samples and volume size.
        generator: of all random numbers.
        rotation: largest angle about each axis, radians.
        scaling: largest relative change of length of each axis.
        elastic: standard deviation of the elastic displacement, voxels.
        spacing: of its control points, voxels.
    """
    device = generator.device
    centre = torch.tensor([(s - 1) / 2 for s in space], device=device)
    axes = [torch.arange(s, device=device) - c for s, c in zip(space, centre, strict=True)]
    position = torch.stack(torch.meshgrid(*axes, indexing="ij")).to(torch.float32)
    skew = uniform((n, 3), -rotation, rotation, generator)
    turn = torch.zeros(n, 3, 3, device=device)
    for angle, (i, j) in enumerate(((0, 1), (0, 2), (1, 2))):
        turn[:, i, j], turn[:, j, i] = skew[:, angle], -skew[:, angle]
    matrix = torch.linalg.matrix_exp(turn)
    matrix = matrix * uniform((n, 1, 3), 1 - scaling, 1 + scaling, generator)
    moved = (matrix @ position.flatten(1)).reshape(n, 3, *space)
    nodes = max(4, round(max(space) / spacing) + 2)
    strength = uniform((n, 1, 1, 1, 1), 0.0, elastic, generator)
    moved = moved + strength * smooth_field(n, 3, space, nodes, generator)
    origin: Tensor = moved + centre.view(1, 3, 1, 1, 1)
    return origin


def swell(field: Tensor, centre: Tensor, radius: Tensor, strength: Tensor) -> Tensor:
    """Enlarge what lies around ``centre (N, 3)`` by pulling the field's origins towards it.

    ``p -> p - strength (p - centre) exp(-|p - centre|^2 / 2 radius^2)``, radius ``(N,)`` in
    voxels, strength ``(N,)`` in [0, 1).
    """
    offset = field - centre[:, :, None, None, None]
    r2 = offset.square().sum(dim=1, keepdim=True)
    falloff = torch.exp(-r2 / (2 * radius.square()[:, None, None, None, None]))
    return field - strength[:, None, None, None, None] * falloff * offset


def warp(x: Tensor, field: Tensor, nearest: bool = False) -> Tensor:
    """``x (N, C, D, H, W)`` sampled at ``field (N, 3, D, H, W)`` voxels; zero outside."""
    size = torch.tensor(x.shape[:1:-1], device=field.device, dtype=field.dtype)  # W, H, D
    grid = field.flip(1).permute(0, 2, 3, 4, 1) * (2 / (size - 1)) - 1
    mode = "nearest" if nearest else "bilinear"
    return F.grid_sample(x, grid, mode=mode, padding_mode="zeros", align_corners=True)
