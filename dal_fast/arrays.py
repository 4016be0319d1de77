"""Compiled stages that take numpy arrays: for what is done before torch is imported, or without it.

They give what the functions that name them give, to the bit. :func:`enabled` says whether they may
be called.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dal_fast import context
from dal_fast.context import _C
from dal_fast.taps import canny_weights

Affine = NDArray[np.float64]
_KINDS = {np.dtype(np.float32): 0, np.dtype(np.uint8): 1, np.dtype(bool): 1, np.dtype(np.int16): 2}
"""What resampling reads, and the kernels' code of it."""


def enabled() -> bool:
    """Whether this thread's functions are to use what is compiled."""
    return context.backend() in ("auto", "cpu") and context.extension_problem() is None


def resample(
    x: NDArray[Any], affine: Affine, shape: tuple[int, int, int], target: Affine, nearest: bool
) -> NDArray[np.float32]:
    """See :func:`dal_fast.imaging.grid.resample`.

    Args:
        x: ``(I, J, K)`` finite values, any dtype and strides.
        affine: ``(4, 4)`` of ``x``.
        shape: of the result.
        target: ``(4, 4)`` of the result.
        nearest: take the nearest voxel, as for labels.
    """
    if x.dtype not in _KINDS:
        x = x.astype(np.float32)
    stride = tuple(step // x.itemsize for step in x.strides)
    source, goal = affine.ravel().tolist(), target.ravel().tolist()
    threads, out = context.threads(), np.empty(shape, np.float32)
    needed = _C.cpu.resample_workspace(
        size=x.shape, stride=stride, affine=source, shape=shape, target_affine=goal,
        nearest=nearest, where=threads,
    )  # fmt: skip
    workspace = _workspace(needed)
    _C.cpu.resample(
        x=x.ctypes.data, kind=_KINDS[x.dtype], size=x.shape, stride=stride, affine=source,
        shape=shape, target_affine=goal, nearest=nearest, out=out.ctypes.data,
        workspace=workspace.ctypes.data, where=threads,
    )  # fmt: skip
    return out


def components3d(mask: NDArray[np.bool_], connectivity: int) -> NDArray[np.int32]:
    """See :func:`dal_fast.ops.components3d`; of one volume ``(D, H, W)``."""
    mask = np.ascontiguousarray(mask)
    depth, height, width = mask.shape
    shape = _C.Components3dShape(
        volumes=1, depth=depth, height=height, width=width, connectivity=connectivity
    )
    threads, labels = context.threads(), np.empty(mask.shape, np.int32)
    size = _C.cpu.components3d_workspace(shape=shape, where=threads)
    workspace = _workspace(size)
    _C.cpu.components3d(
        mask=mask.ctypes.data, labels=labels.ctypes.data, workspace=workspace.ctypes.data,
        shape=shape, where=threads,
    )  # fmt: skip
    return labels


def canny3d(
    x: NDArray[np.float32], mask: NDArray[np.bool_], sigma: float, low: float, high: float
) -> NDArray[np.bool_]:
    """See :func:`dal_fast.ops.canny3d`; of one volume ``(D, H, W)``.

    Args:
        x: the image.
        mask: where edges are looked for.
        sigma: of the Gaussian, voxels.
        low, high: thresholds.
    """
    x, mask = np.ascontiguousarray(x, np.float32), np.ascontiguousarray(mask)
    depth, height, width = x.shape
    taps = np.array(canny_weights(sigma, max(x.shape)))
    edges = np.empty(x.shape, np.bool_)
    source = _C.CannyInput(
        values=x.ctypes.data, levels=0, mask=mask.ctypes.data, batch=1, channels=1, depth=depth,
        height=height, width=width, dtype=0,
    )  # fmt: skip
    parameters = _C.CannyParameters(taps=taps.ctypes.data, radius=len(taps) - 1, low=low, high=high)
    threads = context.threads()
    size = _C.cpu.canny3d_workspace(input=source, radius=len(taps) - 1, where=threads)
    workspace = _workspace(size)
    _C.cpu.canny3d(
        input=source, parameters=parameters, workspace=workspace.ctypes.data,
        edges=edges.ctypes.data, where=threads,
    )  # fmt: skip
    return edges


def _workspace(size: int) -> NDArray[np.uint8]:
    """Memory that begins where the kernels need it to, at a multiple of 64 bytes."""
    memory = np.empty(size + 64, np.uint8)
    return memory[-memory.ctypes.data % 64 :]
