"""Engines that run the trained network, behind one small protocol."""

from __future__ import annotations

from dal_fast.errors import InputError
from dal_fast.inference.runtimes.base import Runtime
from dal_fast.inference.runtimes.torch_runtime import TorchRuntime
from dal_fast.models import DAL

RUNTIMES = ("torch",)

__all__ = ["RUNTIMES", "Runtime", "TorchRuntime", "make_runtime"]


def make_runtime(name: str, model: DAL, device: str) -> Runtime:
    """The runtime called ``name``; ``"auto"`` takes the fastest that is available.

    Raises:
        InputError: ``runtime-unavailable``, ``device-unavailable``.
    """
    if name not in ("auto", *RUNTIMES):
        raise InputError(
            "runtime-unavailable",
            f"runtime {name!r} is not available in this version of dal_fast; "
            f"choose auto or {', '.join(RUNTIMES)}",
        )
    return TorchRuntime(model, device)
