"""Windowed SSIM of volumes, its product with \\|x - y\\|, and the L1 + SSIM loss, fused."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dal_fast import reference
from dal_fast.backend import _C, resolve
from dal_fast.errors import InputError
from dal_fast.ops._checks import DTYPE_CODES, address, check_positive, check_same, check_volume

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
        backend: ``"auto"``, ``"cpu"`` or ``"reference"``.

    Returns:
        ``(N, C, D, H, W)`` in the dtype of ``x``; or a scalar, float32 for the 16-bit types (NaN
        when N is 0).

    Raises:
        InputError: wrong shape, dtype or parameter; backend that cannot run.
    """
    _check(x, y, window, sigma, kind, data_range)
    if reduction not in ("mean", "none"):
        raise InputError("reduction", f"reduction must be 'mean' or 'none', not {reduction!r}")
    if resolve(backend, x) == "reference":
        ssim = reference.ssim3d(x.double(), y.double(), window, sigma, kind, data_range)
        return ssim.to(x.dtype) if reduction == "none" else ssim.mean().to(_arithmetic(x))
    if reduction == "none":
        return _ssim_map(x, y, window, sigma, kind, data_range)
    return 1 - _l1_ssim(x, y, 0.0, 1.0, window, sigma, kind, data_range, _wants_grad(x, y))[0]


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
        backend: ``"auto"``, ``"cpu"`` or ``"reference"``.

    Returns:
        ``(N, C, D, H, W)`` in the dtype and unit of ``x``, at least 0; differentiable in both. NaN
        spreads as in :func:`ssim3d`.

    Raises:
        InputError: wrong shape, dtype or parameter; backend that cannot run.
    """
    _check(x, y, window, sigma, kind, data_range)
    if resolve(backend, x) == "reference":
        score = reference.hybrid_score(x.double(), y.double(), window, sigma, kind, data_range)
        return score.clamp(min=0).to(x.dtype)
    return _hybrid(x, y, window, sigma, kind, data_range)


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
        backend: ``"auto"``, ``"cpu"`` or ``"reference"``.

    Returns:
        A scalar: float32 for 16-bit inputs, else the dtype of ``x``.

    Raises:
        InputError: wrong shape, dtype or parameter; backend that cannot run.
    """
    _check(x, y, window, sigma, kind, data_range)
    if not 0 <= alpha <= 1:
        raise InputError("value", f"alpha must lie in [0, 1], not {alpha}")
    if resolve(backend, x) == "reference":
        a, b = x.double(), y.double()
        loss = reference.l1_ssim_loss(a, b, alpha, window, sigma, kind, data_range)
        return loss.to(_arithmetic(x))
    keep = _wants_grad(x, y)
    return _l1_ssim(x, y, alpha, 1 - alpha, window, sigma, kind, data_range, keep)[0]


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


