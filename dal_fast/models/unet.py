"""A small 3D U-Net."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dal_fast.errors import Code, InputError
from dal_fast.models.blocks import ConvBlock


class UNet(nn.Module):
    """``(N, inputs, D, H, W)`` to ``(N, outputs, D, H, W)``; D, H, W are multiples of ``stride``.

    One :class:`ConvBlock` a level on either side, stride-2 convolutions down. Upwards the channels
    shrink by a 1x1x1 convolution *before* the trilinear interpolation: the two commute, and an
    eighth of the voxels costs an eighth.

    Args:
        inputs, outputs: channels in and out.
        widths: channels of each level, finest first.
        patch: 1, or 2: a strided convolution in front and a transposed one at the end, so that
            the finest level has an eighth of the voxels, and more channels for the same time.
    """

    def __init__(self, inputs: int, outputs: int, widths: Sequence[int], patch: int = 1) -> None:
        super().__init__()
        pairs = list(itertools.pairwise(widths))
        finest = widths[0]
        self.stride = patch * 2 ** len(pairs)
        coarse_grid = patch > 1
        self.fold = nn.Conv3d(inputs, finest, patch, patch) if coarse_grid else nn.Identity()
        self.stem = ConvBlock(finest if coarse_grid else inputs, finest)
        self.down = nn.ModuleList(ConvBlock(fine, coarse, stride=2) for fine, coarse in pairs)
        self.shrink = nn.ModuleList(nn.Conv3d(coarse, fine, 1) for fine, coarse in reversed(pairs))
        self.up = nn.ModuleList(ConvBlock(2 * fine, fine) for fine, _ in reversed(pairs))
        unfold = nn.ConvTranspose3d(finest, outputs, patch, patch)
        self.head = unfold if coarse_grid else nn.Conv3d(finest, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        if any(size % self.stride for size in x.shape[2:]):
            raise InputError(
                Code.SHAPE, f"sides {tuple(x.shape[2:])} are not all multiples of {self.stride}"
            )
        x = self.stem(self.fold(x))
        skips = []
        for block in self.down:
            skips.append(x)
            x = block(x)
        for shrink, block, skip in zip(self.shrink, self.up, reversed(skips), strict=True):
            x = F.interpolate(shrink(x), scale_factor=2, mode="trilinear", align_corners=False)
            x = block(torch.cat([x, skip], dim=1))
        outputs: Tensor = self.head(x)
        return outputs
