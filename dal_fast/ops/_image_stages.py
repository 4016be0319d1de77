"""The compiled stages from a scan to its pseudo-healthy image, called with tensors on a CPU.

What calls them has the same in torch, for a GPU, for gradients, for other types, and as their
reference (``context.use(backend="reference")``): batched, and in shapes that depend on no data.
Sources: ``csrc/chain`` and the kernels that it names.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dal_fast import arrays
from dal_fast.ops._checks import address, wants_derivative
from dal_fast.ops._dispatch import cpu_kernels

_by_torch: ContextVar[bool] = ContextVar("by_torch", default=False)


@contextmanager
def by_torch() -> Iterator[None]:
    """Torch's forms also on a CPU, where a GPU's chain is compared with the compiled one."""
    before = _by_torch.set(True)
    try:
        yield
    finally:
        _by_torch.reset(before)


def enabled() -> bool:
    """Whether this thread's functions are to use what is compiled."""
    return not _by_torch.get() and arrays.enabled() and not torch.compiler.is_compiling()


def served(*tensors: Tensor) -> bool:
    """Whether the compiled stages take these tensors: float32 and bool on a CPU, no derivative."""
    return enabled() and all(
        type(t) in (Tensor, torch.nn.Parameter)
        and t.device.type == "cpu"
        and t.dtype in (torch.float32, torch.bool)
        and not wants_derivative(t)
        for t in tensors
    )


MOST_TISSUES = 16
"""That the stages are written for."""


def _workspace(size: int) -> Tensor:
    return torch.empty(size, dtype=torch.uint8)


def _sides(x: Tensor) -> tuple[int, int, int]:
    depth, height, width = x.shape[-3:]
    return depth, height, width


def highest_nearby(x: Tensor, mask: Tensor, sign: float = 1.0) -> Tensor:
    """See :func:`dal_fast.models.residuals.highest_nearby`; of ``-x`` for a ``sign`` of -1."""
    x, mask, out = x.contiguous(), mask.contiguous(), torch.empty(x.shape)
    kernels, threads = cpu_kernels()
    shape = _sides(x)
    workspace = _workspace(kernels.highest_nearby_workspace(shape=shape, where=threads))
    for n in range(len(x)):
        kernels.highest_nearby(
            x=address(x[n]), mask=address(mask[n]), sign=sign, out=address(out[n]), shape=shape,
            workspace=address(workspace), where=threads,
        )  # fmt: skip
    return out


def usual_spread(x: Tensor, phi: Tensor, p: Tensor, mask: Tensor) -> Tensor:
    """See :func:`dal_fast.models.residuals.usual_spread`."""
    x, phi, p, mask = (t.contiguous() for t in (x, phi, p, mask))
    out, spreads = torch.empty(x.shape), torch.empty(p.shape[:2])
    kernels, threads = cpu_kernels()
    voxels = mask[0].numel()
    workspace = _workspace(kernels.usual_spread_workspace(voxels=voxels, where=threads))
    for n in range(len(x)):
        kernels.usual_spread(
            x=address(x[n]), phi=address(phi[n]), p=address(p[n]), mask=address(mask[n]),
            tissues=p.shape[1], voxels=voxels, out=address(out[n]), spreads=address(spreads[n]),
            workspace=address(workspace), where=threads,
        )  # fmt: skip
    return out


def lay_atlas(atlas: Tensor, mask: Tensor) -> Tensor:
    """``atlas (1, K, ...)`` in the bounding box of ``mask (D, H, W)``, 0 outside the mask."""
    atlas, mask = atlas.contiguous(), mask.contiguous()
    tissues, sides, shape = atlas.shape[1], _sides(atlas), _sides(mask)
    out = torch.empty((tissues, *shape))
    kernels, threads = cpu_kernels()
    workspace = _workspace(
        kernels.lay_atlas_workspace(tissues=tissues, atlas_shape=sides, shape=shape, where=threads)
    )
    kernels.lay_atlas(
        atlas=address(atlas), tissues=tissues, atlas_shape=sides, mask=address(mask), shape=shape,
        out=address(out), workspace=address(workspace), where=threads,
    )  # fmt: skip
    return out


