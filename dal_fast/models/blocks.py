"""The convolution blocks that every network here is made of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dal_fast.ops import _gpu_stages as gpu

SLOPE = 0.01  # of the leaky rectifier


def instance_norm(channels: int, affine: bool = True) -> InstanceNorm:
    """Instance normalisation, as a group normalisation with one channel a group.

    The same numbers; torch's own InstanceNorm3d leaves the channels-last layout and costs a third
    of a training step on a CPU.
    """
    return InstanceNorm(channels, channels, affine=affine)


class InstanceNorm(nn.GroupNorm):
    """A group normalisation that is fast in the channels-last layout, with a gradient and on a GPU.

    Torch's gradient of a group normalisation takes more than half of a training step on a CPU, and
    its statistics are plain float32 sums of values and squares there: they err by up to
    .005, differently for each batch and number of threads. On a GPU they come from one block
    a channel, and the layout is changed to and fro; without a gradient, a kernel of ours does both,
    and the rectifier that follows. A network that is exported has torch's own, which every runtime
    knows.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self._has_kernel(x):
            return gpu.instance_norm(x, self.weight, self.bias, self.eps, 1.0)
        exported = torch._C._get_tracing_state() is not None or torch.compiler.is_compiling()
        if not exported or x.is_cuda or (torch.is_grad_enabled() and x.requires_grad):
            normed: Tensor = _Normalised.apply(x, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
            return normed
        return super().forward(x)

    def rectified(self, x: Tensor) -> Tensor:
        """The normalised x through the leaky rectifier."""
        if self._has_kernel(x):
            return gpu.instance_norm(x, self.weight, self.bias, self.eps, SLOPE)
        return F.leaky_relu(self(x), SLOPE)

    def _has_kernel(self, x: Tensor) -> bool:
        own = (t for t in (self.weight, self.bias) if t is not None)
        traced = torch._C._get_tracing_state() is not None
        fits = x.dim() == 5 and x.shape[1] <= gpu.MOST_CHANNELS
        return fits and not traced and gpu.served(x, *own, halves=True)


class _Normalised(torch.autograd.Function):
    """Normalisation of ``(N, C, ...)`` over all but the first two axes; affine where it has a
    weight and a bias."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Any:
        rows = x.movedim(1, -1).flatten(1, -2)  # (N, voxels, C), no copy when channels come last
        mean, variance = _in_one_pass(rows) if x.is_cuda else _in_two_passes(rows)
        inverse = variance.add_(eps).rsqrt_()
        scale = inverse if weight is None else weight * inverse
        ctx.save_for_backward(rows, mean, inverse, scale)
        ctx.affine = weight is not None
        shift = -mean * scale if bias is None else bias - mean * scale
        out = torch.addcmul(shift, rows, scale).to(x.dtype)
        return out.view(x.movedim(1, -1).shape).movedim(-1, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        rows, mean, inverse, scale = ctx.saved_tensors
        grad = grads[0].movedim(1, -1)
        flat = grad.flatten(1, -2).float()
        normed = (rows - mean).mul_(inverse)
        bias = flat.sum(1, keepdim=True)
        weight = (flat * normed).sum(1, keepdim=True)
        count = rows.shape[1]
        out = (flat - bias / count).addcmul_(normed, weight, value=-1 / count).mul_(scale)
        out = out.to(rows.dtype).view(grad.shape).movedim(-1, 1)
        if not ctx.affine:
            return out, None, None, None
        return out, weight.sum((0, 1)), bias.sum((0, 1)), None


def _in_two_passes(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance over the second axis of ``(N, voxels, C)``, float32 ``(N, 1, C)``."""
    mean = rows.mean(1, keepdim=True, dtype=torch.float32)
    return mean, (rows - mean).square_().mean(1, keepdim=True)


def _in_one_pass(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The same without a volume in between; a variance far below the mean's square loses digits."""
    kind = torch.promote_types(rows.dtype, torch.float32)
    mean = rows.mean(1, keepdim=True, dtype=kind)
    length = torch.linalg.vector_norm(rows, dim=1, keepdim=True, dtype=kind)
    return mean, (length.square() / rows.shape[1] - mean.square()).clamp_min_(0)


class ConvBlock(nn.Module):
    """``(Conv3 - InstanceNorm - LeakyReLU) x 2``; the first convolution may step by two.

    Not specified in the paper. Normalisation statistics are those of one volume, so a scan's
    result does not depend on its neighbours in the batch.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = instance_norm(outputs)
        self.conv2 = nn.Conv3d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = instance_norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1.rectified(self.conv1(x))
        return self.norm2.rectified(self.conv2(x))


class FiLMBlock(nn.Module):
    """``Conv3 - InstanceNorm - FiLM(v) - LeakyReLU``: channel c becomes ``(1 + g_c) x_c + s_c``.

    Scale g and shift s are a linear map of the modality vector v ``(N, code)``, the only way for
    contrast to enter an image that is otherwise made of anatomy. Not specified in the paper.
    """

    def __init__(self, inputs: int, outputs: int, code: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = instance_norm(outputs, affine=False)
        self.film = nn.Linear(code, 2 * outputs)

    def forward(self, x: Tensor, v: Tensor) -> Tensor:
        scale, shift = self.film(v)[:, :, None, None, None].chunk(2, dim=1)
        return F.leaky_relu(self.norm(self.conv(x)) * (1 + scale) + shift, SLOPE)
