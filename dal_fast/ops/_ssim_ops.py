"""The SSIM family as torch ops: implementations, fakes, derivatives. Formulas: kernels/ssim_l1."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from dal_fast.ops._register import FORWARD_MODE, SECOND_ORDER, op
from dal_fast.ops._ssim_kernels import (
    SsimKernels,
    arithmetic,
    new_fields,
    new_gradient,
    new_map,
)


@op("ssim_map", remedy=FORWARD_MODE, differentiable=True)
def ssim_map_op(
    x: Tensor, y: Tensor, window: int, sigma: float, kind: str, data_range: float, backend: str
) -> Tensor:
    return SsimKernels(x, y, window, sigma, kind, data_range, backend).map(hybrid=False)


@op("hybrid_score", remedy=FORWARD_MODE, differentiable=True)
def hybrid_op(
    x: Tensor, y: Tensor, window: int, sigma: float, kind: str, data_range: float, backend: str
) -> Tensor:
    return SsimKernels(x, y, window, sigma, kind, data_range, backend).map(hybrid=True)


@ssim_map_op.register_fake
@hybrid_op.register_fake
def _(x: Tensor, *_: Any) -> Tensor:
    return new_map(x)


@op("ssim_map_backward", remedy=SECOND_ORDER)
def ssim_map_backward_op(
    x: Tensor,
    y: Tensor,
    grad: Tensor,
    window: int,
    sigma: float,
    kind: str,
    data_range: float,
    backend: str,
    need_x: bool,
    need_y: bool,
) -> tuple[Tensor, Tensor]:
    """Gradients of ``sum(grad * SSIM)``; empty where not needed."""
    kernels = SsimKernels(x, y, window, sigma, kind, data_range, backend)
    return kernels.backward(kernels.fields(grad), None, 1.0, 0.0, need_x, need_y)


@op("l1_ssim", remedy=FORWARD_MODE, differentiable=True)
def l1_ssim_op(
    x: Tensor,
    y: Tensor,
    l1: float,
    dissimilarity: float,
    window: int,
    sigma: float,
    kind: str,
    data_range: float,
    backend: str,
    keep_fields: bool,
) -> tuple[Tensor, Tensor]:
    """``l1 mean|x - y| + dissimilarity mean(1 - SSIM)``, and the fields for its backward pass."""
    kernels = SsimKernels(x, y, window, sigma, kind, data_range, backend)
    sums, fields = kernels.sums(keep_fields)
    loss = (l1 * sums[0] + dissimilarity * sums[1]) / x.numel()
    return loss.to(arithmetic(x)), fields


@l1_ssim_op.register_fake
def _(x: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return x.new_empty((), dtype=arithmetic(x)), new_fields(x, rest[-1])


@op("l1_ssim_backward", remedy=SECOND_ORDER)
def l1_ssim_backward_op(
    x: Tensor,
    y: Tensor,
    fields: Tensor,
    grad: Tensor,
    l1: float,
    dissimilarity: float,
    window: int,
    sigma: float,
    kind: str,
    data_range: float,
    backend: str,
    need_x: bool,
    need_y: bool,
) -> tuple[Tensor, Tensor]:
    """Gradients of ``grad * l1_ssim_op(...)[0]``; empty where not needed."""
    kernels, voxels = SsimKernels(x, y, window, sigma, kind, data_range, backend), max(1, x.numel())
    if not fields.numel():  # a transform hid that a gradient would be wanted
        fields = kernels.sums(keep_fields=True)[1]
    scale, slope = -dissimilarity / voxels, l1 / voxels
    return kernels.backward(fields, grad.double(), scale, slope, need_x, need_y)


@ssim_map_backward_op.register_fake
@l1_ssim_backward_op.register_fake
def _(x: Tensor, y: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return new_gradient(x, rest[-2]), new_gradient(y, rest[-1])


_Gradients = tuple[Tensor | None, ...]


def _wanted(ctx: Any, gradients: tuple[Tensor, Tensor]) -> _Gradients:
    """Gradients that nobody asked for become None."""
    need = ctx.needs_input_grad
    return tuple(g if n else None for g, n in zip(gradients, need, strict=False))


def _setup_map(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.window = inputs[2:]


def _backward_map(ctx: Any, grad: Tensor) -> _Gradients:
    x, y = ctx.saved_tensors
    gradients = ssim_map_backward_op(x, y, grad, *ctx.window, *ctx.needs_input_grad[:2])
    return *_wanted(ctx, gradients), *(None,) * 5


def _backward_hybrid(ctx: Any, grad: Tensor) -> _Gradients:
    """``d(|x - y|(1 - SSIM)) = sign(x - y)(1 - SSIM) d(x - y) - |x - y| dSSIM``, unrounded."""
    x, y, g = (t.to(arithmetic(t)) for t in (*ctx.saved_tensors, grad))
    d = x - y
    gradients = ssim_map_backward_op(x, y, -g * d.abs(), *ctx.window, *ctx.needs_input_grad[:2])
    by_x, by_y = _wanted(ctx, gradients)
    by_l1 = g * d.sign() * (1 - ssim_map_op(x, y, *ctx.window))
    by_x = None if by_x is None else (by_x + by_l1).to(grad.dtype)
    by_y = None if by_y is None else (by_y - by_l1).to(grad.dtype)
    return by_x, by_y, *(None,) * 5


def _setup_l1(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.set_materialize_grads(False)  # the fields are outputs that nothing differentiates
    ctx.save_for_backward(*inputs[:2], output[1])
    ctx.parameters = inputs[2:-1]


def _backward_l1(ctx: Any, grad: Tensor | None, _: Any) -> _Gradients:
    if grad is None:
        return (None,) * 10
    gradients = l1_ssim_backward_op(
        *ctx.saved_tensors, grad, *ctx.parameters, *ctx.needs_input_grad[:2]
    )
    return *_wanted(ctx, gradients), *(None,) * 8


ssim_map_op.register_autograd(_backward_map, setup_context=_setup_map)
hybrid_op.register_autograd(_backward_hybrid, setup_context=_setup_map)
l1_ssim_op.register_autograd(_backward_l1, setup_context=_setup_l1)
