"""What a runtime is: something that runs the trained network on one volume."""

from __future__ import annotations

import torch
from torch import Tensor

from dal_fast.models import AnyOutput, Trainable
from dal_fast.screening.runtimes.precision import full_precision


class Runtime:
    """A resident network on one device.

    Attributes:
        name: of the engine.
        device: that it runs on.
        model: on that device, its networks replaced where an engine runs them.
    """

    name: str
    device: str
    model: Trainable

    @torch.inference_mode()
    def run(self, x: Tensor, mask: Tensor) -> AnyOutput:
        """The network's output, on the CPU.

        Args:
            x: ``(1, 1, D, H, W)`` float32 on the CPU, normalised, 0 outside the mask; sides are
                multiples of 16.
            mask: brain mask, bool ``(1, 1, D, H, W)``.
        """
        with full_precision():
            output = self.model(x.to(self.device), mask.to(self.device))
        return output.map(torch.Tensor.cpu)

    @torch.inference_mode()
    def distance(self, head: Tensor) -> Tensor:
        """The output of a brain extraction network, on the CPU: ``(1, 1, D, H, W)``, millimetres.

        Args:
            head: ``(1, 1, D, H, W)`` float32 on the CPU, of the network's own shape, see
                :func:`dal_fast.imaging.head_grid.place_head`.
        """
        with full_precision():
            distance: Tensor = self.model(head.to(self.device))
        return distance.cpu()
