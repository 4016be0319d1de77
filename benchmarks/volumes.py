"""The inputs: a synthetic brain, the same for every op, peer and machine."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from dal_fast.ops import LEVELS

SEED = 20260101


@dataclass(frozen=True)
class Volumes:
    """Everything is ``(1, C, D, H, W)``, float32 or bool, contiguous.

    Attributes:
        scan: noisy brain with a bright lesion, 0 outside the mask.
        healthy: the same brain without lesion and with other noise.
        anatomy: three grey levels, 0 outside the mask.
        logits: three tissue classes.
        mask: the brain, an ellipsoid.
        lesion: a ball of a tenth of the brain's radius.
        score: non-negative anomaly score of a faint lesion, noise outside the mask too.
        anomaly: signed difference of two noisy brains, smoothed over about a voxel, with a faint
            lesion; positive in half of the brain and 0 outside, as anomaly maps are.
        blobs: the highest twentieth of the smooth noise, many components.
    """

    scan: Tensor
    healthy: Tensor
    anatomy: Tensor
    logits: Tensor
    mask: Tensor
    lesion: Tensor
    score: Tensor
    anomaly: Tensor
    blobs: Tensor

    def batched(self, n: int, device: str) -> Volumes:
        """``n`` copies on ``device``, each tensor contiguous."""

        def repeat(t: Tensor) -> Tensor:
            return t.to(device).expand(n, *t.shape[1:]).contiguous()

        return Volumes(**{f.name: repeat(getattr(self, f.name)) for f in fields(self)})


def brain(shape: tuple[int, int, int]) -> Volumes:
    """A brain-like ellipsoid: tissue levels from smooth noise and depth, noise of 0.02 on top."""
    g = torch.Generator().manual_seed(SEED)
    z, y, x = torch.meshgrid(*(torch.linspace(-1, 1, s) for s in shape), indexing="ij")
    radius = ((x / 0.85) ** 2 + (y / 0.92) ** 2 + (z / 0.85) ** 2).sqrt()[None, None]
    mask = radius < 1
    tissue = 1.5 - 1.6 * radius + 0.5 * _smooth_noise(shape, 8, g)  # white matter lies deep
    c = torch.tensor(LEVELS).view(1, 3, 1, 1, 1)
    centres = torch.tensor([0.0, 0.5, 1.0]).view(1, 3, 1, 1, 1)
    logits = -((tissue - centres) ** 2) / 0.05
    anatomy = (c.flatten()[logits.argmax(1, keepdim=True)] * mask).contiguous()
    lesion = ((x - 0.3) ** 2 + (y + 0.2) ** 2 + (z - 0.1) ** 2).sqrt()[None, None] < 0.1
    clean = anatomy + 0.02 * torch.randn(1, 1, *shape, generator=g)
    other = anatomy + 0.02 * torch.randn(1, 1, *shape, generator=g)
    scan, healthy = (clean + 0.25 * lesion) * mask, other * mask
    difference = clean + 0.06 * lesion - other
    smoothed = F.avg_pool3d(F.avg_pool3d(difference, 3, 1, 1), 3, 1, 1)
    fine = _smooth_noise(shape, 3, g)
    sample = fine.flatten()[:: max(1, fine.numel() // 100_000)]
    return Volumes(
        scan=scan,
        healthy=healthy,
        anatomy=anatomy,
        logits=logits.contiguous(),
        mask=mask,
        lesion=lesion & mask,
        score=difference.abs(),
        anomaly=smoothed * mask,
        blobs=(fine > sample.quantile(0.95)) & mask,
    )


def _smooth_noise(shape: tuple[int, int, int], scale: int, g: torch.Generator) -> Tensor:
    """Unit-variance noise that varies over about ``scale`` voxels, ``(1, 1, D, H, W)``."""
    coarse = torch.randn(1, 1, *(max(2, s // scale) for s in shape), generator=g)
    fine = F.interpolate(coarse, size=shape, mode="trilinear", align_corners=True)
    return fine / fine.std()
