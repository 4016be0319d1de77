"""Corrupted edges: R_E must not believe every edge, for lesions draw edges too.

Pieces of the true edges are dropped and the outlines of random blobs are added, while the target
stays healthy. Not in the paper.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from dal_fast.synthesis.fields import chance, smooth_field, uniform

_DROPPED = (0.05, 0.35)  # share of the brain whose edges go
_BLOBS = 6  # at the most
_RADIUS = (2.0, 14.0)  # voxels
_NODES = 10  # of the fields that choose what goes and how a blob is shaped


def corrupt_edges(edges: Tensor, mask: Tensor, share: float, generator: Generator) -> Tensor:
    """``edges`` bool ``(N, 1, D, H, W)``, corrupted in a ``share`` of the samples."""
    if not share:
        return edges
    out = edges.clone()
    for n in chance(len(edges), share, generator).nonzero().flatten().tolist():
        out[n, 0] = _corrupt(edges[n, 0], mask[n, 0], generator)
    return out


def _corrupt(edges: Tensor, mask: Tensor, generator: Generator) -> Tensor:
    """Edges of one sample ``(D, H, W)``."""
    field = smooth_field(1, 1, edges.shape, _NODES, generator)[0, 0]
    quantile = float(uniform((), *_DROPPED, generator))
    kept = field > field[mask].quantile(quantile) if bool(mask.any()) else field > field
    return (edges & kept) | _outlines(mask, generator)


def _outlines(mask: Tensor, generator: Generator) -> Tensor:
    """Borders of a few noisy balls inside the brain, one voxel thick."""
    places = mask.nonzero()
    device = generator.device
    count = int(torch.randint(1, _BLOBS + 1, (), generator=generator, device=device))
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
