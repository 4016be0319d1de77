"""One-hot binarisation with a straight-through gradient, alone or inside the anatomical image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dal_fast.context import _C
from dal_fast.ops._checks import (
    DTYPE_CODES,
    address,
    check_constants,
    check_levels,
    check_mask,
    check_positive,
    check_volume,
    host_table,
)
from dal_fast.ops._dispatch import launcher, resolve, triton_kernels
from dal_fast.ops._register import FORWARD_MODE, SECOND_ORDER, op

LEVELS = (0.29, 0.48, 0.72)
"""Grey levels of CSF, grey and white matter in the anatomical image (DAL, arXiv 2512.21924)."""


def onehot_ste(logits: Tensor, temperature: float = 1.0, *, backend: str = "auto") -> Tensor:
    """Binarise class logits; let the softmax's gradient through.

    Forward ``y_k = [k = argmax_j z_j]``, ties to the lowest class. Backward, with
    ``p = softmax(z / temperature)``: ``dL/dz_k = p_k (g_k - sum_j p_j g_j) / temperature``
    (the straight-through estimator of Bengio et al. 2013; the paper says "differentiable one-hot",
    the estimator is not specified in the paper). A NaN wins only in class 0, where nothing is above
    it; a voxel that holds one has a gradient of NaN. Forward-mode and second derivatives need
    ``backend="reference"``; any other backend refuses them.

    Args:
        logits: ``(N, K, D, H, W)``, float32, float64, float16 or bfloat16, any strides.
        temperature: of the surrogate softmax, positive.
        backend: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"triton"`` or ``"reference"``.

    Returns:
        ``(N, K, D, H, W)`` of zeros and ones in the dtype of ``logits``.

    Raises:
        InputError: ``not-a-tensor``, ``shape``, ``dtype``; ``value`` for the temperature;
            ``no-gradient`` for a derivative that there is not; ``backend-unavailable``.

    Example:
        >>> import torch
        >>> from dal_fast import ops
        >>> logits = torch.zeros(1, 3, 4, 4, 4, requires_grad=True)
        >>> ops.onehot_ste(logits)[0, :, 0, 0, 0].tolist()  # of equal ones the first
        [1.0, 0.0, 0.0]
    """
    check_volume(logits, "logits")
    check_constants(temperature=temperature)
    check_positive(temperature, "temperature")
    backend = resolve(backend, logits, triton=True)
    if backend == "reference":
        from dal_fast import reference

        return reference.onehot_ste(logits.double(), temperature).to(logits.dtype)
    return _onehot(logits, None, None, temperature, backend)


def anatomy_image(
    logits: Tensor,
    levels: Sequence[float] = LEVELS,
    mask: Tensor | None = None,
    temperature: float = 1.0,
    *,
    backend: str = "auto",
) -> Tensor:
    """The anatomical image ``A = mask * sum_k levels[k] * onehot_k`` in one pass.

    Its gradient is that of :func:`onehot_ste`, weighted with the levels (DAL, arXiv 2512.21924).

    Args:
        logits: ``(N, K, D, H, W)`` tissue logits.
        levels: K grey levels; the default is the paper's for CSF, grey and white matter.
        mask: brain mask, bool ``(N, 1, D, H, W)``; outside it A is 0.
        temperature: of the surrogate gradient, see :func:`onehot_ste`.
        backend: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"triton"`` or ``"reference"``.

    Returns:
        ``(N, 1, D, H, W)`` in the dtype of ``logits``.

    Raises:
        InputError: as :func:`onehot_ste`; ``levels`` for a wrong number of them, ``mask-dtype``,
            ``mask-shape``, ``mask-device``.

    Example:
        >>> import torch
        >>> from dal_fast import ops
        >>> logits = torch.randn(1, 3, 8, 8, 8, requires_grad=True)
        >>> image = ops.anatomy_image(logits, levels=(0.25, 0.5, 0.75))
        >>> sorted(image.unique().tolist())
        [0.25, 0.5, 0.75]
    """
    check_volume(logits, "logits")
    check_mask(mask, logits)
    check_constants(temperature=temperature)
    check_positive(temperature, "temperature")
    check_constants(levels=levels)
    check_levels(levels, logits)
    backend = resolve(backend, logits, triton=True)
    if backend == "reference":
        from dal_fast import reference

        image = reference.anatomy_image(logits.double(), levels, mask, temperature)
        return image.to(logits.dtype)
    return _onehot(logits, [float(c) for c in levels], mask, temperature, backend)


@op("onehot", remedy=FORWARD_MODE, differentiable=True)
def _onehot(
    logits: Tensor,
    levels: list[float] | None,
    mask: Tensor | None,
    temperature: float,
    backend: str,
) -> Tensor:
    logits, mask = logits.contiguous(), None if mask is None else mask.contiguous()
    n, k, *space = logits.shape
    out = logits.new_empty(n, k if levels is None else 1, *space)
    if backend == "triton":
        triton_kernels("onehot").onehot_forward(logits, levels, mask, out)
        return out
    (kernels, where), table = launcher(backend, logits), host_table(levels)
    kernels.onehot_forward(
        logits=address(logits), levels=address(table), mask=address(mask), out=address(out),
        shape=_shape(logits), dtype=DTYPE_CODES[logits.dtype], where=where,
    )  # fmt: skip
    return out


@op("onehot_backward", remedy=SECOND_ORDER)
def _onehot_backward(
    logits: Tensor,
    grad: Tensor,
    levels: list[float] | None,
    mask: Tensor | None,
    temperature: float,
    backend: str,
) -> Tensor:
    logits, grad = logits.contiguous(), grad.contiguous()
    mask = None if mask is None else mask.contiguous()
    out = torch.empty_like(logits, memory_format=torch.contiguous_format)
    if backend == "triton":
        triton_kernels("onehot").onehot_backward(logits, grad, levels, mask, temperature, out)
        return out
    (kernels, where), table = launcher(backend, logits), host_table(levels)
    kernels.onehot_backward(
        logits=address(logits), grad_out=address(grad), levels=address(table), mask=address(mask),
        grad_logits=address(out), shape=_shape(logits), temperature=temperature,
        dtype=DTYPE_CODES[logits.dtype], where=where,
    )  # fmt: skip
    return out


def _shape(logits: Tensor) -> _C.OnehotShape:
    n, k, depth, height, width = logits.shape
    return _C.OnehotShape(batch=n, classes=k, voxels=depth * height * width)


@_onehot.register_fake
def _(
    logits: Tensor,
    levels: list[float] | None,
    mask: Tensor | None,
    temperature: float,
    backend: str,
) -> Tensor:
    n, k, *space = logits.shape
    return logits.new_empty(n, k if levels is None else 1, *space)


@_onehot_backward.register_fake
def _(
    logits: Tensor,
    grad: Tensor,
    levels: list[float] | None,
    mask: Tensor | None,
    temperature: float,
    backend: str,
) -> Tensor:
    return torch.empty_like(logits, memory_format=torch.contiguous_format)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    logits, levels, mask, temperature, backend = inputs
    ctx.save_for_backward(logits, mask)
    ctx.levels, ctx.temperature, ctx.backend = levels, temperature, backend


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    logits, mask = ctx.saved_tensors
    if not ctx.needs_input_grad[0]:
        return (None,) * 5
    gradient = _onehot_backward(logits, grad, ctx.levels, mask, ctx.temperature, ctx.backend)
    return gradient, None, None, None, None


_onehot.register_autograd(_backward, setup_context=_setup)
