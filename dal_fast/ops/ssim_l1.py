"""Windowed SSIM of volumes, its product with \\|x - y\\|, and the L1 + SSIM loss, fused."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dal_fast.errors import InputError
from dal_fast.ops._checks import check_constants, check_pair, check_positive, check_volume
from dal_fast.ops._dispatch import resolve
from dal_fast.ops._ssim_kernels import arithmetic
from dal_fast.ops._ssim_ops import hybrid_op, l1_ssim_op, ssim_map_op

MAX_WINDOW = 33
ALPHA = 0.5
"""Weight of the L1 term in the L1 + SSIM loss, where none is given."""


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

    Gradients are taken in reverse mode: ``backward``, ``torch.func.grad``, ``vjp``, ``jacrev``, and
    under ``vmap``. Forward-mode and second derivatives need ``backend="reference"``; any other
    backend refuses them.

    Args:
        x: ``(N, C, D, H, W)``, float32, float64, float16 or bfloat16, any strides; arithmetic is
            float32 for the 16-bit types. Intensities, in the unit of ``data_range``. In float32
            they may reach about 4e9 times ``data_range`` where the volume is not flat.
        y: as ``x``: same shape and device. Of two dtypes both are taken to the wider one, as by
            torch's own losses: a bfloat16 prediction and a float32 target are compared in float32.
        window: taps per axis, odd, 3 to 33, voxels.
        sigma: of the Gaussian, voxels; not used by ``"uniform"``.
        kind: ``"gaussian"`` or ``"uniform"``.
        data_range: intensity span L of the stabilising constants, positive and finite.
        reduction: ``"none"`` for the map, ``"mean"`` for its mean over all axes.
        backend: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"triton"`` or ``"reference"``.

    Returns:
        ``(N, C, D, H, W)`` in the wider dtype of ``x`` and ``y``; or a scalar, float32 for the
        16-bit types (NaN when N is 0).

    Raises:
        InputError: ``not-a-tensor``, ``shape``, ``dtype``, ``device``, ``window``, ``kind``,
            ``reduction``, ``value`` for what is wrong with an argument; ``no-gradient`` for a
            derivative that there is not; ``backend-unavailable``.

    Example:
        >>> import torch
        >>> from dal_fast import ops
        >>> x = torch.linspace(0, 1, 4096).view(1, 1, 16, 16, 16)
        >>> ops.ssim3d(x, x).item()
        1.0
        >>> ops.ssim3d(x, 1 - x, window=7, reduction="none").shape
        torch.Size([1, 1, 16, 16, 16])
    """
    if reduction not in ("mean", "none"):
        raise InputError("reduction", f"reduction must be 'mean' or 'none', not {reduction!r}")
    _check(x, y, window, sigma, kind, data_range)
    x, y, dtype, _, data_range = _prepared(x, y, data_range)
    backend = resolve(backend, x, triton=True)
    options = window, sigma, kind, data_range
    if backend == "reference":
        from dal_fast import reference

        ssim = reference.ssim3d(x.double(), y.double(), *options)
        return ssim.to(dtype) if reduction == "none" else ssim.mean().to(arithmetic(x))
    if reduction == "none":
        return ssim_map_op(x, y, *options, backend).to(dtype)
    return 1 - l1_ssim_op(x, y, 0.0, 1.0, *options, backend, _wants_grad(x, y))[0]


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
    the structures oppose each other, and is not clipped there (not specified in the paper).

    Args:
        x: ``(N, C, D, H, W)`` scan, see :func:`ssim3d`.
        y: its pseudo-healthy counterpart, same shape and device; of two dtypes both are taken to
            the wider one.
        window: taps per axis, odd, 3 to 33, voxels.
        sigma: of the Gaussian, voxels.
        kind: ``"gaussian"`` or ``"uniform"``.
        data_range: intensity span of SSIM's constants, positive and finite.
        backend: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"triton"`` or ``"reference"``.

    Returns:
        ``(N, C, D, H, W)`` in the wider dtype and the unit of ``x``, at least 0; differentiable in
        both, see :func:`ssim3d`. NaN spreads as there.

    Raises:
        InputError: as :func:`ssim3d`.

    Example:
        >>> import torch
        >>> from dal_fast import ops
        >>> scan = torch.zeros(1, 1, 16, 16, 16)
        >>> scan[..., 8, 8, 8] = 1
        >>> score = ops.hybrid_score(scan, torch.zeros_like(scan))
        >>> score.argmax().item() == (8 * 16 + 8) * 16 + 8
        True
    """
    _check(x, y, window, sigma, kind, data_range)
    x, y, dtype, unit, data_range = _prepared(x, y, data_range)
    backend = resolve(backend, x, triton=True)
    options = window, sigma, kind, data_range
    if backend == "reference":
        from dal_fast import reference

        score = reference.hybrid_score(x.double(), y.double(), *options)
        return (unit * score.clamp(min=0)).to(dtype)
    score = hybrid_op(x, y, *options, backend)
    return score if unit == 1 else (unit * score).to(dtype)


def l1_ssim_loss(
    x: Tensor,
    y: Tensor,
    alpha: float = ALPHA,
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
    one more filtering, and its derivative of |x - y| at x = y is 0. A mixture of L1
    and SSIM is due to Zhao et al. 2017; the default ``alpha`` is ours (not specified in the paper).

    Args:
        x: ``(N, C, D, H, W)``, see :func:`ssim3d`.
        y: as ``x``: same shape and device; both may require a gradient. Of two dtypes both are
            taken to the wider one, so that it may be called under autocast.
        alpha: weight of the L1 term, 0 to 1.
        window: taps per axis, odd, 3 to 33, voxels.
        sigma: of the Gaussian, voxels.
        kind: ``"gaussian"`` or ``"uniform"``.
        data_range: intensity span of SSIM's constants, positive and finite. It does not scale the
            L1 term.
        backend: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"triton"`` or ``"reference"``.

    Returns:
        A scalar: float32 for 16-bit inputs, else their wider dtype.

    Raises:
        InputError: as :func:`ssim3d`; ``value`` for ``alpha`` outside [0, 1].

    Example:
        >>> import torch
        >>> from dal_fast import ops
        >>> target = torch.rand(1, 1, 16, 16, 16)
        >>> prediction = torch.rand(1, 1, 16, 16, 16, requires_grad=True)
        >>> ops.l1_ssim_loss(prediction, target, alpha=0.2).backward()
        >>> prediction.grad.shape
        torch.Size([1, 1, 16, 16, 16])
    """
    _check(x, y, window, sigma, kind, data_range)
    check_constants(alpha=alpha)
    if not 0 <= alpha <= 1:
        raise InputError("value", f"alpha must lie in [0, 1], not {alpha}")
    x, y, _, unit, data_range = _prepared(x, y, data_range)
    backend = resolve(backend, x, triton=True)
    options = window, sigma, kind, data_range
    if backend == "reference":
        from dal_fast import reference

        a, b = x.double(), y.double()
        ssim = reference.ssim3d(a, b, *options).mean()
        loss = alpha * unit * (a - b).abs().mean() + (1 - alpha) * (1 - ssim)
        return loss.to(arithmetic(x))
    return l1_ssim_op(x, y, alpha * unit, 1 - alpha, *options, backend, _wants_grad(x, y))[0]


