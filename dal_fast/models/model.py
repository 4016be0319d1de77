"""What every model of this package is: named networks, and a grid that it works on."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence

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


def brain_pads(mask: Tensor, space_for: Callable[[Sequence[int]], Sequence[int]]) -> list[int]:
    """Paddings for ``F.pad`` that leave a volume with the brain in its middle.

    Negative paddings crop, and the negated list restores the grid. Of an odd number of voxels
    around the brain, one more comes after it than before it. All brains of a batch share one box.

    Args:
        mask: brain, bool ``(N, 1, D, H, W)``.
        space_for: sides of the volume, given those of the brain's bounding box.

    Raises:
        InputError: ``mask-empty``.
    """
    whole = mask.flatten(0, 1).any(dim=0)
    if not bool(whole.any()):
        raise InputError(Code.MASK_EMPTY, f"the mask {tuple(mask.shape)} holds no voxel")
    box = bounding_box(whole)
    space = space_for([side.stop - side.start for side in box])
    pads: list[int] = []
    for side, size, wanted in zip(
        reversed(box), reversed(mask.shape[2:]), reversed(space), strict=True
    ):
        around = wanted - (side.stop - side.start)
        before = around // 2
        pads += [before - side.start, around - before - (size - side.stop)]
    return pads