def tissue_evidence(x: Tensor, mask: Tensor, atlas: Tensor) -> Tensor:
    """See :class:`dal_fast.models.evidence.TissueEvidence`."""
    x, mask, atlas = x.contiguous(), mask.contiguous(), atlas.contiguous()
    tissues, sides, shape = atlas.shape[1], _sides(atlas), _sides(x)
    out = torch.empty((len(x), 1 + 2 * tissues, *shape))
    fit = torch.empty((2, tissues))
    kernels, threads = cpu_kernels()
    workspace = _workspace(
        kernels.tissue_evidence_workspace(
            tissues=tissues, atlas_shape=sides, shape=shape, where=threads
        )
    )
    for n in range(len(x)):
        kernels.tissue_evidence(
            x=address(x[n]), mask=address(mask[n]), atlas=address(atlas), tissues=tissues,
            atlas_shape=sides, shape=shape, out=address(out[n]), means=address(fit[0]),
            spreads=address(fit[1]), workspace=address(workspace), where=threads,
        )  # fmt: skip
    return out


def tissue_logits(evidence: Tensor, output: Tensor) -> Tensor:
    """See :func:`dal_fast.models.evidence.combine`."""
    evidence, output = evidence.contiguous(), output.contiguous()
    logits = torch.empty((len(output), output.shape[1] - 1, *output.shape[2:]))
    kernels, threads = cpu_kernels()
    for n in range(len(output)):
        kernels.tissue_probabilities(
            evidence=address(evidence[n]), output=address(output[n]), mask=0,
            tissues=logits.shape[1], voxels=logits[n, 0].numel(), logits=address(logits[n]), p=0,
            fluid=0, where=threads,
        )  # fmt: skip
    return logits


def tissue_probabilities(logits: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the tissues, 0 outside the mask: ``(N, K, D, H, W)``."""
    logits, mask, p = logits.contiguous(), mask.contiguous(), torch.empty(logits.shape)
    kernels, threads = cpu_kernels()
    for n in range(len(logits)):
        kernels.tissue_probabilities(
            evidence=0, output=address(logits[n]), mask=address(mask[n]), tissues=logits.shape[1],
            voxels=logits[n, 0].numel(), logits=0, p=address(p[n]), fluid=0, where=threads,
        )  # fmt: skip
    return p


def closed_form(x: Tensor, p: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Image, means and bias, see :func:`dal_fast.models.recouple.closed_form`."""
    x, p, mask = x.contiguous(), p.contiguous(), mask.contiguous()
    image, bias, means = torch.empty(x.shape), torch.empty(x.shape), torch.empty(p.shape[:2])
    shape, tissues = _sides(x), p.shape[1]
    kernels, threads = cpu_kernels()
    workspace = _workspace(
        kernels.closed_form_workspace(shape=shape, tissues=tissues, where=threads)
    )
    for n in range(len(x)):
        kernels.closed_form(
            x=address(x[n]), p=address(p[n]), mask=address(mask[n]), tissues=tissues, shape=shape,
            image=address(image[n]), bias=address(bias[n]), means=address(means[n]),
            workspace=address(workspace), where=threads,
        )  # fmt: skip
    return image, means, bias


def plan_model_grid(
    size: tuple[int, ...], affine: NDArray[np.float64], mask: NDArray[np.bool_] | None,
    voxel_mm: float,
) -> tuple[tuple[int, int, int], NDArray[np.float64]] | None:  # fmt: skip
    """Shape and affine (4, 4) of the model grid, see :func:`dal_fast.imaging.grid.plan_grid`.

    ``None`` for an empty mask.
    """
    stride = (0, 0, 0) if mask is None else mask.strides  # of bytes
    kernels, _ = cpu_kernels()
    plan = kernels.plan_model_grid(
        size=tuple(size), stride=stride, affine=_numbers(affine),
        mask=0 if mask is None else mask.ctypes.data, voxel_mm=voxel_mm,
    )  # fmt: skip
    if plan is None:
        return None
    return plan[0], np.array(plan[1]).reshape(4, 4)


def _numbers(affine: NDArray[np.float64]) -> list[float]:
    return [float(value) for value in affine.flat]
