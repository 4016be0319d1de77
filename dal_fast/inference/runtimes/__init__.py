"""Engines that run the trained network, behind one small protocol."""

from __future__ import annotations

from importlib.util import find_spec

from dal_fast.errors import InputError
from dal_fast.inference.runtimes.base import Runtime
from dal_fast.inference.runtimes.torch_runtime import TorchRuntime, choose_device
from dal_fast.models import DAL

RUNTIMES = ("torch", "openvino", "onnx")
_NEEDS = {"openvino": ("openvino",), "onnx": ("onnxruntime", "onnxscript")}

__all__ = ["RUNTIMES", "Runtime", "TorchRuntime", "make_runtime"]


def make_runtime(name: str, model: DAL, device: str) -> Runtime:
    """The runtime called ``name``; ``"auto"`` is torch.

    Raises:
        InputError: ``runtime-unavailable``, ``device-unavailable``, ``engine-parity``.
    """
    if name not in ("auto", *RUNTIMES):
        raise InputError(
            "runtime-unavailable",
            f"there is no runtime {name!r}; choose auto, {', '.join(RUNTIMES)}",
        )
    device = choose_device(device)
    if name in ("auto", "torch"):
        return TorchRuntime(model, device)
    if not _installed(name):
        raise InputError(
            "runtime-unavailable",
            f"runtime {name!r} is not installed: pip install 'dal_fast[{name}]', "
            "or choose --runtime torch",
        )
    if device != "cpu":
        raise InputError("device-unavailable", f"runtime {name!r} runs on the CPU only")
    if name == "openvino":
        from dal_fast.inference.runtimes.openvino_runtime import openvino_runtime

        return openvino_runtime(model)
    from dal_fast.inference.runtimes.onnx_runtime import onnx_runtime

    return onnx_runtime(model)


def _installed(name: str) -> bool:
    return all(find_spec(module) is not None for module in _NEEDS[name])
