"""Reference of the SSIM family: plain torch, differentiable, made for float64."""

from __future__ import annotations

import torch
from torch import Tensor

from dal_fast.reference._border import repeat_edges


def window_weights(window: int, sigma: float, kind: str) -> Tensor:
    """The one-dimensional window, float64, sum 1: ``exp(-d^2 / (2 sigma^2))`` or all equal."""
    d = torch.arange(window, dtype=torch.float64) - window // 2
    w = torch.exp(-0.5 * (d / sigma) ** 2) if kind == "gaussian" else torch.ones_like(d)
    return w / w.sum()


def _filter(x: Tensor, weights: Tensor) -> Tensor:
    """``x`` filtered along its last three axes; beyond the border the edge voxel repeats."""
    radius = len(weights) // 2
    for axis in (-3, -2, -1):
        n, padded = x.shape[axis], repeat_edges(x, axis, radius, radius)
        x = sum(w * padded.narrow(axis, k, n) for k, w in enumerate(weights))
    return x


def ssim3d(
    x: Tensor,
    y: Tensor,
    window: int = 11,
    sigma: float = 1.5,
    kind: str = "gaussian",
    data_range: float = 1.0,
) -> Tensor:
    """SSIM map by the textbook's formula, population covariance."""
    weights = window_weights(window, sigma, kind).to(x)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mx, my = _filter(x, weights), _filter(y, weights)
    vx, vy = _filter(x * x, weights) - mx * mx, _filter(y * y, weights) - my * my
    cov = _filter(x * y, weights) - mx * my
    return (2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))


def hybrid_score(
    x: Tensor,
    y: Tensor,
    window: int = 11,
    sigma: float = 1.5,
    kind: str = "gaussian",
    data_range: float = 1.0,
) -> Tensor:
    """``|x - y| (1 - SSIM)``."""
    return (x - y).abs() * (1 - ssim3d(x, y, window, sigma, kind, data_range))


def l1_ssim_loss(
    x: Tensor,
    y: Tensor,
    alpha: float = 0.5,
    window: int = 11,
    sigma: float = 1.5,
    kind: str = "gaussian",
    data_range: float = 1.0,
) -> Tensor:
    """``alpha mean|x - y| + (1 - alpha) (1 - mean SSIM)``."""
    ssim = ssim3d(x, y, window, sigma, kind, data_range).mean()
    return alpha * (x - y).abs().mean() + (1 - alpha) * (1 - ssim)
