"""The 3D residual autoencoder of Luo et al. 2023, and its variants.

A scan is squeezed through a code that only healthy brains can pass: what the decoder does not give
back is the anomaly. From the authors' code (model.py), where the paper leaves it open:

    x ─ conv 3³, 16 ─ 4 × down: 32, 64, 128, 256 ─ dense 512 ─ dense ─ 4 × up ─ conv 1³ ─ phi

Every convolution is followed by LeakyReLU 0.2 and then batch normalisation; the sum of a block's
two paths, the code and the output are not. The shortcut is a convolution of the same size and
stride, not 1³. Of the variational and spatial variants no code can be found: here the dense layer
gives mean and log variance, or a convolution of 1³ takes its place.
"""

from __future__ import annotations

import itertools
import math
from typing import Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt
from torch import Tensor, nn

from dal_fast.errors import InputError

_SLOPE = 0.2


class AutoencoderConfig(BaseModel):
    """What an autoencoder is made of; the default is Luo's.

    Attributes:
        code: ``"dense"``, a vector; ``"spatial"``, a small volume; ``"variational"``, a vector that
            is drawn around its mean while training.
        shape: (D, H, W) of what it sees, multiples of 2 to the power of the levels below the first.
        voxel_mm: edge of the isotropic grid that it is trained on.
        widths: channels by level, finest first.
        length: of the code; channels of a spatial one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: Literal["dense", "spatial", "variational"] = "dense"
    shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (160, 192, 96)
    voxel_mm: PositiveFloat = 1.0
    widths: tuple[PositiveInt, ...] = (16, 32, 64, 128, 256)
    length: PositiveInt = 512


class Reconstruction(NamedTuple):
    """What an autoencoder makes of a batch.

    Attributes:
        pseudo_healthy: phi, ``(N, 1, D, H, W)``.
        mean, log_variance: of the code; the log variance is ``None`` unless it is variational.
    """

    pseudo_healthy: Tensor
    mean: Tensor
    log_variance: Tensor | None


class Autoencoder(nn.Module):
    """Luo's network.

    Args:
        config: see :class:`AutoencoderConfig`.

    Raises:
        InputError: ``value`` for a shape that cannot be halved at every level.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        widths, stride = config.widths, 2 ** (len(config.widths) - 1)
        if any(side % stride for side in config.shape):
            raise InputError("value", f"sides of {config.shape} must be multiples of {stride}")
        levels = list(itertools.pairwise(widths))
        self.down = nn.Sequential(_same(1, widths[0]), *(_Down(a, b) for a, b in levels))
        self._small = (widths[-1], *(side // stride for side in config.shape))
        flat, codes = math.prod(self._small), 2 if config.code == "variational" else 1
        self.to_code: nn.Module
        self.from_code: nn.Module
        if config.code == "spatial":
            self.to_code = nn.Conv3d(widths[-1], config.length, 1)
            self.from_code = nn.Conv3d(config.length, widths[-1], 1)
        else:
            self.to_code = nn.Sequential(nn.Flatten(), nn.Linear(flat, codes * config.length))
            self.from_code = nn.Linear(config.length, flat)
        self.up = nn.Sequential(
            *(_Up(b, a) for a, b in reversed(levels)), nn.Conv3d(widths[0], 1, 1)
        )

    def forward(self, x: Tensor) -> Reconstruction:
        """From scans to what healthy ones would look like.

        Args:
            x: ``(N, 1, *config.shape)``, normalised, 0 outside the brain.
        """
        if tuple(x.shape[1:]) != (1, *self.config.shape):
            raise InputError(
                "shape", f"x must be (N, 1, *{self.config.shape}), not {tuple(x.shape)}"
            )
        code, log_variance = self.to_code(self.down(x)), None
        mean = code
        if self.config.code == "variational":
            mean, log_variance = code.chunk(2, dim=1)
            code = mean
            if self.training:
                code = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        small = self.from_code(code).view(-1, *self._small)
        return Reconstruction(self.up(small), mean, log_variance)


def _same(channels: int, out: int) -> nn.Sequential:
    return _normed(nn.Conv3d(channels, out, 3, padding=1), out)


def _normed(convolution: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(convolution, nn.LeakyReLU(_SLOPE), nn.BatchNorm3d(channels))


class _Down(nn.Module):
    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        halved = (_normed(nn.Conv3d(channels, out, 3, 2, 1), out) for _ in range(2))
        self.main = nn.Sequential(_same(channels, channels), next(halved))
        self.shortcut = next(halved)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.main(x) + self.shortcut(x)
        return result


class _Up(nn.Module):
    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        doubled = (_normed(nn.ConvTranspose3d(channels, out, 4, 2, 1), out) for _ in range(2))
        self.main = nn.Sequential(next(doubled), _same(out, out))
        self.shortcut = next(doubled)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.main(x) + self.shortcut(x)
        return result
