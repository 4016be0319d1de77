"""A head on residual evidence: how probable it is that a voxel is abnormal.

It sees what the frozen tissue network and the pseudo-healthy image phi make of a scan, not the scan
alone, so that what it learns on synthetic lesions carries over to real ones:

    2 x - 1, 2 (x - phi)                 the scan and its residual r
    max(x - hi, 0) / (4 sigma)           brighter than phi anywhere nearby, in usual spreads
    max(lo - x, 0) / (4 sigma)           darker, likewise; both are cut off at 8 spreads
    fluid, p_GM, p_WM                    tissue
    2 r', 2 x' - 1                       residual and scan of the other hemisphere
    1 - SSIM(x, phi)                     structure, over windows of 7^3
    the mask

hi and lo are phi's range in the 3x3x3 neighbourhood, sigma the residual's usual spread in the
tissue (:mod:`dal_fast.models.residuals`); primed volumes are mirrored in the brain's bounding box.
A small U-Net on patches of 2x2x2 voxels makes of them a bias b and two gains a voxel, and

    logit = b + g_bright bright + g_dark dark

with the two channels of the second and third line, so that what a lesion of a few voxels looks like
does not pass through the patches. Not in the paper.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dal_fast.models import fixed
from dal_fast.models.residuals import highest_nearby, usual_spread
from dal_fast.models.unet import UNet
from dal_fast.ops import _map_stages as stages
from dal_fast.ops import ssim3d
from dal_fast.ops._image_stages import served

CHANNELS = 11
PATCH = 2
_WINDOW = 7  # voxels, of the structural similarity
_MOST = 8.0  # spreads
_BRIGHT, _DARK = slice(2, 3), slice(3, 4)  # channels
_FIRST = (-3.0, 1.0, 1.0)  # bias and gains of a fresh head


class ResidualHead(nn.Module):
    """``(N, CHANNELS, D, H, W)`` of :func:`residual_evidence` to logits, ``(N, 1, D, H, W)``.

    A fresh one takes nearly every voxel for normal.

    Args:
        widths: channels of each level of the U-Net, finest first.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.unet = UNet(CHANNELS, len(_FIRST), widths, PATCH)
        with torch.no_grad():
            self.unet.head.weight[:, 1:] = 0  # type: ignore[index,operator]
            self.unet.head.bias.copy_(torch.tensor(_FIRST))  # type: ignore[operator,union-attr]

    def forward(self, evidence: Tensor) -> Tensor:
        bias, bright, dark = self.unet(evidence).split(1, dim=1)
        return bias + bright * evidence[:, _BRIGHT] + dark * evidence[:, _DARK]  # type: ignore[no-any-return]


def residual_evidence(x: Tensor, phi: Tensor, p: Tensor, fluid: Tensor, mask: Tensor) -> Tensor:
    """What the head sees, ``(N, CHANNELS, D, H, W)``, 0 outside the mask.

    Args:
        x: normalised scan in [0, 1], ``(N, 1, D, H, W)``.
        phi: pseudo-healthy image, the same shape.
        p: probabilities of CSF, GM and WM, ``(N, 3, D, H, W)``, 0 outside the mask.
        fluid: how probable fluid is, ``(N, 1, D, H, W)``.
        mask: brain, bool ``(N, 1, D, H, W)``.
    """
    spread = usual_spread(x, phi, p, mask & (x > 0))
    if served(x, phi, p, fluid, mask):
        return stages.residual_evidence(x, phi, p, fluid, mask, spread)
    inside, unit = mask.to(x.dtype), 4 * spread
    bright = ((x - highest_nearby(phi, mask)) / unit).clamp(0, _MOST / 4)
    dark = ((-highest_nearby(-phi, mask) - x) / unit).clamp(0, _MOST / 4)
    level, residual = 2 * x - 1, 2 * (x - phi)
    structure = 1 - ssim3d(x, phi, _WINDOW, kind="uniform", reduction="none")
    other = fixed.mirrored(torch.cat([residual, level], dim=1), mask[:, 0])
    own = [level, residual, bright, dark, fluid, p[:, 1:], other, structure]
    return torch.cat([torch.cat(own, dim=1) * inside, inside], dim=1)


def abnormal_probability(logit: Tensor, mask: Tensor) -> Tensor:
    """h, how probable an abnormal voxel is, ``(N, 1, D, H, W)``, 0 outside the mask.

    Args:
        logit: of :class:`ResidualHead`, ``(N, 1, D, H, W)``.
        mask: brain, bool, the same shape.
    """
    if served(logit, mask):
        return stages.abnormal_probability(logit, mask)
    return logit.sigmoid() * mask
