"""Medians of rows on a GPU, by many blocks a row; torch takes one.

Kernel and measurements: ``kernels/selection``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dal_fast.ops._checks import address, wants_derivative
from dal_fast.ops._dispatch import cuda_kernels, resolve
from dal_fast.ops._register import op


def row_medians(values: Tensor, *, backend: str = "auto") -> Tensor:
    """The lower of two middle numbers of each row, ``(...)``, of ``values (..., V)``.

    NaN are no numbers; a row without any has the median NaN. As :meth:`torch.Tensor.nanmedian`,
    which does it where there is no kernel: on a CPU, for float64, and where a gradient is wanted.

    Args:
        values: floating point, any strides, fewer than 2**31 a row.
        backend: ``"auto"``, ``"cuda"`` or ``"reference"``.
    """
    if backend == "auto" and (values.device.type == "cpu" or wants_derivative(values)):
        backend = "reference"
    if resolve(backend, values) != "cuda":
        return values.nanmedian(dim=-1).values
    return _row_medians(values.float()).to(values.dtype)


@op("row_medians", remedy="pass x.detach()")
def _row_medians(values: Tensor) -> Tensor:
    values = values.contiguous()
    out = values.new_empty(values.shape[:-1])
    kernels, where = cuda_kernels(values)
    rows, n = out.numel(), values.shape[-1]
    size = kernels.row_medians_workspace(rows=rows, n=n)
    workspace = values.new_empty(size, dtype=torch.uint8)
    kernels.row_medians(
        x=address(values), rows=rows, n=n, medians=address(out), workspace=address(workspace),
        where=where,
    )  # fmt: skip
    return out


@_row_medians.register_fake
def _(values: Tensor) -> Tensor:
    return values.new_empty(values.shape[:-1])
