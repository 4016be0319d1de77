"""Which implementation of an op may run, and why not.

``"cpu"`` is the compiled extension, ``"cuda"`` its half for NVIDIA GPUs, ``"triton"`` the same work
in Triton (any GPU that it drives, no compiler needed), ``"reference"`` plain torch in float64 on
any device. ``"auto"`` takes the environment variable ``DAL_FAST_BACKEND`` when it is set, else the
fastest that can run. A backend that was asked for by name either runs or says why it cannot:
nothing falls back silently. ``DAL_FAST_CPU`` forces the CPU kernels' instruction set.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import Any

import torch
from torch import Tensor

from dal_fast.errors import InputError

try:
    from dal_fast import _C as _C  # the ops take it from here

    _EXTENSION_PROBLEM = None
except ImportError as error:  # pragma: no cover - only in a broken installation
    _C = None  # type: ignore[assignment]
    _EXTENSION_PROBLEM = f"the compiled extension dal_fast._C does not load ({error})"

BACKENDS = ("cpu", "cuda", "triton", "reference")
_CUDA: Any = getattr(_C, "cuda", None)  # None: built without nvcc
_DEFAULT = os.environ.get("DAL_FAST_BACKEND", "auto")


def why_not(
    backend: str,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    *,
    triton: bool = True,
) -> str | None:
    """The reason why ``backend`` cannot serve tensors on ``device``; ``None`` when it can.

    Args:
        backend: one of ``BACKENDS``.
        device: where the tensors are.
        dtype: of the tensors.
        triton: does the op that is meant have Triton kernels?
    """
    if backend == "reference":
        return None
    if backend == "cpu":
        if device.type != "cpu":
            return f"its kernels run on CPU tensors and this one is on {device}"
        return _EXTENSION_PROBLEM
    if backend == "cuda":
        return _why_not_cuda(device) or _why_not_on_a_gpu(dtype)
    if backend == "triton":
        return _why_not_triton(device, triton) or _why_not_on_a_gpu(dtype)
    return f"there is no such backend; choose one of {', '.join(BACKENDS)} or auto"


def _why_not_cuda(device: torch.device) -> str | None:
    if _CUDA is None:
        return _EXTENSION_PROBLEM or (
            "this build has no CUDA kernels: nvcc was not found when it was built"
        )
    reason: str = _CUDA.why_not(device.index or 0)
    if not reason and device.type != _CUDA.device_type:
        return f"its kernels run on {_CUDA.device_type} tensors and this one is on {device}"
    return reason or None


def _why_not_triton(device: torch.device, has_kernels: bool) -> str | None:
    if not has_kernels:
        return "this op has no Triton kernels"
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed (pip install 'dal_fast[triton]')"
    if device.type == "cuda" and not torch.cuda.is_available():
        return "there is no GPU"
    if device.type == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        return "its kernels run on GPU tensors and this one is on cpu"
    return None


def _why_not_on_a_gpu(dtype: torch.dtype) -> str | None:
    if dtype == torch.float64:
        return "the GPU kernels have no float64; use backend='reference'"
    return None


def resolve(backend: str, tensor: Tensor, *, triton: bool = False) -> str:
    """The backend that will serve ``tensor``, for an op with or without Triton kernels.

    Raises:
        InputError: ``backend-unavailable`` when the named backend cannot run, with the reason.
    """
    if backend == "auto":
        backend = _DEFAULT
    device, dtype = tensor.device, tensor.dtype
    if backend == "auto":
        candidates = ("cpu",) if device.type == "cpu" else ("cuda", "triton")
        able = (b for b in candidates if why_not(b, device, dtype, triton=triton) is None)
        return next(able, "reference")
    reason = why_not(backend, device, dtype, triton=triton)
    if reason is not None:
        raise InputError("backend-unavailable", f"backend {backend!r} cannot run: {reason}")
    return backend


def launcher(backend: str, tensor: Tensor) -> tuple[Any, Any]:
    """The module of compiled launchers, and what each takes last: threads, or device and stream."""
    if backend == "cpu":
        return _C, torch.get_num_threads()
    stream = torch.cuda.current_stream(tensor.device).cuda_stream if tensor.is_cuda else 0
    return _CUDA, (tensor.device.index or 0, stream)


def triton_kernels(op: str) -> Any:
    """The module of Triton launchers of ``op``, imported when it is first used."""
    return importlib.import_module(f"dal_fast.kernels.{op}.{op}_triton")


def _force_instruction_set() -> None:
    name = os.environ.get("DAL_FAST_CPU")
    if name and _C is not None:
        try:
            _C.set_isa(name)
        except ValueError as error:
            raise InputError("instruction-set", f"DAL_FAST_CPU={name}: {error}") from None


_force_instruction_set()