def _arithmetic(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


class _Problem:
    """The kernels' description of one call, with the memory that it points to."""

    def __init__(self, x: Tensor, window: int, sigma: float, kind: str, data_range: float) -> None:
        n, c, d, h, w = x.shape
        radius = window // 2
        self._weights = reference.window_weights(window, sigma, kind)[radius:].contiguous()
        self.raw = _C.SsimProblem(
            n * c, d, h, w, address(self._weights), radius, (0.01 * data_range) ** 2,
            (0.03 * data_range) ** 2, DTYPE_CODES[x.dtype], torch.get_num_threads(),
        )  # fmt: skip
        self._workspace = torch.empty(self.raw.workspace_bytes(), dtype=torch.uint8)
        self.raw.set_workspace(address(self._workspace))


def _new_fields(x: Tensor, wanted: bool) -> Tensor:
    """The derivatives by F[u], F[u²], F[v], F[v²], rows padded to 16 elements; see ssim_l1.h."""
    n, c, d, h, w = x.shape
    shape = (n, c, d, h, 4, (w + 15) // 16 * 16) if wanted else (0,)
    return x.new_empty(shape, dtype=_arithmetic(x))


def _new_map(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _new_gradient(x: Tensor, wanted: bool) -> Tensor:
    return _new_map(x) if wanted else x.new_empty(0)


def _map(
    x: Tensor, y: Tensor, hybrid: bool, window: int, sigma: float, kind: str, data_range: float
) -> Tensor:
    x, y = x.contiguous(), y.contiguous()
    out = _new_map(x)
    problem = _Problem(x, window, sigma, kind, data_range)
    _C.ssim_map(address(x), address(y), address(out), hybrid, problem.raw)
    return out


@torch.library.custom_op("dal_fast::ssim_map", mutates_args=(), device_types="cpu")
def _ssim_map(
    x: Tensor, y: Tensor, window: int, sigma: float, kind: str, data_range: float
) -> Tensor:
    return _map(x, y, False, window, sigma, kind, data_range)


@torch.library.custom_op("dal_fast::hybrid_score", mutates_args=(), device_types="cpu")
def _hybrid(
    x: Tensor, y: Tensor, window: int, sigma: float, kind: str, data_range: float
) -> Tensor:
    return _map(x, y, True, window, sigma, kind, data_range)


@_ssim_map.register_fake
@_hybrid.register_fake
def _(x: Tensor, *_: Any) -> Tensor:
    return _new_map(x)


@torch.library.custom_op("dal_fast::ssim_map_backward", mutates_args=(), device_types="cpu")
def _ssim_map_backward(
    x: Tensor,
    y: Tensor,
    grad: Tensor,
    window: int,
    sigma: float,
    kind: str,
    data_range: float,
    need_x: bool,
    need_y: bool,
) -> tuple[Tensor, Tensor]:
    """Gradients of ``sum(grad * SSIM)``; empty where not needed."""
    x, y, grad = x.contiguous(), y.contiguous(), grad.contiguous()
    gx, gy = _new_gradient(x, need_x), _new_gradient(y, need_y)
    problem, fields = _Problem(x, window, sigma, kind, data_range), _new_fields(x, True)
    _C.ssim_fields(address(x), address(y), address(grad), address(fields), problem.raw)
    _C.ssim_backward(
        address(x), address(y), address(fields), 1.0, 0.0,
        address(gx) if need_x else 0, address(gy) if need_y else 0, problem.raw,
    )  # fmt: skip
    return gx, gy


@torch.library.custom_op("dal_fast::l1_ssim", mutates_args=(), device_types="cpu")
def _l1_ssim(
    x: Tensor,
    y: Tensor,
    l1: float,
    dissimilarity: float,
    window: int,
    sigma: float,
    kind: str,
    data_range: float,
    keep_fields: bool,
) -> tuple[Tensor, Tensor]:
    """``l1 mean|x - y| + dissimilarity mean(1 - SSIM)``, and the fields for its backward pass."""
    x, y = x.contiguous(), y.contiguous()
    fields = _new_fields(x, keep_fields)
    problem = _Problem(x, window, sigma, kind, data_range)
    sums = torch.empty(2, dtype=torch.float64)
    _C.ssim_sums(
        address(x), address(y), address(sums), address(fields) if keep_fields else 0, problem.raw
    )
    weights = torch.tensor([l1, dissimilarity], dtype=torch.float64)
    return ((sums * weights).sum() / x.numel()).to(_arithmetic(x)), fields


@_l1_ssim.register_fake
def _(x: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return x.new_empty((), dtype=_arithmetic(x)), _new_fields(x, rest[-1])


@torch.library.custom_op("dal_fast::l1_ssim_backward", mutates_args=(), device_types="cpu")
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
    need_x: bool,
    need_y: bool,
) -> tuple[Tensor, Tensor]:
    """Gradients of ``grad * _l1_ssim(...)[0]``; empty where not needed."""
    x, y, fields = x.contiguous(), y.contiguous(), fields.contiguous()
    gx, gy = _new_gradient(x, need_x), _new_gradient(y, need_y)
    problem = _Problem(x, window, sigma, kind, data_range)
    each = grad.item() / max(1, x.numel())
    _C.ssim_backward(
        address(x), address(y), address(fields), -dissimilarity * each, l1 * each,
        address(gx) if need_x else 0, address(gy) if need_y else 0, problem.raw,
    )  # fmt: skip
    return gx, gy


@_ssim_map_backward.register_fake
@_l1_ssim_backward.register_fake
def _(x: Tensor, y: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return _new_gradient(x, rest[-2]), _new_gradient(y, rest[-1])


_Gradients = tuple[Tensor | None, ...]


def _wanted(ctx: Any, gradients: tuple[Tensor, Tensor]) -> _Gradients:
    """Gradients that nobody asked for become None."""
    need = ctx.needs_input_grad
    return tuple(g if n else None for g, n in zip(gradients, need, strict=False))


def _setup_map(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.window = inputs[-4:]


def _backward_map(ctx: Any, grad: Tensor) -> _Gradients:
    x, y = ctx.saved_tensors
    gradients = _ssim_map_backward(x, y, grad, *ctx.window, *ctx.needs_input_grad[:2])
    return *_wanted(ctx, gradients), *(None,) * 4


def _backward_hybrid(ctx: Any, grad: Tensor) -> _Gradients:
    """``d(|x - y|(1 - SSIM)) = sign(x - y)(1 - SSIM) d(x - y) - |x - y| dSSIM``, unrounded."""
    x, y, g = (t.to(_arithmetic(t)) for t in (*ctx.saved_tensors, grad))
    d = x - y
    gradients = _ssim_map_backward(x, y, -g * d.abs(), *ctx.window, *ctx.needs_input_grad[:2])
    by_x, by_y = _wanted(ctx, gradients)
    by_l1 = g * d.sign() * (1 - _ssim_map(x, y, *ctx.window))
    by_x = None if by_x is None else (by_x + by_l1).to(grad.dtype)
    by_y = None if by_y is None else (by_y - by_l1).to(grad.dtype)
    return by_x, by_y, *(None,) * 4


def _setup_l1(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.set_materialize_grads(False)  # the fields are outputs that nothing differentiates
    ctx.save_for_backward(*inputs[:2], output[1])
    ctx.parameters = inputs[2:-1]


def _backward_l1(ctx: Any, grad: Tensor | None, _: Any) -> _Gradients:
    if grad is None:
        return (None,) * 9
    gradients = _l1_ssim_backward(
        *ctx.saved_tensors, grad, *ctx.parameters, *ctx.needs_input_grad[:2]
    )
    return *_wanted(ctx, gradients), *(None,) * 7


_ssim_map.register_autograd(_backward_map, setup_context=_setup_map)
_hybrid.register_autograd(_backward_hybrid, setup_context=_setup_map)
_l1_ssim.register_autograd(_backward_l1, setup_context=_setup_l1)