def _check(x: Tensor, y: Tensor, window: int, sigma: float, kind: str, data_range: float) -> None:
    check_volume(x, "x")
    check_volume(y, "y")
    check_pair(x, y)
    check_constants(sigma=sigma, data_range=data_range)
    if window % 2 != 1 or not 3 <= window <= MAX_WINDOW:
        raise InputError("window", f"window must be odd, from 3 to {MAX_WINDOW}, not {window}")
    if kind not in ("gaussian", "uniform"):
        raise InputError("kind", f"kind must be 'gaussian' or 'uniform', not {kind!r}")
    check_positive(sigma, "sigma")
    check_positive(data_range, "data_range")


def _prepared(
    x: Tensor, y: Tensor, data_range: float
) -> tuple[Tensor, Tensor, torch.dtype, float, float]:
    """``x`` and ``y`` as the kernels take them, and what became of their unit.

    Both are taken to one dtype. SSIM's products are of the order of ``data_range**4``, which
    float32 cannot hold for very large or small ranges: then both are divided by a power of two
    near ``data_range``, which changes no digit.

    Returns:
        x, y, the dtype of a map of them, the power of two (1 in general), the divided range.
    """
    dtype = torch.promote_types(x.dtype, y.dtype)
    x, y = x.to(dtype), y.to(dtype)
    if 1e-6 <= data_range <= 1e6:
        return x, y, dtype, 1.0, data_range
    limits = torch.finfo(arithmetic(x))
    if not limits.tiny <= data_range <= limits.max:
        raise InputError(
            "value",
            f"data_range must lie between {limits.tiny:.1e} and {limits.max:.1e} for "
            f"{dtype} volumes, not {data_range}",
        )
    unit = 2.0 ** math.floor(math.log2(data_range))
    x, y = (t.to(arithmetic(t)) / unit for t in (x, y))
    return x, y, dtype, unit, data_range / unit


def _wants_grad(x: Tensor, y: Tensor) -> bool:
    return torch.is_grad_enabled() and (x.requires_grad or y.requires_grad)
