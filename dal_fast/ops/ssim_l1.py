"""Windowed SSIM of volumes, its product with \\|x - y\\|, and the L1 + SSIM loss, fused."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dal_fast.errors import InputError
from dal_fast.ops._checks import check_positive, check_same, check_volume
from dal_fast.ops._dispatch import resolve
from dal_fast.ops._register import op
from dal_fast.ops._ssim_kernels import (
    SsimKernels,
    arithmetic,
    new_fields,
    new_gradient,
    new_map,
)

MAX_WINDOW = 33


def ssim3d(
    x: Tensor,
    y: Tensor,
    window: int = 11,
    sigma: float = 1.5,
    kind: str = "gaussian",
    data_range: float = 1.0,
    reduction: str = "mean",
    *,
    backend: str = "auto",
) -> Tensor:
    """Structural similarity of two volumes (Wang et al. 2004), differentiable in both.

    ``SSIM = (2 Mx My + c1)(2 Cxy + c2) / ((Mx² + My² + c1)(Vx + Vy + c2))`` with the window's means
    M, population variances V and covariance C, ``c1 = (0.01 data_range)²``,
    ``c2 = (0.03 data_range)²``. Beyond the border the edge voxel repeats (scipy's ``reflect``), so
    the map agrees with ``skimage.metrics.structural_similarity(..., full=True,
    use_sample_covariance=False)`` at every voxel: ``gaussian_weights=True`` for
    ``window = 2 int(3.5 sigma + 0.5) + 1``, ``win_size=window`` for ``"uniform"``. The mean is over
    all voxels; scikit-image's crops the border. SSIM lies in [-1, 1], and SSIM(x, x) = 1, in
    floating point too. A NaN or infinite voxel makes every SSIM within its window's reach NaN.

    Args:
        x: ``(N, C, D, H, W)``, float32, float64, float16 or bfloat16, any strides; arithmetic is
            float32 for the 16-bit types. Intensities, in the unit of ``data_range``.
        y: as ``x``: same shape, dtype and device.
        window: taps per axis, odd, 3 to 33, voxels.
        sigma: of the Gaussian, voxels; not used by ``"uniform"``.
        kind: ``"gaussian"`` or ``"uniform"``.
        data_range: intensity span L of the stabilising constants, positive.
        reduction: ``"none"`` for the map, ``"mean"`` for its mean over all axes.
        backend: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"triton"`` or ``"reference"``.

    Returns:
        ``(N, C, D, H, W)`` in the dtype of ``x``; or a scalar, float32 for the 16-bit types (NaN
        when N is 0).

    Raises:
        InputError: wrong shape, dtype or parameter; backend that cannot run.
    """
    _check(x, y, window, sigma, kind, data_range)
    if reduction not in ("mean", "none"):
        raise InputError("reduction", f"reduction must be 'mean' or 'none', not {reduction!r}")
    backend = resolve(backend, x, triton=True)
    if backend == "reference":
        from dal_fast import reference

        ssim = reference.ssim3d(x.double(), y.double(), window, sigma, kind, data_range)
        return ssim.to(x.dtype) if reduction == "none" else ssim.mean().to(arithmetic(x))
    if reduction == "none":
        return _ssim_map(x, y, window, sigma, kind, data_range, backend)
    keep = _wants_grad(x, y)
    return 1 - _l1_ssim(x, y, 0.0, 1.0, window, sigma, kind, data_range, backend, keep)[0]


def hybrid_score(
    x: Tensor,
    y: Tensor,
    window: int = 11,
    sigma: float = 1.5,
    kind: str = "gaussian",
    data_range: float = 1.0,
    *,
    backend: str = "auto",
) -> Tensor:
    """Anomaly map ``|x - y| (1 - SSIM(x, y))`` in one pass (DAL, arXiv 2512.21924).

    The factor 1 - SSIM is computed without cancellation and is never negative; it reaches 2 where
    the structures oppose each other, and is not clipped there (the paper does not say).

    Args:
        x: ``(N, C, D, H, W)`` scan, see :func:`ssim3d`.
        y: its pseudo-healthy counterpart, same shape, dtype and device.
        window: taps per axis, odd, 3 to 33, voxels.
        sigma: of the Gaussian, voxels.
        kind: ``"gaussian"`` or ``"uniform"``.
        data_range: intensity span of SSIM's constants, positive.
        backend: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"triton"`` or ``"reference"``.

    Returns:
        ``(N, C, D, H, W)`` in the dtype and unit of ``x``, at least 0; differentiable in both. NaN
        spreads as in :func:`ssim3d`.

    Raises:
        InputError: wrong shape, dtype or parameter; backend that cannot run.
    """
    _check(x, y, window, sigma, kind, data_range)
    backend = resolve(backend, x, triton=True)
    if backend == "reference":
        from dal_fast import reference

        score = reference.hybrid_score(x.double(), y.double(), window, sigma, kind, data_range)
        return score.clamp(min=0).to(x.dtype)
    return _hybrid(x, y, window, sigma, kind, data_range, backend)


def l1_ssim_loss(
    x: Tensor,
    y: Tensor,
    alpha: float = 0.5,
    window: int = 11,
    sigma: float = 1.5,
    kind: str = "gaussian",
    data_range: float = 1.0,
    *,
    backend: str = "auto",
) -> Tensor:
    """``alpha mean|x - y| + (1 - alpha)(1 - mean SSIM)``, forward and backward fused.

    When a gradient is wanted, the forward pass also keeps SSIM's derivatives by its four local
    moments (four volumes in the arithmetic type, freed with the graph); the backward pass is then
    one more filtering, and its derivative of |x - y| at x = y is 0.

    Args:
        x: ``(N, C, D, H, W)``, see :func:`ssim3d`.
        y: as ``x``: same shape, dtype and device; both may require a gradient.
        alpha: weight of the L1 term, 0 to 1.
        window: taps per axis, odd, 3 to 33, voxels.
        sigma: of the Gaussian, voxels.
        kind: ``"gaussian"`` or ``"uniform"``.
        data_range: intensity span of SSIM's constants, positive.
        backend: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"triton"`` or ``"reference"``.

    Returns:
        A scalar: float32 for 16-bit inputs, else the dtype of ``x``.

    Raises:
        InputError: wrong shape, dtype or parameter; backend that cannot run.
    """
    _check(x, y, window, sigma, kind, data_range)
    if not 0 <= alpha <= 1:
        raise InputError("value", f"alpha must lie in [0, 1], not {alpha}")
    backend = resolve(backend, x, triton=True)
    if backend == "reference":
        from dal_fast import reference

        a, b = x.double(), y.double()
        loss = reference.l1_ssim_loss(a, b, alpha, window, sigma, kind, data_range)
        return loss.to(arithmetic(x))
    keep = _wants_grad(x, y)
    rest = window, sigma, kind, data_range, backend, keep
    return _l1_ssim(x, y, alpha, 1 - alpha, *rest)[0]


def _check(x: Tensor, y: Tensor, window: int, sigma: float, kind: str, data_range: float) -> None:
    check_volume(x, "x")
    check_volume(y, "y")
    check_same(x, y, "x", "y")
    if window % 2 != 1 or not 3 <= window <= MAX_WINDOW:
        raise InputError("window", f"window must be odd, from 3 to {MAX_WINDOW}, not {window}")
    if kind not in ("gaussian", "uniform"):
        raise InputError("kind", f"kind must be 'gaussian' or 'uniform', not {kind!r}")
    check_positive(sigma, "sigma")
    check_positive(data_range, "data_range")


def _wants_grad(x: Tensor, y: Tensor) -> bool:
    return torch.is_grad_enabled() and (x.requires_grad or y.requires_grad)


@op("ssim_map", differentiable=True)
def _ssim_map(
    x: Tensor, y: Tensor, window: int, sigma: float, kind: str, data_range: float, backend: str
) -> Tensor:
    return SsimKernels(x, y, window, sigma, kind, data_range, backend).map(hybrid=False)


@op("hybrid_score", differentiable=True)
def _hybrid(
    x: Tensor, y: Tensor, window: int, sigma: float, kind: str, data_range: float, backend: str
) -> Tensor:
    return SsimKernels(x, y, window, sigma, kind, data_range, backend).map(hybrid=True)


@_ssim_map.register_fake
@_hybrid.register_fake
def _(x: Tensor, *_: Any) -> Tensor:
    return new_map(x)


@op("ssim_map_backward")
def _ssim_map_backward(
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


@op("l1_ssim", differentiable=True)
def _l1_ssim(
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


@_l1_ssim.register_fake
def _(x: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return x.new_empty((), dtype=arithmetic(x)), new_fields(x, rest[-1])


@op("l1_ssim_backward")
def _l1_ssim_backward(
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
    """Gradients of ``grad * _l1_ssim(...)[0]``; empty where not needed."""
    kernels, voxels = SsimKernels(x, y, window, sigma, kind, data_range, backend), max(1, x.numel())
    scale, slope = -dissimilarity / voxels, l1 / voxels
    return kernels.backward(fields, grad.double(), scale, slope, need_x, need_y)


@_ssim_map_backward.register_fake
@_l1_ssim_backward.register_fake
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
    gradients = _ssim_map_backward(x, y, grad, *ctx.window, *ctx.needs_input_grad[:2])
    return *_wanted(ctx, gradients), *(None,) * 5


def _backward_hybrid(ctx: Any, grad: Tensor) -> _Gradients:
    """``d(|x - y|(1 - SSIM)) = sign(x - y)(1 - SSIM) d(x - y) - |x - y| dSSIM``, unrounded."""
    x, y, g = (t.to(arithmetic(t)) for t in (*ctx.saved_tensors, grad))
    d = x - y
    gradients = _ssim_map_backward(x, y, -g * d.abs(), *ctx.window, *ctx.needs_input_grad[:2])
    by_x, by_y = _wanted(ctx, gradients)
    by_l1 = g * d.sign() * (1 - _ssim_map(x, y, *ctx.window))
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
    gradients = _l1_ssim_backward(
        *ctx.saved_tensors, grad, *ctx.parameters, *ctx.needs_input_grad[:2]
    )
    return *_wanted(ctx, gradients), *(None,) * 8


_ssim_map.register_autograd(_backward_map, setup_context=_setup_map)
_hybrid.register_autograd(_backward_hybrid, setup_context=_setup_map)
_l1_ssim.register_autograd(_backward_l1, setup_context=_setup_l1)
