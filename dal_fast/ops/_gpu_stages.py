"""The stages around the networks that have a kernel of their own on a GPU, many volumes at a time.

As :mod:`dal_fast.ops._image_stages` for a CPU: what calls them has the same in torch, one pass over
the memory an operation, where here it is one a stage. Kernels and what they are expected to cost:
``kernels/nearby``, ``boxmean``, ``residual`` and ``instancenorm``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dal_fast.ops._checks import DTYPE_CODES, address, wants_derivative
from dal_fast.ops._dispatch import cuda_kernels, resolve
from dal_fast.ops._register import op

_REMEDY = "pass x.detach()"
MOST_CHANNELS = 256  # of :func:`instance_norm`
MEANS = (1, 3, 9)  # steps of :func:`box_mean`
_WHOLE = (torch.float32, torch.bool)
_ANY = (*_WHOLE, torch.float16, torch.bfloat16)


def served(*tensors: Tensor, halves: bool = False) -> bool:
    """Whether the kernels take these tensors: on a GPU, no derivative wanted, float32 and bool.

    Args:
        tensors: the first decides for the device.
        halves: also float16 and bfloat16, for :func:`instance_norm`.
    """
    types = _ANY if halves else _WHOLE
    return (
        tensors[0].device.type == "cuda"
        and not torch.compiler.is_compiling()
        and not any(t.dtype not in types or wants_derivative(t) for t in tensors)
        and resolve("auto", tensors[0]) == "cuda"
    )


def highest_nearby(x: Tensor, mask: Tensor, sign: float = 1.0) -> Tensor:
    """See :func:`dal_fast.models.residuals.highest_nearby`; of ``-x`` for a ``sign`` of -1."""
    return _highest_nearby(x, mask.expand_as(x), sign)  # type: ignore[no-any-return]


def box_mean(x: Tensor, step: int = 1) -> Tensor:
    """See :func:`dal_fast.screening.enhance.mean3`; ``step`` is one of ``MEANS``."""
    return _box_mean(x, step)  # type: ignore[no-any-return]


def signed_residual(
    x: Tensor,
    phi: Tensor,
    fluid: Tensor,
    mask: Tensor,
    spread: Tensor,
    sign: float,
    usual: Tensor | None,
    usual_least: float,
) -> Tensor:
    """q_s, or r_s times (1 - fluid) without ``usual``: :mod:`dal_fast.screening.enhance`."""
    limit = highest_nearby(phi, mask, sign)
    return _signed_residual(  # type: ignore[no-any-return]
        x, phi, limit, fluid, mask, spread, usual, sign, usual_least
    )


def cluster_heights(
    residual: Tensor,
    smooth: Tensor,
    structure: Tensor,
    evidence: Tensor | None,
    smoothed: Tensor,
    least: float,
) -> Tensor:
    """What cluster enhancement is given: :mod:`dal_fast.screening.enhance`.

    Args:
        residual: q_s, ``(N, 1, D, H, W)``.
        smooth: m_s, the same shape.
        structure: g / g_0.
        evidence: h.
        smoothed: whether ``smooth`` counts, bool, as many values as scans.
        least: what counts where scan and phi are structured alike.
    """
    return _cluster_heights(  # type: ignore[no-any-return]
        residual, smooth, structure, evidence, smoothed, least
    )


def instance_norm(
    x: Tensor, gain: Tensor | None, shift: Tensor | None, eps: float, slope: float
) -> Tensor:
    """Instance normalisation and leaky rectifier of ``(N, C, D, H, W)``, in the layout of ``x``.

    Args:
        x: float32, float16 or bfloat16, of at most ``MOST_CHANNELS``.
        gain, shift: ``(C,)``.
        eps: added to the variance.
        slope: of the rectifier below 0; 1 for none.
    """
    return _instance_norm(x, gain, shift, eps, slope)  # type: ignore[no-any-return]


def _sides(x: Tensor) -> dict[str, int]:
    depth, height, width = x.shape[-3:]
    return {"volumes": x.shape[:-3].numel(), "depth": depth, "height": height, "width": width}


def _dense(x: Tensor) -> tuple[Tensor, bool]:
    """x without gaps, and whether its channels lie last."""
    last = not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last_3d)
    return x if last else x.contiguous(), last


@op("highest_nearby", remedy=_REMEDY)
def _highest_nearby(x: Tensor, mask: Tensor, sign: float) -> Tensor:
    x, mask = x.contiguous(), mask.contiguous()
    out = torch.empty_like(x)
    kernels, where = cuda_kernels(x)
    kernels.highest_nearby(
        x=address(x), mask=address(mask), sign=sign, out=address(out), **_sides(x), where=where
    )
    return out


@op("box_mean", remedy=_REMEDY)
def _box_mean(x: Tensor, step: int) -> Tensor:
    x = x.contiguous()
    out = torch.empty_like(x)
    kernels, where = cuda_kernels(x)
    kernels.box_mean(x=address(x), step=step, out=address(out), **_sides(x), where=where)
    return out


@op("signed_residual", remedy=_REMEDY)
def _signed_residual(
    x: Tensor,
    phi: Tensor,
    limit: Tensor,
    fluid: Tensor,
    mask: Tensor,
    spread: Tensor,
    usual: Tensor | None,
    sign: float,
    usual_least: float,
) -> Tensor:
    x, phi, limit, fluid, mask, spread = (
        t.contiguous() for t in (x, phi, limit, fluid, mask, spread)
    )
    usual = None if usual is None else usual.contiguous()
    out = torch.empty_like(x)
    kernels, where = cuda_kernels(x)
    kernels.signed_residual(
        x=address(x), phi=address(phi), limit=address(limit), fluid=address(fluid),
        spread=address(spread), usual=address(usual), mask=address(mask), sign=sign,
        usual_least=usual_least, out=address(out), voxels=x.numel(), where=where,
    )  # fmt: skip
    return out


@op("cluster_heights", remedy=_REMEDY)
def _cluster_heights(
    residual: Tensor,
    smooth: Tensor,
    structure: Tensor,
    evidence: Tensor | None,
    smoothed: Tensor,
    least: float,
) -> Tensor:
    r, smooth, structure, smoothed = (
        t.contiguous() for t in (residual, smooth, structure, smoothed)
    )
    evidence = None if evidence is None else evidence.contiguous()
    out = torch.empty_like(r)
    kernels, where = cuda_kernels(r)
    kernels.cluster_heights(
        r=address(r), smooth=address(smooth), structure=address(structure),
        evidence=address(evidence), smoothed=address(smoothed), least=least, out=address(out),
        volumes=len(r), voxels=r[:1].numel(), where=where,
    )  # fmt: skip
    return out


@op("instance_norm", remedy=_REMEDY)
def _instance_norm(
    x: Tensor, gain: Tensor | None, shift: Tensor | None, eps: float, slope: float
) -> Tensor:
    x, last = _dense(x)
    gain, shift = (None if t is None else t.to(torch.float32).contiguous() for t in (gain, shift))
    out = torch.empty_like(x)
    kernels, where = cuda_kernels(x)
    sizes = {"volumes": len(x), "channels": x.shape[1], "voxels": x.shape[2:].numel()}
    size = kernels.instance_norm_workspace(**sizes, channels_last=last)
    workspace = torch.empty(size, dtype=torch.uint8, device=x.device)
    kernels.instance_norm(
        x=address(x), gain=address(gain), shift=address(shift), y=address(out),
        workspace=address(workspace), **sizes, channels_last=last, eps=eps, slope=slope,
        dtype=DTYPE_CODES[x.dtype], where=where,
    )  # fmt: skip
    return out


def _like_the_first(first: Tensor, *_: object) -> Tensor:
    return torch.empty_like(first, memory_format=torch.contiguous_format)


for _one in (_highest_nearby, _box_mean, _signed_residual, _cluster_heights):
    _one.register_fake(_like_the_first)


@_instance_norm.register_fake
def _(x: Tensor, gain: Tensor | None, shift: Tensor | None, eps: float, slope: float) -> Tensor:
    return torch.empty_like(_dense(x)[0])
