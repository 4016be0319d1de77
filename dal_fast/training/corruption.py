"""Corrupted edges: R_E must not believe every edge, because lesions draw edges too.

Pieces of the true edges are dropped and the outlines of random blobs are added, while the target
stays healthy. Not in the paper.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from dal_fast.synthesis.fields import chance, smooth_field, uniform

_DROPPED = (0.05, 0.35)  # share of the brain in which edges are dropped
_MOST_BLOBS = 6
_RADIUS = (2.0, 14.0)  # of a blob, voxels
_NODES = 10  # control points of the fields that choose what is dropped and shape the blobs


def draw_corruption(mask: Tensor, share: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """Where edges are kept, and the edges that are added.

    Args:
        mask: brain, bool ``(N, 1, D, H, W)``.
        share: of the samples that are corrupted, 0 to 1.
        generator: of all random numbers.

    Returns:
        Two bool tensors of the mask's shape: all true and all false for a sample that is not
        corrupted. The corrupted edges are ``(edges & kept) | added``.
    """
    kept, added = torch.ones_like(mask), torch.zeros_like(mask)
    if share:
        for n in chance(len(mask), share, generator).nonzero().flatten().tolist():
            kept[n, 0] = _kept(mask[n, 0], generator)
            added[n, 0] = _blob_outlines(mask[n, 0], generator)
    return kept, added


def _kept(mask: Tensor, generator: Generator) -> Tensor:
    """All but the places where a smooth field is lowest inside the mask ``(D, H, W)``."""
    field = smooth_field(1, 1, mask.shape, _NODES, generator)[0, 0]
    quantile = float(uniform((), *_DROPPED, generator))
    return field > field[mask].quantile(quantile) if bool(mask.any()) else field > field


def _blob_outlines(mask: Tensor, generator: Generator) -> Tensor:
    """Borders of a few noisy balls inside the brain, one voxel thick."""
    places = mask.nonzero()
    device = generator.device
    count = int(torch.randint(1, _MOST_BLOBS + 1, (), generator=generator, device=device))
    depth = torch.full(mask.shape, -torch.inf, device=device)
    axes = [torch.arange(side, device=device, dtype=torch.float32) for side in mask.shape]
    low, high = (torch.tensor(r).log().item() for r in _RADIUS)
    rough = 0.3 * smooth_field(1, 1, mask.shape, _NODES, generator)[0, 0]
    for _ in range(count if len(places) else 0):
        pick = torch.randint(len(places), (), generator=generator, device=device)
        offsets = [a - c for a, c in zip(axes, places[pick], strict=True)]
        square = sum(
            o.square().view([-1 if i == a else 1 for i in range(3)]) for a, o in enumerate(offsets)
        )
        radius = uniform((), low, high, generator).exp()
        depth = torch.maximum(depth, 1 - torch.as_tensor(square).sqrt() / radius + rough)
    blob = ((depth > 0) & mask)[None, None].float()
    shrunk = -F.max_pool3d(-blob, 3, stride=1, padding=1)
    return (blob - shrunk)[0, 0] > 0
