"""Sampling a volume on a grid that lies obliquely in it: trilinear, or the nearest voxel.

Kernel and measurements: ``kernels/oblique``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dal_fast.context import _C
from dal_fast.imaging.separable import Taps, plain_taps, readable
from dal_fast.ops._checks import address
from dal_fast.ops._dispatch import cpu_kernels


def sample_oblique(x: Tensor, transform: NDArray[Any], out: Tensor, nearest: bool = False) -> None:
    """Write samples of ``x`` into ``out``; the same bits for any number of threads.

    Positions up to half a voxel beyond the outermost centres take the edge voxel, those further out
    are 0.

    Args:
        x: volume, finite values, any dtype and strides, CPU.
        transform: (4, 4), index of ``out`` to index of ``x``.
        out: float32 ``(D, H, W)``, contiguous along W.
        nearest: the nearest voxel instead of trilinear interpolation.
    """
    x, kind = readable(x)
    axes = [
        _C.ObliqueAxis(
            size=x.shape[a], stride=x.stride(a), offset=float(transform[a, 3]),
            step_d=float(transform[a, 0]), step_h=float(transform[a, 1]),
            step_w=float(transform[a, 2]),
        )
        for a in range(3)
    ]  # fmt: skip
    kernels, threads = cpu_kernels()
    depth, height, width = out.shape
    kernels.oblique3d(
        x=address(x), kind=kind, axes=axes, shape=(depth, height, width), stride_d=out.stride(0),
        stride_h=out.stride(1), nearest=nearest, out=address(out), where=threads,
    )  # fmt: skip


def gaussian_taps(size: int, sigma: float) -> Taps:
    """A Gaussian along an axis of ``size`` voxels, cut at 3 sigma, the edge voxels repeating.

    Args:
        size: of the axis.
        sigma: in voxels; 0 leaves the axis as it is.
    """
    radius = int(np.ceil(3 * sigma))
    shift = np.arange(-radius, radius + 1)[:, None]
    weight = np.exp(-0.5 * (shift / sigma) ** 2) if radius else np.ones((1, 1))
    index = np.clip(np.arange(size) + shift, 0, size - 1)
    return plain_taps(index, np.broadcast_to(weight / weight.sum(), index.shape))
