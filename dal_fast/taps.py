"""The weights of the windows that the kernels are given.

``dal_fast.reference`` has its own, written apart from these, so that a wrong weight here shows in
every comparison with it.
"""

from __future__ import annotations

import math


def ssim_weights(window: int, sigma: float, kind: str) -> list[float]:
    """Half of SSIM's symmetric window: ``w[0]`` (the centre) to ``w[window // 2]``.

    All ``window`` weights sum to 1. For ``"gaussian"`` they are proportional to
    ``exp(-k² / (2 sigma²))``, for ``"uniform"`` equal.
    """
    reach = range(window // 2 + 1)
    if kind == "uniform":
        return [1 / window for _ in reach]
    half = [_gaussian(k, sigma) for k in reach]
    total = half[0] + 2 * math.fsum(half[1:])
    return [w / total for w in half]


def canny_weights(sigma: float, longest_axis: int) -> list[float]:
    """``g(0) ... g(R)`` with ``g(k) = exp(-k² / (2 sigma²))``.

    ``R = int(4 sigma + 0.5)`` as in scipy, but at least 2, and no weight is below 1e-10: the
    smoothing of a masked volume then reaches the two voxels around the mask that gradient and
    suppression look at, however small sigma is. R is at most ``longest_axis - 1``. The sum is not
    1, because the smoothing divides by it.
    """
    radius = longest_axis - 1 if 4 * sigma >= longest_axis else max(2, int(4 * sigma + 0.5))
    radius = min(radius, longest_axis - 1)
    return [1.0] + [max(1e-10, _gaussian(k, sigma)) for k in range(1, radius + 1)]


def _gaussian(k: int, sigma: float) -> float:
    """``exp(-k² / (2 sigma²))``, which is 0 in floating point where the square would overflow."""
    return math.exp(-0.5 * (k / sigma) ** 2) if k / 40 < sigma else 0.0
