"""Reference of 3D Canny: plain torch, step by step, made for float64."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from dal_fast.reference.onehot import anatomy_image

TIE = 1e-4
"""A neighbour suppresses a voxel when it is larger by more than this fraction."""


def _gaussian(sigma: float, longest_axis: int) -> list[float]:
    """``exp(-k²/2σ²)``, at least 1e-10, for k = 0 to ``min(max(2, round(4σ)), longest_axis - 1)``.

    The two voxels around a mask are smoothed too, however small sigma is. The sum is not 1.
    """
    radius = min(max(2.0, 4 * sigma + 0.5), longest_axis - 1)
    k = torch.arange(int(radius) + 1, dtype=torch.float64)
    if sigma == 0:
        return [1.0 if i == 0 else 1e-10 for i in range(len(k))]
    return torch.exp(-(k / sigma).square() / 2).clamp(min=1e-10).tolist()


def canny3d(
    x: Tensor,
    sigma: float = 1.0,
    low: float = 0.02,
    high: float = 0.04,
    mask: Tensor | None = None,
) -> Tensor:
    """Edges of ``x`` ``(N, C, D, H, W)``, each channel by itself; bool, the same shape."""
    inside = torch.ones_like(x, dtype=torch.bool) if mask is None else mask.expand_as(x)
    gradient = _sobel(_smooth(x, inside, sigma))
    magnitude = torch.stack(gradient).square().sum(0).sqrt()
    thin = _is_maximum(magnitude, gradient) & inside & (magnitude > 0)
    return _hysteresis(thin & (magnitude >= low), thin & (magnitude >= max(low, high)))


def anatomy_edges(
    logits: Tensor,
    levels: Sequence[float],
    mask: Tensor | None = None,
    sigma: float = 1.0,
    low: float = 0.02,
    high: float = 0.04,
) -> Tensor:
    """Edges of the anatomical image of ``logits``, ``(N, 1, D, H, W)``."""
    return canny3d(anatomy_image(logits, levels, mask), sigma, low, high, mask)


def _smooth(x: Tensor, inside: Tensor, sigma: float) -> Tensor:
    """``(g * (m x)) / (g * m)``, 0 where no voxel of the mask is in reach, NaN where not finite."""
    taps = _gaussian(sigma, max(x.shape[2:]))
    weight = _blur(inside.to(x.dtype), taps)
    value = _blur(torch.where(inside, x, 0), taps)
    s = torch.where(weight > 0, value / weight, 0)
    return torch.where(s.isfinite(), s, torch.nan)


def _blur(x: Tensor, taps: list[float]) -> Tensor:
    for axis in (2, 3, 4):
        n, out = x.shape[axis], taps[0] * x
        for k in range(1, min(len(taps), n)):
            out.narrow(axis, k, n - k).add_(x.narrow(axis, 0, n - k), alpha=taps[k])
            out.narrow(axis, 0, n - k).add_(x.narrow(axis, k, n - k), alpha=taps[k])
        x = out
    return x


def _sobel(s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``(gz, gy, gx)`` per voxel; the edge voxel repeats beyond the border."""
    padded = F.pad(s, (1,) * 6, mode="replicate")
    out = []
    for along in (2, 3, 4):
        g = padded
        for axis in (2, 3, 4):
            n = g.shape[axis] - 2
            before, here, after = (g.narrow(axis, i, n) for i in range(3))
            g = (after - before) / 2 if axis == along else (before + 2 * here + after) / 4
        out.append(g)
    return out[0], out[1], out[2]


def _is_maximum(magnitude: Tensor, gradient: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """No trilinear neighbour at ``v ± G / max|G_i|`` exceeds the voxel by more than ``TIE``."""
    largest = torch.stack(gradient).abs().amax(0)
    step = [g.abs() / largest for g in gradient]
    keep = torch.ones_like(magnitude, dtype=torch.bool)
    for side in (1, -1):
        value = torch.zeros_like(magnitude)
        for corner in product((0, 1), repeat=3):
            weight = torch.ones_like(magnitude)
            offset = []
            for taken, u, g in zip(corner, step, gradient, strict=True):
                weight = weight * (u if taken else 1 - u)
                offset.append(taken * side * torch.where(g < 0, -1, 1))
            value += weight * _neighbour(magnitude, offset)
        keep &= value <= magnitude * (1 + TIE)
    return keep


def _neighbour(magnitude: Tensor, offset: list[Tensor]) -> Tensor:
    """``magnitude[v + offset(v)]``, the edge voxel repeating beyond the border."""
    d, h, w = magnitude.shape[2:]
    z, y, x = (
        (torch.arange(n, device=magnitude.device).view(shape) + o).clamp(0, n - 1)
        for n, shape, o in zip((d, h, w), ((-1, 1, 1), (-1, 1), (-1,)), offset, strict=True)
    )
    flat = (z * h + y) * w + x
    return magnitude.flatten(2).gather(2, flat.flatten(2)).view_as(magnitude)


def _hysteresis(weak: Tensor, strong: Tensor) -> Tensor:
    """The weak voxels that a chain of weak voxels (26 neighbours) joins to a strong one."""
    while True:
        grown = _dilate(strong) & weak
        if torch.equal(grown, strong):
            return strong
        strong = grown


def _dilate(x: Tensor) -> Tensor:
    for axis in (2, 3, 4):
        n, out = x.shape[axis] - 1, x.clone()
        out.narrow(axis, 1, n).logical_or_(x.narrow(axis, 0, n))
        out.narrow(axis, 0, n).logical_or_(x.narrow(axis, 1, n))
        x = out
    return x
