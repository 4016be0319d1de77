"""What a runtime is: something that runs the trained network on one volume."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from dal_fast.models import AnyOutput


class Runtime(Protocol):
    """A resident network on one device."""

    name: str
    device: str

    def run(self, x: Tensor, mask: Tensor) -> AnyOutput:
        """The network's output, on the CPU.

        Args:
            x: ``(1, 1, D, H, W)`` float32 on the CPU, normalised, 0 outside the mask; sides are
                multiples of 16.
            mask: brain mask, bool ``(1, 1, D, H, W)``.
        """
        ...

    def distance(self, head: Tensor) -> Tensor:
        """The output of a brain extraction network, on the CPU: ``(1, 1, D, H, W)``, millimetres.

        Args:
            head: ``(1, 1, D, H, W)`` float32 on the CPU, of the network's own shape, see
                :func:`dal_fast.imaging.head_grid.place_head`.
        """
        ...
