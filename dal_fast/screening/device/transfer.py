"""Batches on their way to a GPU and back, on streams of their own, while it works on another.

One batch goes up, one is computed and one comes home at the same time: copies run on engines of
their own, and the stream that computes waits only for the batch that it is about to take. All of it
is enqueued without waiting; :meth:`Arriving.wait` is the only place where the host waits. The
stream that computes is one for all threads, whichever is current in them: they share the memory
that a CUDA graph reads and writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dal_fast.screening.device.chain import Outputs
from dal_fast.screening.device.plan import Inputs, tree


@dataclass(frozen=True, eq=False)
class Arriving:
    """Outputs in pinned memory, which are there once ``done`` has happened.

    Attributes:
        outputs: of a batch.
        done: a CUDA event; None for outputs that are there already.
    """

    outputs: Outputs
    done: Any = None

    def wait(self) -> Outputs:
        """The outputs, once they have arrived."""
        if self.done is not None:
            self.done.synchronize()
        return self.outputs


class Transfers:
    """The streams of one GPU, one that computes and two that copy.

    Args:
        device: a CUDA device; what its current stream was told before, is waited for.

    Attributes:
        computing: to be made the current stream while anything else here is called.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.computing: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.computing.wait_stream(torch.cuda.current_stream(device))
        self._up: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._down: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def upload(self, inputs: Inputs) -> Inputs:
        """Inputs in pinned memory as the stream that computes may use them from now on."""
        with torch.cuda.stream(self._up):
            here: Inputs = tree(lambda t: t.to(self._device, non_blocking=True), inputs)
        self.computing.wait_stream(self._up)
        tree(lambda t: t.record_stream(self.computing), here)  # not given away before it was read
        return here

    def download(self, outputs: Outputs) -> Arriving:
        """What the stream that computes has been told to make, on its way to pinned memory.

        The outputs of a CUDA graph are overwritten by its next run, so they are copied first: on
        the device that takes a twentieth of the way home.
        """
        kept = tree(torch.clone, outputs)
        self._down.wait_stream(self.computing)
        with torch.cuda.stream(self._down):
            home = tree(_fetched, kept)
            done = self._down.record_event()
        tree(lambda t: t.record_stream(self._down), kept)
        return Arriving(home, done)


def _fetched(tensor: Tensor) -> Tensor:
    """On its way to pinned memory on the host."""
    home = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return home.copy_(tensor, non_blocking=True)
