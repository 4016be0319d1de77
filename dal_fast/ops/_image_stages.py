"""The compiled stages from a scan to its pseudo-healthy image, called with tensors on a CPU.

What calls them has the same in torch, for a GPU, for gradients, for other types, and as their
reference (``context.use(backend="reference")``). Sources: ``csrc/chain`` and the kernels that it
names.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dal_fast import context
from dal_fast.ops._checks import address, wants_derivative
from dal_fast.ops._dispatch import cpu_kernels


def served(*tensors: Tensor) -> bool:
    """Whether the compiled stages take these tensors: float32 and bool on a CPU, no derivative."""
    if context.backend() not in ("auto", "cpu") or context.extension_problem() is not None:
        return False
    return not torch.compiler.is_compiling() and all(
        type(t) in (Tensor, torch.nn.Parameter)
        and t.device.type == "cpu"
        and t.dtype in (torch.float32, torch.bool)
        and not wants_derivative(t)
        for t in tensors
    )


def _workspace(size: int) -> Tensor:
    return torch.empty(size, dtype=torch.uint8)


def _sides(x: Tensor) -> tuple[int, int, int]:
    depth, height, width = x.shape[-3:]
    return depth, height, width


def highest_nearby(x: Tensor, mask: Tensor) -> Tensor:
    """See :func:`dal_fast.models.residuals.highest_nearby`."""
    x, mask, out = x.contiguous(), mask.contiguous(), torch.empty(x.shape)
    kernels, threads = cpu_kernels()
    shape = _sides(x)
    workspace = _workspace(kernels.highest_nearby_workspace(shape=shape, where=threads))
    for n in range(len(x)):
        kernels.highest_nearby(
            x=address(x[n]), mask=address(mask[n]), sign=1.0, out=address(out[n]), shape=shape,
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
