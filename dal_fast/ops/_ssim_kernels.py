"""One call of the SSIM kernels: the work described, the memory it points to, the launch."""

from __future__ import annotations

import torch
from torch import Tensor

from dal_fast.context import _C
from dal_fast.ops._checks import DTYPE_CODES, address, check_triton_planes, host_table
from dal_fast.ops._dispatch import launcher, triton_kernels
from dal_fast.taps import ssim_weights


def arithmetic(x: Tensor) -> torch.dtype:
    """What values of ``x`` are computed in."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def new_map(x: Tensor) -> Tensor:
    """A contiguous volume like ``x``, uninitialised."""
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def new_fields(x: Tensor, wanted: bool) -> Tensor:
    """The derivatives by F[u], F[u²], F[v], F[v²], rows padded to 16 elements; see ssim_l1.h."""
    n, c, d, h, w = x.shape
    shape = (n, c, d, h, 4, (w + 15) // 16 * 16) if wanted else (0,)
    return x.new_empty(shape, dtype=arithmetic(x))


def new_gradient(x: Tensor, wanted: bool) -> Tensor:
    """A volume like ``x``, or nothing."""
    return new_map(x) if wanted else x.new_empty(0)


class SsimKernels:
    """The kernels of ``backend`` for one pair of volumes ``(N, C, D, H, W)``, contiguous here."""

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        window: int,
        sigma: float,
        kind: str,
        data_range: float,
        backend: str,
    ) -> None:
        self.x, self.y = x.contiguous(), y.contiguous()
        self._weights = host_table(ssim_weights(window, sigma, kind))
        self._c = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
        self._triton = triton_kernels("ssim_l1") if backend == "triton" else None
        if self._triton is not None:
            check_triton_planes(x)
        else:
            self._compiled, self._where = launcher(backend, x)
            n, c, depth, height, width = x.shape
            self._problem = _C.SsimProblem(
                volumes=n * c, depth=depth, height=height, width=width,
                weights=address(self._weights), radius=window // 2,
                c1=self._c[0], c2=self._c[1], dtype=DTYPE_CODES[x.dtype],
            )  # fmt: skip
            size = self._compiled.ssim_workspace(problem=self._problem, where=self._where)
            self._workspace = x.new_empty(size, dtype=torch.uint8)

    def map(self, hybrid: bool) -> Tensor:
        """SSIM, or ``|x - y| (1 - SSIM)``."""
        out = new_map(self.x)
        if self._triton:
            self._triton.ssim_map(self.x, self.y, out, hybrid, self._weights, *self._c)
        else:
            self._compiled.ssim_map(
                x=address(self.x), y=address(self.y), out=address(out), hybrid=hybrid,
                problem=self._problem, workspace=address(self._workspace), where=self._where,
            )  # fmt: skip
        return out

    def sums(self, keep_fields: bool) -> tuple[Tensor, Tensor]:
        """``(sum |x - y|, sum (1 - SSIM))``, float64; and the fields for the backward pass."""
        fields = new_fields(self.x, keep_fields)
        sums = self.x.new_empty(2, dtype=torch.float64)
        if self._triton:
            kept = fields if keep_fields else None
            self._triton.ssim_sums(self.x, self.y, sums, kept, self._weights, *self._c)
        else:
            self._compiled.ssim_sums(
                x=address(self.x), y=address(self.y), sums=address(sums),
                fields=address(fields) if keep_fields else 0,
                problem=self._problem, workspace=address(self._workspace), where=self._where,
            )  # fmt: skip
        return sums, fields

    def fields(self, grad: Tensor) -> Tensor:
        """The fields of ``sum(grad * SSIM)``."""
        grad, fields = grad.contiguous(), new_fields(self.x, True)
        if self._triton:
            self._triton.ssim_fields(self.x, self.y, grad, fields, self._weights, *self._c)
        else:
            self._compiled.ssim_fields(
                x=address(self.x), y=address(self.y), grad=address(grad), fields=address(fields),
                problem=self._problem, workspace=address(self._workspace), where=self._where,
            )  # fmt: skip
        return fields

    def backward(
        self,
        fields: Tensor,
        upstream: Tensor | None,
        scale: float,
        l1: float,
        need_x: bool,
        need_y: bool,
    ) -> tuple[Tensor, Tensor]:
        """Gradients of ``upstream (scale sum(g SSIM) + l1 sum|x - y|)``; empty where not needed.

        ``upstream`` is a float64 scalar on the device of ``x``, 1 without one.
        """
        gx, gy = new_gradient(self.x, need_x), new_gradient(self.y, need_y)
        fields = fields.contiguous()
        if self._triton:
            self._triton.ssim_backward(
                self.x, self.y, fields, upstream, scale, l1,
                gx if need_x else None, gy if need_y else None, self._weights,
            )  # fmt: skip
        else:
            self._compiled.ssim_backward(
                x=address(self.x), y=address(self.y), fields=address(fields),
                upstream=address(upstream), scale=scale, l1=l1,
                grad_x=address(gx) if need_x else 0, grad_y=address(gy) if need_y else 0,
                problem=self._problem, workspace=address(self._workspace), where=self._where,
            )  # fmt: skip
        return gx, gy
