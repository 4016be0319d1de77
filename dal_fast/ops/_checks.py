"""Validation that the ops share: once, before dispatch, with the offending sizes in the message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import torch
from torch import Tensor
from torch.autograd import forward_ad

from dal_fast.errors import InputError

DTYPE_CODES = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.bfloat16: 3}


def check_volume(x: Tensor, name: str) -> None:
    """``x`` must be a floating ``(N, C, D, H, W)`` tensor without empty axes (N may be 0)."""
    if not isinstance(x, Tensor):
        raise InputError("not-a-tensor", f"{name} must be a torch.Tensor, not {type(x).__name__}")
    if x.dtype not in DTYPE_CODES:
        raise InputError(
            "dtype", f"{name} has dtype {x.dtype}; use float32, float64, float16 or bfloat16"
        )
    check_shape(x, name)


def check_shape(x: Tensor, name: str) -> None:
    """``x`` must have the five axes ``(N, C, D, H, W)``, only N may be 0."""
    if x.dim() != 5:
        raise InputError("shape", f"{name} must be (N, C, D, H, W), not {tuple(x.shape)}")
    if 0 in x.shape[1:]:
        raise InputError("shape", f"{name} has an empty axis: {tuple(x.shape)}")


def check_pair(x: Tensor, y: Tensor) -> None:
    """``x`` and ``y`` must agree in shape and device."""
    if x.shape != y.shape:
        raise InputError("shape", f"x {tuple(x.shape)} and y {tuple(y.shape)} differ in shape")
    if x.device != y.device:
        raise InputError("device", f"x is on {x.device} and y on {y.device}")


def check_mask(mask: Tensor | None, x: Tensor, name: str = "mask") -> None:
    """``mask`` must be bool ``(N, 1, D, H, W)`` on the device of ``x``."""
    if mask is None:
        return
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise InputError("mask-dtype", f"{name} must be a bool tensor, not {kind}")
    want = (x.shape[0], 1, *x.shape[2:])
    if tuple(mask.shape) != want:
        raise InputError("mask-shape", f"{name} must be {want}, not {tuple(mask.shape)}")
    if mask.device != x.device:
        raise InputError("mask-device", f"{name} is on {mask.device}, the volume on {x.device}")


def check_levels(levels: Sequence[float], logits: Tensor) -> None:
    """One grey level for each class of ``logits``."""
    if len(levels) != logits.shape[1]:
        raise InputError("levels", f"{len(levels)} levels for {logits.shape[1]} classes")


def check_triton_planes(x: Tensor) -> None:
    """The Triton kernels count the voxels of a plane, its rows padded to 16, in 32 bits."""
    height, width = x.shape[3:]
    if height * (width + 15) // 16 * 16 >= 2**31:
        raise InputError(
            "shape", f"planes of 2**31 voxels or more have no Triton kernels: {tuple(x.shape)}"
        )


def check_positive(value: float, name: str) -> None:
    if not value > 0:
        raise InputError("value", f"{name} must be positive, not {value}")


def check_constants(**options: object) -> None:
    """No derivative by an option may be asked for: it would be lost without a word."""
    for name, value in options.items():
        for v in value if isinstance(value, list | tuple) else (value,):
            if isinstance(v, Tensor) and wants_derivative(v):
                raise InputError("no-gradient", f"there is no gradient by {name}: pass numbers")


def wants_derivative(x: Tensor) -> bool:
    """Whether a derivative by ``x`` is being recorded, in reverse or forward mode."""
    if torch.is_grad_enabled() and x.requires_grad:
        return True
    if forward_ad._current_level < 0:
        return False
    tangent = forward_ad.unpack_dual(x).tangent  # type: ignore[no-untyped-call]
    return tangent is not None


def address(t: Tensor | None) -> int:
    """Address of a contiguous tensor's first element; 0 for none."""
    return 0 if t is None else t.data_ptr()


@overload
def host_table(values: Sequence[float]) -> Tensor: ...
@overload
def host_table(values: None) -> None: ...
def host_table(values: Sequence[float] | None) -> Tensor | None:
    """Doubles that a launcher reads on the host, whatever device is the default one."""
    return None if values is None else torch.tensor(values, dtype=torch.float64, device="cpu")
