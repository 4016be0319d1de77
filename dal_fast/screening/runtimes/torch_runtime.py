"""Eager torch, on the CPU or a GPU."""

from __future__ import annotations

import torch

from dal_fast.errors import Code, RuntimeUnavailable
from dal_fast.extras import isolate
from dal_fast.models import Trainable
from dal_fast.screening.runtimes.base import Runtime


class TorchRuntime(Runtime):
    """Runs the model as it is, without a build step.

    Args:
        model: put into evaluation mode and moved to ``device``.
        device: ``"auto"`` (a GPU where torch sees one, else the CPU) or a torch device.

    Raises:
        RuntimeUnavailable: ``device-unavailable``.
    """

    name = "torch"

    def __init__(self, model: Trainable, device: str = "auto") -> None:
        self.device = choose_device(device)
        # channels last: a fifth faster on a CPU
        self.model = model.eval().to(  # type: ignore[call-overload]
            self.device, memory_format=torch.channels_last_3d
        )


def choose_device(device: str) -> str:
    """``device`` itself, or what ``"auto"`` means here.

    Raises:
        RuntimeUnavailable: ``device-unavailable``.
    """
    if torch.version.cuda is not None:
        isolate("cuda")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise RuntimeUnavailable(
            Code.DEVICE_UNAVAILABLE, f"there is no device {device!r}; choose auto, cpu or cuda"
        ) from None
    if kind not in ("cpu", "cuda"):
        raise RuntimeUnavailable(
            Code.DEVICE_UNAVAILABLE, f"device {device!r} is not supported: cpu or cuda"
        )
    if kind == "cuda" and not torch.cuda.is_available():
        raise RuntimeUnavailable(
            Code.DEVICE_UNAVAILABLE,
            "device 'cuda': torch sees no CUDA device; choose cpu, or install a torch for CUDA",
        )
    index = torch.device(device).index
    if kind == "cuda" and index is not None and index >= torch.cuda.device_count():
        raise RuntimeUnavailable(
            Code.DEVICE_UNAVAILABLE,
            f"device {device!r}: torch sees {torch.cuda.device_count()} CUDA devices",
        )
    return device
