"""Resampling along a volume's own axes: a few weighted voxels an axis, all three in one pass.

Along each axis the sample at position t takes the triangle weights ``max(0, 1 − |s − t| / r)`` of
the source positions s, normalised; r = max(1, spacing of the samples in source voxels). That is
linear interpolation when going finer and an anti-aliasing filter of variance r²/6 when going
coarser. Kernel and measurements: ``kernels/separable``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dal_fast.context import _C
from dal_fast.ops._checks import address
from dal_fast.ops._dispatch import cpu_kernels

_KINDS = {torch.float32: 0, torch.uint8: 1, torch.bool: 1, torch.int16: 2}


@dataclass(frozen=True, eq=False)
class Taps:
    """What the samples along one axis are made of.

    Attributes:
        index: source voxels, int32 ``(taps, n)``.
        weight: of each, float32 ``(taps, n)``.
    """

    index: Tensor
    weight: Tensor


def linear_taps(position: NDArray[Any], spacing: float, size: int) -> Taps:
    """Samples at ``position`` (source voxels), ``spacing`` apart, of an axis of ``size`` voxels.

    Positions within half a voxel outside take the edge voxel, those beyond are 0.
    """
    if spacing < 1 + 1e-6 and np.abs(position - np.rint(position)).max() < 1e-4:
        return nearest_taps(position, size)
    inside, position = _confined(position, size)
    radius = max(1.0, spacing)
    index = np.floor(position - radius) + 1 + np.arange(int(np.ceil(2 * radius)))[:, None]
    weight = np.maximum(0, 1 - np.abs(index - position) / radius)
    weight[(index < 0) | (index >= size)] = 0
    return plain_taps(np.clip(index, 0, size - 1), weight / weight.sum(0) * inside)


def nearest_taps(position: NDArray[Any], size: int) -> Taps:
    """As :func:`linear_taps`, the nearest voxel alone."""
    inside, position = _confined(position, size)
    return plain_taps(np.rint(position)[None], inside[None])


def _confined(position: NDArray[Any], size: int) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    inside = (position >= -0.5) & (position <= size - 0.5)
    return inside, np.clip(position, 0, size - 1)


def plain_taps(index: NDArray[Any], weight: NDArray[Any]) -> Taps:
    """These voxels with these weights, both ``(taps, n)``."""
    return Taps(
        torch.from_numpy(index.astype(np.int32)), torch.from_numpy(weight.astype(np.float32))
    )


def readable(x: Tensor) -> tuple[Tensor, int]:
    """A volume in a type that the kernels of resampling read, and their code for it."""
    x = x if x.dtype in _KINDS else x.float()
    return x, _KINDS[x.dtype]


def sample_separable(x: Tensor, taps: Sequence[Taps], out: Tensor) -> None:
    """Write the samples of ``x`` into ``out``; the same bits for any number of threads.

    Args:
        x: volume, finite values, any dtype and strides, CPU.
        taps: of every axis, in the order of ``x`` and ``out``.
        out: float32 ``(D, H, W)``, contiguous along W.
    """
    x, kind = readable(x)
    kernels, threads = cpu_kernels()
    axes = [
        _C.AxisTaps(
            index=address(t.index), weight=address(t.weight), taps=len(t.index),
            count=t.index.shape[1], size=x.shape[axis], stride=x.stride(axis),
        )
        for axis, t in enumerate(taps)
    ]  # fmt: skip
    needed = kernels.separable3d_workspace(axes=axes, where=threads)
    workspace = torch.empty(needed, dtype=torch.uint8)
    kernels.separable3d(
        x=address(x), kind=kind, axes=axes, stride_d=out.stride(0),
        stride_h=out.stride(1), out=address(out), workspace=address(workspace), where=threads,
    )  # fmt: skip
