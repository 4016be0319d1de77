"""The convolution blocks that every network here is made of."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.01  # of the leaky rectifier


def instance_norm(channels: int, affine: bool = True) -> nn.Module:
    """Instance normalisation, as a group normalisation with one channel a group.

    The same numbers; torch's own InstanceNorm3d leaves the channels-last layout and costs a third
    of a training step on a CPU.
    """
    return nn.GroupNorm(channels, channels, affine=affine)


class ConvBlock(nn.Module):
    """``(Conv3 - InstanceNorm - LeakyReLU) x 2``; the first convolution may step by two.

    Not specified in the paper. Normalisation statistics are those of one volume, so a scan's
    result does not depend on its neighbours in the batch.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = instance_norm(outputs)
        self.conv2 = nn.Conv3d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = instance_norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.norm1(self.conv1(x)), SLOPE)
        return F.leaky_relu(self.norm2(self.conv2(x)), SLOPE)


class FiLMBlock(nn.Module):
    """``Conv3 - InstanceNorm - FiLM(v) - LeakyReLU``: channel c becomes ``(1 + g_c) x_c + s_c``.

    Scale g and shift s are a linear map of the modality vector v ``(N, code)``, the only way for
    contrast to enter an image that is otherwise made of anatomy. Not specified in the paper.
    """

    def __init__(self, inputs: int, outputs: int, code: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = instance_norm(outputs, affine=False)
        self.film = nn.Linear(code, 2 * outputs)

    def forward(self, x: Tensor, v: Tensor) -> Tensor:
        scale, shift = self.film(v)[:, :, None, None, None].chunk(2, dim=1)
        return F.leaky_relu(self.norm(self.conv(x)) * (1 + scale) + shift, SLOPE)
