"""Order statistics of the voxels inside a mask, exactly, without a copy or a sort of them.

Kernel and measurements: ``kernels/selection``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dal_fast.ops._checks import address
from dal_fast.ops._dispatch import cpu_kernels


@dataclass(frozen=True)
class Counts:
    """How many voxels lie inside the mask, and how many of them are below and above 0."""

    inside: int
    negative: int
    positive: int


class Selection:
    """The voxels of a volume inside a mask.

    Args:
        x: any shape, no NaN; computed in float32 on a CPU.
        mask: bool, the same shape.
    """

    def __init__(self, x: Tensor, mask: Tensor) -> None:
        self._x = x.detach().to("cpu", torch.float32).contiguous()
        self._mask = mask.to("cpu").contiguous()

    def counts(self) -> Counts:
        """Of all, the negative and the positive ones."""
        kernels, threads = cpu_kernels()
        inside, negative, positive = kernels.selection_counts(
            x=address(self._x), mask=address(self._mask), n=self._x.numel(), where=threads
        )
        return Counts(inside, negative, positive)

    def kth(self, k: int, *, positive: bool = False) -> float:
        """The value of rank ``k``, from 0, among all, or among the positive ones.

        ``k`` lies below the number of these.
        """
        kernels, threads = cpu_kernels()
        needed = kernels.selection_workspace(where=threads)
        workspace = torch.empty(needed, dtype=torch.uint8)
        return kernels.selection_kth(
            x=address(self._x), mask=address(self._mask), n=self._x.numel(), k=k,
            positive=positive, workspace=address(workspace), where=threads,
        )  # fmt: skip
