"""Tissue contrasts: drawn means, and how a scan's intensities follow them.

Tissues are 0 CSF, 1 GM, 2 WM; structure maps are those of :mod:`dal_fast.synthesis.synthesiser`.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from dal_fast.synthesis.fields import uniform

CONTRASTS = ("T2w", "FLAIR", "T1w", "random")

# darkest tissue, then by how much the next is brighter, then the brightest: [low, high) each
_RANGES = torch.tensor(
    [
        [[0.25, 0.45], [0.06, 0.30], [0.20, 0.90]],  # T2w:   WM < GM < CSF
        [[0.05, 0.30], [0.20, 0.45], [0.04, 0.25]],  # FLAIR: CSF < WM < GM
        [[0.10, 0.35], [0.15, 0.35], [0.12, 0.40]],  # T1w:   CSF < GM < WM
        [[0.05, 0.40], [0.08, 0.50], [0.08, 0.50]],  # random order
    ]
)
_ORDERS = torch.tensor([[2, 1, 0], [0, 2, 1], [0, 1, 2]])  # tissues from dark to bright


def draw_means(kind: Tensor, generator: Generator) -> Tensor:
    """``(N, 3)`` intensities of CSF, GM and WM for contrasts ``kind (N,)``, of ``CONTRASTS``."""
    n, device = len(kind), generator.device
    ranges = _RANGES.to(device)[kind]
    sorted_means = uniform((n, 3), ranges[..., 0], ranges[..., 1], generator).cumsum(dim=1)
    shuffled = torch.rand((n, 3), generator=generator, device=device).argsort(dim=1)
    known = _ORDERS.to(device)[kind.clamp_max(2)]
    order = torch.where((kind == 3)[:, None], shuffled, known)
    return torch.zeros_like(sorted_means).scatter_(1, order, sorted_means)


def tissue_means(scan: Tensor, structures: Tensor) -> Tensor:
    """``(N, 3)`` mean of ``scan`` in CSF, GM and WM; 0 for a tissue that is absent."""
    tissue = structures.long() // 256 - 1
    means = []
    for k in range(3):
        inside = (tissue == k).to(scan.dtype)
        means.append((scan * inside).sum((1, 2, 3, 4)) / inside.sum((1, 2, 3, 4)).clamp_min(1))
    return torch.stack(means, dim=1)


def bend(scan: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """A scan through the piecewise linear map of tissue means ``before`` to ``after``.

    ``scan (N, 1, D, H, W)``, means ``(N, 3)``. The two outer pieces are continued by 0.3 of their length; beyond, the map is
    flat.
    """
    order = before.argsort(dim=1)
    shape = (-1, 1, 1, 1, 1)
    x0, x1, x2 = (v.view(shape) for v in before.gather(1, order).unbind(1))
    y0, y1, y2 = (v.view(shape) for v in after.gather(1, order).unbind(1))
    low, high = (x1 - x0).clamp_min(1e-3), (x2 - x1).clamp_min(1e-3)
    x = torch.minimum(torch.maximum(scan, x0 - 0.3 * low), x2 + 0.3 * high)
    slope = torch.where(x < x1, (y1 - y0) / low, (y2 - y1) / high)
    return y1 + slope * (x - x1)


def contrast_gain(before: Tensor, after: Tensor) -> Tensor:
    """Factor ``(N, 3)`` by which the contrast of tissues with means ``(N, 3)`` grows.

    Of GM to CSF for CSF, of WM to GM for both of them; between -3 and 3.
    """

    def ratio(high: int, low: int) -> Tensor:
        difference = before[:, high] - before[:, low]
        safe = torch.where(difference.abs() < 1e-3, 1e-3, difference)
        return ((after[:, high] - after[:, low]) / safe).clamp(-3, 3)

    return torch.stack([ratio(1, 0), ratio(2, 1), ratio(2, 1)], dim=1)


def per_tissue(values: Tensor) -> Tensor:
    """``(N, 3)`` to a ``(N, codes)`` table: every structure has its tissue's value."""
    outside = torch.zeros_like(values[:, :1])
    return torch.cat([outside, values], dim=1).repeat_interleave(256, dim=1)


def look_up(table: Tensor, structures: Tensor) -> Tensor:
    """``table (N, codes)`` at the structures ``(N, 1, D, H, W)`` of the same sample."""
    return table.gather(1, structures.flatten(1).long()).view(structures.shape)
