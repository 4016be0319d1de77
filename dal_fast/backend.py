"""Which implementation of an op may run, and why not.

``"cpu"`` is the compiled extension, ``"reference"`` plain torch in float64 on any device.
``"auto"`` takes the environment variable ``DAL_FAST_BACKEND`` when it is set, else the fastest
that can run. A backend that was asked for by name either runs or says why it cannot: nothing
falls back silently. ``DAL_FAST_CPU`` forces the CPU kernels' instruction set.
"""

from __future__ import annotations

import os

import torch

from dal_fast.errors import InputError

try:
    from dal_fast import _C as _C  # the ops take it from here

    _EXTENSION_PROBLEM = None
except ImportError as error:  # pragma: no cover - only in a broken installation
    _C = None  # type: ignore[assignment]
    _EXTENSION_PROBLEM = f"the compiled extension dal_fast._C does not load ({error})"

BACKENDS = ("cpu", "cuda", "triton", "reference")
_DEFAULT = os.environ.get("DAL_FAST_BACKEND", "auto")


def why_not(backend: str, device: torch.device) -> str | None:
    """The reason why ``backend`` cannot serve tensors on ``device``; ``None`` when it can."""
    if backend == "reference":
        return None
    if backend == "cpu":
        if device.type != "cpu":
            return f"its kernels run on CPU tensors and this one is on {device}"
        return _EXTENSION_PROBLEM
    if backend in ("cuda", "triton"):
        return f"this version of dal_fast has no {backend} kernels"
    return f"there is no such backend; choose one of {', '.join(BACKENDS)} or auto"


def resolve(backend: str, tensor: torch.Tensor) -> str:
    """The backend that will serve ``tensor``.

    Raises:
        InputError: ``backend-unavailable`` when the named backend cannot run, with the reason.
    """
    if backend == "auto":
        backend = _DEFAULT
    if backend == "auto":
        return "cpu" if tensor.device.type == "cpu" and _C is not None else "reference"
    reason = why_not(backend, tensor.device)
    if reason is not None:
        raise InputError("backend-unavailable", f"backend {backend!r} cannot run: {reason}")
    return backend


def _force_instruction_set() -> None:
    name = os.environ.get("DAL_FAST_CPU")
    if name and _C is not None:
        try:
            _C.set_isa(name)
        except ValueError as error:
            raise InputError("instruction-set", f"DAL_FAST_CPU={name}: {error}") from None


_force_instruction_set()
