"""Exact 3D median filter."""

from __future__ import annotations

import torch
from torch import Tensor

from dal_fast.context import _C
from dal_fast.errors import Code, InputError
from dal_fast.ops._checks import (
    DTYPE_CODES,
    address,
    check_mask,
    check_volume,
    check_whole,
    wants_derivative,
)
from dal_fast.ops._dispatch import launcher, resolve
from dal_fast.ops._register import op


def median3d(
    x: Tensor, size: int = 3, mask: Tensor | None = None, *, backend: str = "auto"
) -> Tensor:
    """The exact median over a cube of ``size`` voxels a side.

    ``out(v) = mask(v) * median{ x(u) : |u - v|_inf <= size // 2 }``; a cube of 4 reaches from
    ``v - 2`` to ``v + 1``, and the upper of its two middle values is taken, as in scipy: it shifts
    edges by half a voxel and serves protocols that ask for it. Beyond the border the edge voxel
    repeats, as in ``scipy.ndimage.median_filter(x, size, mode="reflect")``, whose values it
    equals. The mask only blanks the result: voxels outside it still count in their neighbours'
    medians. The paper says
    "smoothing" and no more: the filter is not specified in the paper.

    NaN counts as larger than +inf, so the median is NaN where more than half of the cube is NaN.
    Of -0.0 and 0.0, -0.0 is the smaller.

    The filter has no gradient here: an input of which a derivative is wanted, in reverse or in
    forward mode, is refused rather than silently cut out of the graph.

    Args:
        x: ``(N, C, D, H, W)``, float32, float64, float16 or bfloat16, any strides.
        size: 3 or 5; 4 on the CPU.
        mask: bool ``(N, 1, D, H, W)``; outside it the result is 0.
        backend: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"reference"``.

    Returns:
        ``(N, C, D, H, W)`` in the dtype of ``x``, contiguous.

    Raises:
        InputError: ``not-a-tensor``, ``shape``, ``dtype``, ``mask-dtype``, ``mask-shape``,
            ``mask-device``, ``size``; ``no-gradient`` when ``x`` requires a gradient and gradients
            are enabled; ``backend-unavailable``.

    Example:
        >>> import torch
        >>> from dal_fast import ops
        >>> x = torch.zeros(1, 1, 8, 8, 8)
        >>> x[..., 4, 4, 4] = 1
        >>> ops.median3d(x, size=3).max().item()
        0.0
    """
    check_volume(x, "x")
    check_mask(mask, x)
    size = check_whole(size, "size", Code.SIZE)
    if size not in (3, 4, 5):
        raise InputError(Code.SIZE, f"size must be 3, 4 or 5, not {size}")
    if wants_derivative(x):
        raise InputError(Code.NO_GRADIENT, "median3d has no gradient: pass x.detach()")
    backend = resolve(backend, x)
    if size == 4 and backend == "cuda":
        raise InputError(Code.SIZE, "a median of size 4 has no GPU kernel: pass x.cpu(), or 3 or 5")
    if backend == "reference":
        from dal_fast import reference

        return reference.median3d(x.double(), size, mask).to(x.dtype)
    return _median3d(x, size, mask, backend)


@op("median3d", remedy="pass x.detach()")
def _median3d(x: Tensor, size: int, mask: Tensor | None, backend: str) -> Tensor:
    x, mask = x.contiguous(), None if mask is None else mask.contiguous()
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    n, c, d, h, w = x.shape
    kernels, where = launcher(backend, x)
    shape = _C.Median3dShape(batch=n, channels=c, depth=d, height=h, width=w, size=size)
    dtype = DTYPE_CODES[x.dtype]
    needed = kernels.median3d_workspace(shape=shape, dtype=dtype, where=where)
    workspace = x.new_empty(needed, dtype=torch.uint8)
    kernels.median3d(
        x=address(x), mask=address(mask), out=address(out), workspace=address(workspace),
        shape=shape, dtype=dtype, where=where,
    )  # fmt: skip
    return out


@_median3d.register_fake
def _(x: Tensor, size: int, mask: Tensor | None, backend: str) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)
