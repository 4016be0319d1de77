"""Baselines that restore a brain from a code: Luo et al. 2023, its variants, and f-AnoGAN.

A scan is squeezed through a code that only healthy brains can pass: what the decoder does not give
back is the anomaly.

    x ─ conv 3³, 16 ─ 4 × down: 32, 64, 128, 256 ─ dense 512 ─ dense ─ 4 × up ─ conv 1³ ─ phi
    └──────────────── encoder ─────────────────────────────┘ └─────────── decoder ───────────┘

From the authors' code (model.py), where the paper leaves it open: every convolution is followed by
LeakyReLU 0.2 and then batch normalisation; the sum of a block's two paths, the code and the output
are not. The shortcut is a convolution of the same size and stride, not 1³. Of the variational and
spatial variants no code can be found: here the dense layer gives mean and log variance, or a
convolution of 1³ takes its place.

``"adversarial"`` is f-AnoGAN (Schlegl et al. 2019) in 3D: the decoder is the generator of a
Wasserstein GAN, and the encoder is fitted to it afterwards. From the authors' code: a code of 128
that is drawn from the normal distribution, tanh at the end of the encoder, a bounded generator,
layer normalisation in the critic. Ours is that the blocks are those of the autoencoder above, so
that both have equal networks; theirs are 2D, for patches of 64².

Scans are normalised as everywhere in this package, median of the brain 0.5; Luo et al. scale by the
volume's smallest and largest value, f-AnoGAN's patches are 8-bit pictures.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt
from torch import Generator, Tensor, nn

from dal_fast.errors import Code, InputError
from dal_fast.imaging.normalise import CEILING
from dal_fast.models.model import Model, brain_pads

PARTS = ("encoder", "decoder", "critic")
"""The critic serves training only."""
NEEDED = PARTS[:2]
"""By inference."""
_SLOPE = 0.2


class AutoencoderConfig(BaseModel):
    """What an autoencoder is made of; the default is Luo's.

    Attributes:
        kind: of the model.
        code: ``"dense"``, a vector; ``"spatial"``, a small volume; ``"variational"``, a vector that
            is drawn around its mean while training; ``"adversarial"``, the code of a GAN.
        contrast: of the scans that it is trained on, and meant for.
        shape: (D, H, W) of what it sees, multiples of 2 to the power of the levels below the first.
        voxel_mm: edge of the isotropic grid that it is trained on.
        widths: channels by level, finest first.
        length: of the code; channels of a spatial one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["autoencoder"] = "autoencoder"
    code: Literal["dense", "spatial", "variational", "adversarial"] = "dense"
    contrast: Literal["T1w", "T2w", "FLAIR"] = "T2w"
    shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (160, 192, 96)
    voxel_mm: PositiveFloat = 1.0
    widths: tuple[PositiveInt, ...] = (16, 32, 64, 128, 256)
    length: PositiveInt = 512


class AutoencoderOutput(NamedTuple):
    """What an autoencoder returns; every volume is on the grid of its input.

    Attributes:
        pseudo_healthy: phi, ``(N, 1, D, H, W)``, 0 outside the field of view.
        field_of_view: the part of the mask inside the volume that the networks see, bool, the same
            shape.
    """

    pseudo_healthy: Tensor
    field_of_view: Tensor

    def map(self, change: Callable[[Tensor], Tensor]) -> AutoencoderOutput:
        """The output with every volume changed alike."""
        return AutoencoderOutput(*map(change, self))


