"""Which backend serves a tensor, why another cannot, and what its kernels are called with.

A backend that was asked for by name either runs or says why it cannot: nothing falls back silently.
``"auto"`` means what :mod:`dal_fast.context` says, else the fastest that can run.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dal_fast import context
from dal_fast.context import _C, BACKENDS
from dal_fast.errors import Code, RuntimeUnavailable
from dal_fast.extras import isolate

if TYPE_CHECKING:
    from dal_fast._C import CpuKernels, CudaKernels, Kernels

_CUDA: Any = getattr(_C, "cuda", None)  # None: built without nvcc


def why_not(
    backend: str,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    *,
    triton: bool = True,
) -> str | None:
    """The reason why ``backend`` cannot serve tensors on ``device``; ``None`` when it can.

    Args:
        backend: one of ``context.BACKENDS``.
        device: where the tensors are.
        dtype: of the tensors.
        triton: whether the op has Triton kernels.
    """
    if backend == "reference":
        return None
    if backend == "cpu":
        if device.type != "cpu":
            return f"its kernels run on CPU tensors and this one is on {device}"
        return context.extension_problem()
    if backend == "cuda":
        return _why_not_cuda(device) or _why_not_on_a_gpu(dtype)
    if backend == "triton":
        return _why_not_triton(device, triton) or _why_not_on_a_gpu(dtype)
    return f"there is no such backend; choose one of {', '.join(BACKENDS)} or auto"


# What torch.compiler.assume_constant_result sets, without importing the compiler: it asks once,
# while it compiles, and cannot look into what answers.
why_not._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _why_not_cuda(device: torch.device) -> str | None:
    if _CUDA is None:
        return context.extension_problem() or (
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
    interpreted = device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1"
    if device.type != "cuda" and not interpreted:
        return f"its kernels run on GPU tensors and this one is on {device.type}"
    return None


def _why_not_on_a_gpu(dtype: torch.dtype) -> str | None:
    if dtype == torch.float64:
        return "the GPU kernels have no float64; use backend='reference'"
    return None


def resolve(backend: str, tensor: Tensor, *, triton: bool = False) -> str:
    """The backend that will serve ``tensor``, for an op with or without Triton kernels.

    Raises:
        RuntimeUnavailable: ``backend-unavailable`` when the named backend cannot run, with the
            reason.
    """
    if backend == "auto":
        backend = context.backend()
    device, dtype = tensor.device, tensor.dtype
    if backend == "auto":
        if device.type == "meta":
            return "cpu"  # no kernel runs: the op's fake gives shape and type
        if device.type == "cuda" and not torch.cuda.is_available():
            return "cuda"  # as above: without a GPU, such a tensor has no data
        candidates = ("cpu",) if device.type == "cpu" else ("cuda", "triton")
        able = (b for b in candidates if why_not(b, device, dtype, triton=triton) is None)
        return next(able, "reference")
    reason = why_not(backend, device, dtype, triton=triton)
    if reason is not None:
        raise RuntimeUnavailable(
            Code.BACKEND_UNAVAILABLE, f"backend {backend!r} cannot run: {reason}"
        )
    return backend


def cpu_kernels() -> tuple[CpuKernels, int]:
    """The CPU's compiled kernels, and how many threads they may use."""
    return _C.cpu, context.threads()


def launcher(backend: str, tensor: Tensor) -> tuple[Kernels[Any], Any]:
    """The compiled kernels of ``backend``, and what they take as ``where`` for this tensor.

    That is the number of threads on the CPU, and ``(device, stream)`` on a GPU.
    """
    return cpu_kernels() if backend == "cpu" else cuda_kernels(tensor)


def cuda_kernels(tensor: Tensor) -> tuple[CudaKernels, tuple[int, int]]:
    """The GPU's compiled kernels, and this tensor's device and stream."""
    stream = torch.cuda.current_stream(tensor.device).cuda_stream if tensor.is_cuda else 0
    return _CUDA, (tensor.device.index or 0, stream)


def triton_kernels(op: str) -> Any:
    """The module of Triton launchers of ``op``, imported when it is first used."""
    isolate("triton")
    return importlib.import_module(f"dal_fast.kernels.{op}.{op}_triton")
