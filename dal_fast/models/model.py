"""What every model of this package is: named networks, and a grid that it works on."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from dal_fast.errors import Code, InputError
from dal_fast.imaging.morphology import bounding_box


class Model(nn.Module):
    """Networks by name; a weight file may hold some of them.

    Args:
        parts: names of the networks that the model is built with.
    """

    def __init__(self, parts: Sequence[str]) -> None:
        super().__init__()
        self.parts = tuple(parts)

    def part(self, name: str) -> nn.Module:
        """A network by name.

        Raises:
            InputError: ``weights-part`` when this model was built or loaded without it.
        """
        if name not in self.parts:
            held = ", ".join(self.parts)
            raise InputError(
                Code.WEIGHTS_PART,
                f"the network {name!r} is not part of this model, which has {held}",
            )
        return self.get_submodule(name)

    @abstractmethod
    def space_for(self, sides: Sequence[int]) -> tuple[int, ...]:
        """Sides of the volume that the networks see of a brain with these sides."""


def batch_box(mask: Tensor) -> tuple[slice, ...]:
    """Of all brains of a batch ``(N, 1, D, H, W)``, one box.

    Raises:
        InputError: ``mask-empty``.
    """
    whole = mask.flatten(0, 1).any(dim=0)
    if not bool(whole.any()):
        raise InputError(Code.MASK_EMPTY, f"the mask {tuple(mask.shape)} holds no voxel")
    return bounding_box(whole)
