"""The small networks of DAL that are no U-Nets: modality encoder and decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dal_fast.imaging.normalise import CEILING
from dal_fast.models.blocks import SLOPE, FiLMBlock


class ModalityEncoder(nn.Module):
    """E_M: a scan to its non-spatial modality vector v ``(N, length)``.

    The paper: a vector without spatial axes. Ours ("not specified in the paper"): four strided
    convolutions, the mean over the brain, a linear layer; no normalisation layers, which would
    remove the very contrast that v is to hold. Without them, weights must start at He's variance:
    under torch's own the first v of two contrasts differ by 0.001, and training hardly finds v. A
    tanh bounds v; without it a rate of 3e-3 lets v grow until R_D listens to nothing else.
    """

    def __init__(self, length: int, widths: tuple[int, ...] = (8, 16, 32, 32)) -> None:
        super().__init__()
        pairs = zip((1, *widths[:-1]), widths, strict=True)
        self.convs = nn.ModuleList(nn.Conv3d(a, b, 3, stride=2, padding=1) for a, b in pairs)
        self.linear = nn.Linear(widths[-1], length)
        for conv in self.convs:
            nn.init.kaiming_normal_(conv.weight, SLOPE)  # type: ignore[arg-type]
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        weight = mask.to(x.dtype)
        for conv in self.convs:
            x = F.leaky_relu(conv(x), SLOPE)
            weight = F.avg_pool3d(
                F.pad(weight, (1,) * 6), 3, stride=2
            )  # what the convolution covers
        mean = (x * weight).sum((2, 3, 4)) / weight.sum((2, 3, 4)).clamp_min(1e-6)
        v: Tensor = self.linear(mean).tanh()
        return v


class Decoder(nn.Module):
    """R_D: anatomical code and modality vector to the image, ``(N, 1, D, H, W)`` in [0, 1].

    The paper: recombines the two. Ours ("not specified in the paper"): four FiLM blocks, a 1x1x1
    convolution, a sigmoid times the ceiling of normalised scans, zero outside the mask.
    """

    def __init__(self, channels: int, length: int, width: int) -> None:
        super().__init__()
        inputs = (channels, width, width, width)
        self.blocks = nn.ModuleList(FiLMBlock(n, width, length) for n in inputs)
        self.head = nn.Conv3d(width, 1, 1)

    def forward(self, code: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        for block in self.blocks:
            code = block(code, v)
        return CEILING * torch.sigmoid(self.head(code)) * mask
