"""Threshold-free cluster enhancement."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dal_fast.context import _C
from dal_fast.errors import Code, InputError
from dal_fast.ops._checks import (
    DTYPE_CODES,
    address,
    check_constants,
    check_mask,
    check_number,
    check_volume,
    check_whole,
    wants_derivative,
)
from dal_fast.ops._dispatch import cpu_kernels, cuda_kernels, resolve
from dal_fast.ops._register import op

_MOST_VOXELS = 2**31 - 1  # of one volume: then a position and a flag fit 32 bits


def tfce3d(
    x: Tensor,
    mask: Tensor | None = None,
    extent_power: float = 0.5,
    height_power: float = 2.0,
    connectivity: int = 26,
    *,
    backend: str = "auto",
) -> Tensor:
    """Threshold-free cluster enhancement of every volume.

    ``TFCE(u) = ∫ e(u, h)^E h^H dh`` from 0 to ``x(u)``, where ``e(u, h)`` is the number of voxels
    of the connected component of ``{v : x(v) ≥ h}`` that holds ``u`` (Smith and Nichols, NeuroImage
    2009). A voxel gains by its own height and by what it hangs together with, so that large faint
    clusters and small strong ones are told from noise in one map, without a cluster-forming
    threshold. Other implementations sum over a few dozen thresholds; this is the integral itself,
    from the tree of all components, added in double. A CPU and a GPU add in different orders, and
    differ by rounding alone.

    Background is 0 in the result: voxels outside the mask, those that are not positive, and NaN.
    They join nothing. For negative values, enhance ``-x``. The unit is that of ``x`` to the power
    of ``height_power + 1``, times voxels to that of ``extent_power``: maps are comparable between
    scans of one voxel size only.

    There is no gradient: an input of which a derivative is wanted is refused.

    Args:
        x: ``(N, C, D, H, W)``, float32, float64, float16 or bfloat16, any strides. Every ``(n, c)``
            volume stands for itself.
        mask: bool ``(N, 1, D, H, W)``; outside it there is background.
        extent_power: E, at least 0. Smith and Nichols found 0.5 for 3D statistics.
        height_power: H, above -1. They found 2; 1 lets faint clusters count for more.
        connectivity: 6, 18 or 26, see :func:`dal_fast.ops.components3d`.
        backend: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"reference"``.

    Returns:
        ``(N, C, D, H, W)`` in the dtype of ``x``, contiguous.

    Raises:
        InputError: ``not-a-tensor``, ``shape``, ``dtype``, ``mask-dtype``, ``mask-shape``,
            ``mask-device``, ``connectivity``, ``value``; ``no-gradient`` when a derivative by ``x``
            or by a power is wanted; ``backend-unavailable``.

    Example:
        >>> import torch
        >>> from dal_fast import ops
        >>> x = torch.zeros(1, 1, 8, 8, 8)
        >>> x[..., 2:6, 2:6, 2:6] = 1
        >>> ops.tfce3d(x, extent_power=0.5, height_power=1.0).max().item()  # 64^0.5 / 2
        4.0
    """
    check_volume(x, "x")
    check_mask(mask, x)
    check_constants(extent_power=extent_power, height_power=height_power)
    connectivity = check_whole(connectivity, "connectivity", Code.CONNECTIVITY)
    check_number(extent_power, "extent_power")
    check_number(height_power, "height_power")
    _check_options(x, extent_power, height_power, connectivity)
    if wants_derivative(x):
        raise InputError(Code.NO_GRADIENT, "tfce3d has no gradient: pass x.detach()")
    backend = resolve(backend, x)
    if backend == "reference":
        from dal_fast import reference

        return reference.tfce3d(x.double(), mask, extent_power, height_power, connectivity).to(
            x.dtype
        )
    return _tfce3d(x, mask, extent_power, height_power, connectivity, backend)


def _check_options(x: Tensor, extent_power: float, height_power: float, connectivity: int) -> None:
    if connectivity not in (6, 18, 26):
        raise InputError(Code.CONNECTIVITY, f"connectivity must be 6, 18 or 26, not {connectivity}")
    if not 0 <= extent_power < math.inf:
        raise InputError(Code.VALUE, f"extent_power must be at least 0, not {extent_power}")
    if not -1 < height_power < math.inf:
        raise InputError(Code.VALUE, f"height_power must be above -1, not {height_power}")
    depth, height, width = x.shape[2:]
    if depth * height * width > _MOST_VOXELS:
        raise InputError(Code.SHAPE, f"x has 2**31 voxels a volume or more: {tuple(x.shape)}")


@op("tfce3d", remedy="pass x.detach()")
def _tfce3d(
    x: Tensor,
    mask: Tensor | None,
    extent_power: float,
    height_power: float,
    connectivity: int,
    backend: str,
) -> Tensor:
    n, c, d, h, w = x.shape
    problem = _C.Tfce3dProblem(
        volumes=n * c, depth=d, height=h, width=w, connectivity=connectivity,
        extent_power=extent_power, height_power=height_power,
    )  # fmt: skip
    if backend == "cuda":
        return _on_gpu(x if mask is None else x.where(mask, 0), problem)
    x, mask = x.contiguous(), None if mask is None else mask.expand(x.shape).contiguous()
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    kernels, threads = cpu_kernels()
    dtype = DTYPE_CODES[x.dtype]
    needed = kernels.tfce3d_workspace(problem=problem, dtype=dtype, where=threads)
    workspace = x.new_empty(needed, dtype=torch.uint8)
    kernels.tfce3d(
        x=address(x), mask=address(mask), out=address(out), workspace=address(workspace),
        problem=problem, dtype=dtype, where=threads,
    )  # fmt: skip
    return out


def _on_gpu(x: Tensor, problem: _C.Tfce3dProblem) -> Tensor:
    """Voxels sorted by value, then by the branch that they belong to: the rest is sums."""
    x = x.where(x > 0, 0).contiguous()
    out = torch.empty_like(x)
    kernels, where = cuda_kernels(x)
    workspace = x.new_empty(kernels.tfce3d_workspace(problem=problem), dtype=torch.uint8)
    order = x.flatten(2).sort(dim=2, descending=True, stable=True).indices
    branches = torch.empty(order.shape, dtype=torch.int32, device=x.device)
    dtype = DTYPE_CODES[x.dtype]
    kernels.tfce3d_branches(
        x=address(x), order=address(order), branches=address(branches),
        workspace=address(workspace), problem=problem, dtype=dtype, where=where,
    )  # fmt: skip
    branches, ranks = branches.sort(dim=2, stable=True)
    kernels.tfce3d_sums(
        x=address(x), order=address(order), branches=address(branches), ranks=address(ranks),
        out=address(out), workspace=address(workspace), problem=problem, dtype=dtype, where=where,
    )  # fmt: skip
    return out


@_tfce3d.register_fake
def _(
    x: Tensor,
    mask: Tensor | None,
    extent_power: float,
    height_power: float,
    connectivity: int,
    backend: str,
) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)