class Autoencoder(Model):
    """Encoder and decoder, and a critic while a GAN is trained.

    Args:
        config: see :class:`AutoencoderConfig`.
        parts: to build, of ``PARTS``; default encoder and decoder.

    Raises:
        InputError: ``value`` for a shape that cannot be halved at every level.
    """

    def __init__(self, config: AutoencoderConfig, parts: Sequence[str] | None = None) -> None:
        super().__init__(NEEDED if parts is None else parts)
        self.config = config
        stride = 2 ** (len(config.widths) - 1)
        if any(side % stride for side in config.shape):
            raise InputError(Code.VALUE, f"sides of {config.shape} must be multiples of {stride}")
        self.small = (config.widths[-1], *(side // stride for side in config.shape))
        build: dict[str, Callable[[], nn.Module]] = {
            "encoder": lambda: _encoder(config, self.small),
            "decoder": lambda: _decoder(config, self.small),
            "critic": lambda: _Critic(config, self.small),
        }
        for name in self.parts:
            self.add_module(name, build[name]())

    def space_for(self, sides: Sequence[int]) -> tuple[int, ...]:
        return self.config.shape

    @property
    def code_shape(self) -> tuple[int, ...]:
        """Of one scan's code, as the decoder takes it."""
        length = self.config.length
        return (length, *self.small[1:]) if self.config.code == "spatial" else (length,)

    def forward(self, x: Tensor, mask: Tensor) -> AutoencoderOutput:
        """From scan to what a healthy one would look like.

        The networks see a volume of ``config.shape`` around the middle of the brain's bounding box.

        Args:
            x: ``(N, 1, D, H, W)`` on a ``config.voxel_mm`` grid, axes right, anterior, superior,
                median of the brain 0.5 (:func:`dal_fast.imaging.normalise.normalise`); cut off at
                1, twice the median.
            mask: brain, bool ``(N, 1, D, H, W)``.
        """
        x = x.clamp_max(CEILING)
        pads = brain_pads(mask, self.space_for)
        back = [-pad for pad in pads]
        field_of_view = F.pad(F.pad(mask, pads), back)
        phi = F.pad(self.restore(F.pad(x * mask, pads)), back)
        return AutoencoderOutput(phi * field_of_view, field_of_view)

    def restore(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Phi of volumes ``(N, 1, *config.shape)``.

        Args:
            x: normalised, 0 outside the brain.
            generator: to draw a variational code; without it the mean is taken.
        """
        mean, log_variance = self.code(x)
        return self.decode(mean if generator is None else drawn(mean, log_variance, generator))

    def code(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Mean and, if it is variational, log variance of the code, ``(N, *code_shape)`` each."""
        code = self.part("encoder")(x)
        if self.config.code != "variational":
            return code, None
        mean, log_variance = code.chunk(2, dim=1)
        return mean, log_variance

    def decode(self, code: Tensor) -> Tensor:
        """``(N, *code_shape)`` to ``(N, 1, *config.shape)``."""
        phi: Tensor = self.part("decoder")(code)
        return phi


def drawn(mean: Tensor, log_variance: Tensor | None, generator: Generator) -> Tensor:
    """A code around its mean; the mean itself unless it is variational."""
    if log_variance is None:
        return mean
    noise = torch.randn(mean.shape, generator=generator, device=mean.device)
    return mean + (0.5 * log_variance).exp() * noise


def _encoder(config: AutoencoderConfig, small: tuple[int, ...]) -> nn.Sequential:
    down = _downward(config.widths, nn.BatchNorm3d)
    if config.code == "spatial":
        return nn.Sequential(*down, nn.Conv3d(small[0], config.length, 1))
    codes = 2 if config.code == "variational" else 1
    dense = nn.Linear(math.prod(small), codes * config.length)
    end = [nn.Tanh()] if config.code == "adversarial" else []
    return nn.Sequential(*down, nn.Flatten(), dense, *end)


def _decoder(config: AutoencoderConfig, small: tuple[int, ...]) -> nn.Sequential:
    start: list[nn.Module] = [nn.Conv3d(config.length, small[0], 1)]
    if config.code != "spatial":
        start = [nn.Linear(config.length, math.prod(small)), nn.Unflatten(1, small)]
    levels = itertools.pairwise(reversed(config.widths))
    end = [nn.Sigmoid()] if config.code == "adversarial" else []
    up = [_Up(a, b) for a, b in levels]
    return nn.Sequential(*start, *up, nn.Conv3d(config.widths[0], 1, 1), *end)


class _Critic(nn.Module):
    """f-AnoGAN's: how real ``(N, 1, D, H, W)`` looks, ``(N,)``, and the features ``(N, F)``."""

    def __init__(self, config: AutoencoderConfig, small: tuple[int, ...]) -> None:
        super().__init__()
        layers = _downward(config.widths, lambda channels: nn.GroupNorm(1, channels))
        self.down = nn.Sequential(*layers, nn.Flatten())
        self.judge = nn.Linear(math.prod(small), 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.down(x)
        return self.judge(features)[:, 0], features


_Norm = Callable[[int], nn.Module]


def _downward(widths: Sequence[int], norm: _Norm) -> list[nn.Module]:
    levels = itertools.pairwise(widths)
    return [_same(1, widths[0], norm), *(_Down(a, b, norm) for a, b in levels)]


def _same(channels: int, out: int, norm: _Norm = nn.BatchNorm3d) -> nn.Sequential:
    return _normed(nn.Conv3d(channels, out, 3, padding=1), out, norm)


def _normed(convolution: nn.Module, channels: int, norm: _Norm = nn.BatchNorm3d) -> nn.Sequential:
    return nn.Sequential(convolution, nn.LeakyReLU(_SLOPE), norm(channels))


class _Down(nn.Module):
    def __init__(self, channels: int, out: int, norm: _Norm) -> None:
        super().__init__()
        halved = (_normed(nn.Conv3d(channels, out, 3, 2, 1), out, norm) for _ in range(2))
        self.main = nn.Sequential(_same(channels, channels, norm), next(halved))
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
