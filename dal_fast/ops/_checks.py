"""Validation that the ops share: once, before dispatch, with the offending sizes in the message."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import overload

import torch
from torch import Tensor
from torch.autograd import forward_ad

from dal_fast.errors import Code, InputError

DTYPE_CODES = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.bfloat16: 3}


def check_volume(x: Tensor, name: str) -> None:
    """``x`` must be a floating ``(N, C, D, H, W)`` tensor without empty axes (N may be 0)."""
    check_dense(x, name)
    if x.dtype not in DTYPE_CODES:
        raise InputError(
            Code.DTYPE,
            f"{name} has dtype {x.dtype}; use float32, float64, float16 or bfloat16, as "
            f"{name}.float() makes it",
        )
    check_shape(x, name)


def check_dense(x: Tensor, name: str) -> None:
    """``x`` must be a tensor that has an element at every position of its shape."""
    if not isinstance(x, Tensor):
        raise InputError(
            Code.NOT_A_TENSOR,
            f"{name} must be a torch.Tensor, not {type(x).__name__}; torch.as_tensor makes one",
        )
    if x.layout != torch.strided or x.is_nested:
        layout = "a nested tensor" if x.is_nested else str(x.layout)
        raise InputError(Code.NOT_A_TENSOR, f"{name} must be a dense tensor, not {layout}")


def check_shape(x: Tensor, name: str) -> None:
    """``x`` must have the five axes ``(N, C, D, H, W)``, only N may be 0."""
    if x.dim() != 5:
        axes = {3: f"; add two axes: {name}[None, None]", 4: f"; add an axis: {name}[None]"}
        raise InputError(
            Code.SHAPE,
            f"{name} must be (N, C, D, H, W), not {tuple(x.shape)}{axes.get(x.dim(), '')}",
        )
    if 0 in x.shape[1:]:
        raise InputError(Code.SHAPE, f"{name} has an empty axis: {tuple(x.shape)}")


def check_pair(x: Tensor, y: Tensor) -> None:
    """``x`` and ``y`` must agree in shape and device."""
    if x.shape != y.shape:
        raise InputError(Code.SHAPE, f"x {tuple(x.shape)} and y {tuple(y.shape)} differ in shape")
    if x.device != y.device:
        raise InputError(Code.DEVICE, f"x is on {x.device} and y on {y.device}")


def check_mask(mask: Tensor | None, x: Tensor, name: str = "mask") -> None:
    """``mask`` must be bool ``(N, 1, D, H, W)`` on the device of ``x``."""
    if mask is None:
        return
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise InputError(
            Code.MASK_DTYPE, f"{name} must be a bool tensor, not {kind}, such as {name} > 0.5"
        )
    check_dense(mask, name)
    want = (x.shape[0], 1, *x.shape[2:])
    if tuple(mask.shape) != want:
        one_for_all = tuple(mask.shape) == (1, *want[1:])
        hint = f"; one for all volumes: {name}.expand({want[0]}, -1, -1, -1, -1)"
        raise InputError(
            Code.MASK_SHAPE,
            f"{name} must be {want}, not {tuple(mask.shape)}{hint if one_for_all else ''}",
        )
    if mask.device != x.device:
        raise InputError(Code.MASK_DEVICE, f"{name} is on {mask.device}, the volume on {x.device}")


def check_levels(levels: Sequence[float], logits: Tensor) -> None:
    """One grey level for each class of ``logits``: numbers, by which there is no derivative."""
    if not hasattr(levels, "__len__"):
        raise InputError(Code.LEVELS, f"levels must be a sequence of numbers, not {levels!r}")
    _check_no_derivative(levels, "levels")
    if len(levels) != logits.shape[1]:
        raise InputError(Code.LEVELS, f"{len(levels)} levels for {logits.shape[1]} classes")
    for level in levels:
        _check_no_derivative(level, "levels")
        check_number(level, "each of the levels", Code.LEVELS)


def check_triton_planes(x: Tensor) -> None:
    """The Triton kernels count the voxels of a plane, its rows padded to 16, in 32 bits."""
    height, width = x.shape[3:]
    if height * (width + 15) // 16 * 16 >= 2**31:
        raise InputError(
            Code.SHAPE, f"planes of 2**31 voxels or more have no Triton kernels: {tuple(x.shape)}"
        )


def check_whole(value: int, name: str, code: Code = Code.VALUE) -> int:
    """``value`` must be a whole number, of any integer type; as an int, which torch's ops take."""
    if isinstance(value, int | torch.SymInt):
        return value
    try:
        return operator.index(value)
    except (TypeError, ValueError):
        raise InputError(code, f"{name} must be a whole number, not {value!r}") from None


def check_number(value: object, name: str, code: Code = Code.VALUE) -> None:
    """``value`` must be one real number, of any type that torch takes for one."""
    if isinstance(value, int | float | torch.SymInt | torch.SymFloat):
        return
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):
        raise InputError(code, f"{name} must be a number, not {value!r}") from None


def check_temperature(value: float) -> None:
    """A temperature by which a float32 can be divided: 1 / temperature must be one, too."""
    check_constants(temperature=value)
    check_positive(value, "temperature")
    if value < 1e-38:
        raise InputError(Code.VALUE, f"temperature must be at least 1e-38, not {value}")


def check_positive(value: float, name: str) -> None:
    if not value > 0:
        raise InputError(Code.VALUE, f"{name} must be positive, not {value}")


def check_constants(**options: object) -> None:
    """Options are numbers, by which there is no derivative."""
    for name, value in options.items():
        _check_no_derivative(value, name)
        check_number(value, name)


def _check_no_derivative(value: object, name: str) -> None:
    """A derivative by ``value`` may not be asked for: it would be lost without a word."""
    if isinstance(value, Tensor) and wants_derivative(value):
        raise InputError(Code.NO_GRADIENT, f"there is no gradient by {name}: pass numbers")


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
