"""Engines that run the trained network, behind one small protocol."""

from __future__ import annotations

from importlib.util import find_spec

from dal_fast.errors import Code, RuntimeUnavailable
from dal_fast.models import Trainable
from dal_fast.screening.runtimes.base import Runtime
from dal_fast.screening.runtimes.torch_runtime import TorchRuntime, choose_device
from dal_fast.screening.settings import BFLOAT16

RUNTIMES = ("torch", "openvino", BFLOAT16, "onnx", "tensorrt")
_NEEDS = {
    "openvino": (("openvino",),),
    BFLOAT16: (("openvino",),),
    "onnx": (("onnxruntime", "onnxscript"),),
    "tensorrt": (("tensorrt", "onnxscript"), ("tensorrt_rtx", "onnxscript")),
}
"""Modules of each engine; any one of the sets will do."""

__all__ = ["RUNTIMES", "Runtime", "TorchRuntime", "check_installed", "make_runtime"]


def make_runtime(name: str, model: Trainable, device: str) -> Runtime:
    """The runtime called ``name``; ``"auto"`` is OpenVINO on a CPU where it is installed, or torch.

    Raises:
        RuntimeUnavailable: ``runtime-unavailable``, ``device-unavailable``, ``engine-build``, or
            ``engine-parity``.
    """
    if name not in ("auto", *RUNTIMES):
        raise RuntimeUnavailable(
            Code.RUNTIME_UNAVAILABLE,
            f"there is no runtime {name!r}; choose auto, {', '.join(RUNTIMES)}",
        )
    device = choose_device(device)
    if name == "auto":
        name = "openvino" if device == "cpu" and _installed("openvino") else "torch"
    if name == "torch":
        return TorchRuntime(model, device)
    check_installed(name)
    if name == "tensorrt":
        if device == "cpu":
            raise RuntimeUnavailable(
                Code.DEVICE_UNAVAILABLE, "runtime 'tensorrt' needs an NVIDIA GPU"
            )
        from dal_fast.screening.runtimes.tensorrt_runtime import tensorrt_runtime

        return tensorrt_runtime(model, device)
    if device != "cpu":
        raise RuntimeUnavailable(Code.DEVICE_UNAVAILABLE, f"runtime {name!r} runs on the CPU only")
    if name in ("openvino", BFLOAT16):
        from dal_fast.screening.runtimes.openvino_runtime import openvino_runtime

        return openvino_runtime(model, bfloat16=name == BFLOAT16)
    from dal_fast.screening.runtimes.onnx_runtime import onnx_runtime

    return onnx_runtime(model)


def check_installed(name: str) -> None:
    """Refuse an engine whose library is missing.

    Raises:
        RuntimeUnavailable: ``runtime-unavailable``; the message says how to install it.
    """
    if not _installed(name):
        raise RuntimeUnavailable(
            Code.RUNTIME_UNAVAILABLE,
            f"runtime {name!r} is not installed: pip install 'dal_fast[{name.split('-')[0]}]', "
            "or choose --runtime torch",
        )


def _installed(name: str) -> bool:
    return any(all(find_spec(m) is not None for m in modules) for modules in _NEEDS[name])
