"""The brain extraction network: from a whole head to the distance from the brain's border."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt
from torch import Tensor

from dal_fast.errors import Code, InputError
from dal_fast.models.model import Model
from dal_fast.models.unet import UNet

PARTS = ("extractor",)


class BrainNetConfig(BaseModel):
    """What a brain extraction network is made of. All of it is ours ("not in the paper").

    Attributes:
        kind: of the model.
        voxel_mm: edge of the isotropic grid that the network works on.
        shape: (D, H, W) of the volume that it sees, multiples of the U-Net's stride.
        reach_mm: where the distance that it learns is cut off, on either side of the border.
        widths: channels by level, finest first.
        patch: 1, or 2: the U-Net works on patches of 2x2x2 voxels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["brain"] = "brain"
    voxel_mm: PositiveFloat = 2.5
    shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (80, 96, 96)
    reach_mm: PositiveFloat = 10.0
    widths: tuple[PositiveInt, ...] = (16, 32, 64, 96)
    patch: Literal[1, 2] = 2


class BrainNet(Model):
    """Tells for every voxel of a head how far inside the brain it lies.

    Args:
        config: see :class:`BrainNetConfig`.
        parts: to build, of ``PARTS``; default all.

    Raises:
        InputError: ``value`` for a shape that cannot be halved at every level.
    """

    def __init__(self, config: BrainNetConfig, parts: Sequence[str] | None = None) -> None:
        super().__init__(PARTS if parts is None else parts)
        self.config = config
        stride = config.patch * 2 ** (len(config.widths) - 1)
        if any(side % stride for side in config.shape):
            raise InputError(Code.VALUE, f"sides of {config.shape} must be multiples of {stride}")
        for name in self.parts:
            self.add_module(name, UNet(1, 1, config.widths, config.patch))

    def space_for(self, sides: Sequence[int]) -> tuple[int, ...]:
        return self.config.shape

    def forward(self, x: Tensor) -> Tensor:
        """From a head to a distance.

        Args:
            x: ``(N, 1, D, H, W)`` float32 of :func:`dal_fast.imaging.head_grid.place_head`.

        Returns:
            ``(N, 1, D, H, W)`` float32, signed distance to the brain's border in millimetres,
            positive inside; trained to be cut off at ``reach_mm`` on either side, which it may
            exceed a little.
        """
        distance: Tensor = self.part("extractor")(x).float() * self.config.reach_mm
        return distance
