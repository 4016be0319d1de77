"""The compiled stages from a pseudo-healthy image to map and regions, called with CPU tensors.

What calls them has the same in torch, see :mod:`dal_fast.ops._image_stages`. Sources:
``csrc/chain`` and the kernels that it names.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dal_fast.context import _C
from dal_fast.ops._checks import address
from dal_fast.ops._dispatch import cpu_kernels
from dal_fast.ops._image_stages import _sides, _workspace, highest_nearby

_RESIDUAL_CHANNELS = 11


def residual_evidence(
    x: Tensor, phi: Tensor, p: Tensor, fluid: Tensor, mask: Tensor, spread: Tensor
) -> Tensor:
    """See :func:`dal_fast.models.residual_head.residual_evidence`; with the usual spread."""
    x, phi, p, fluid, mask = (t.contiguous() for t in (x, phi, p, fluid, mask))
    highest, lowest = (highest_nearby(phi, mask, sign) for sign in (1.0, -1.0))
    out = torch.empty(len(x), _RESIDUAL_CHANNELS, *x.shape[2:])
    kernels, threads = cpu_kernels()
    shape = _sides(x)
    workspace = _workspace(kernels.residual_evidence_workspace(shape=shape, where=threads))
    for n in range(len(x)):
        scan = _C.Compared(
            x=address(x[n]), phi=address(phi[n]), fluid=address(fluid[n]),
            highest=address(highest[n]), lowest=address(lowest[n]), spread=address(spread[n]),
            mask=address(mask[n]),
        )  # fmt: skip
        kernels.residual_evidence(
            scan=scan, p=address(p[n]), out=address(out[n]), shape=shape,
            workspace=address(workspace), where=threads,
        )  # fmt: skip
    return out


def abnormal_probability(logit: Tensor, mask: Tensor) -> Tensor:
    """The sigmoid of logits inside a mask, ``(N, 1, D, H, W)``; 0 outside."""
    logit, mask = logit.contiguous(), mask.contiguous()
    out = torch.empty(logit.shape)
    kernels, threads = cpu_kernels()
    for n in range(len(logit)):
        kernels.abnormal_probability(
            logit=address(logit[n]), mask=address(mask[n]), out=address(out[n]),
            shape=_sides(logit), where=threads,
        )  # fmt: skip
    return out


def structural_difference(x: Tensor, phi: Tensor, fluid: Tensor, mask: Tensor) -> Tensor:
    """See :func:`dal_fast.screening.enhance.structural_difference`."""
    x, phi, fluid, mask = (t.contiguous() for t in (x, phi, fluid, mask))
    out, shape = torch.empty(x.shape), _sides(x)
    kernels, threads = cpu_kernels()
    workspace = _workspace(kernels.structural_difference_workspace(shape=shape, where=threads))
    kernels.structural_difference(
        x=address(x), phi=address(phi), fluid=address(fluid), mask=address(mask), out=address(out),
        shape=shape, workspace=address(workspace), where=threads,
    )  # fmt: skip
    return out


def enhanced(
    x: Tensor,
    phi: Tensor,
    fluid: Tensor,
    mask: Tensor,
    spread: Tensor,
    structure: Tensor,
    sign: float,
    smoothed: bool,
    evidence: Tensor | None,
    usual: Tensor | None,
) -> Tensor:
    """See :func:`dal_fast.screening.enhance.enhanced`."""
    x, phi, fluid, mask = (t.contiguous() for t in (x, phi, fluid, mask))
    spread, structure = spread.contiguous(), structure.contiguous()
    evidence, usual = (None if t is None else t.contiguous() for t in (evidence, usual))
    nearby = highest_nearby(phi, mask, sign)
    out, shape = torch.empty(x.shape), _sides(x)
    kernels, threads = cpu_kernels()
    workspace = _workspace(kernels.enhanced_workspace(shape=shape, where=threads))
    scan = _C.Compared(
        x=address(x), phi=address(phi), fluid=address(fluid), highest=address(nearby),
        lowest=address(nearby), spread=address(spread), mask=address(mask),
    )  # fmt: skip
    kernels.enhanced(
        scan=scan, structure=address(structure), evidence=address(evidence),
        sign=_C.Signed(sign=sign, smoothed=smoothed, level=1.0, usual=address(usual)),
        out=address(out), shape=shape, workspace=address(workspace), where=threads,
    )  # fmt: skip
    return out


def top_mean(anomaly: Tensor, mask: Tensor, fraction: float) -> float:
    """See :func:`dal_fast.screening.postprocess.top_mean`."""
    anomaly, mask = anomaly.contiguous(), mask.contiguous()
    kernels, voxels = _C.cpu, anomaly.numel()
    workspace = _workspace(kernels.top_mean_workspace(voxels=voxels, share=fraction))
    return kernels.top_mean(
        x=address(anomaly),
        mask=address(mask),
        voxels=voxels,
        share=fraction,
        workspace=address(workspace),
    )


def tissue_labels(p: Tensor, mask: Tensor) -> Tensor:
    """1 CSF, 2 grey, 3 white matter, whichever is most probable, and 0 outside the mask.

    Args:
        p: of these three, float32 ``(1, 3, D, H, W)``.
        mask: bool ``(1, 1, D, H, W)``.

    Returns:
        uint8 ``(D, H, W)``.
    """
    p, mask = p.contiguous(), mask.contiguous()
    out = torch.empty(p.shape[2:], dtype=torch.uint8)
    kernels, threads = cpu_kernels()
    kernels.tissue_labels(
        p=address(p), mask=address(mask), out=address(out), voxels=out.numel(), where=threads
    )
    return out


def anomaly_mask(anomaly: Tensor, threshold: float, least: int) -> Tensor:
    """``anomaly >= threshold`` without 26-connected regions of fewer than ``least`` voxels.

    Args:
        anomaly: float32 ``(D, H, W)``, contiguous.
        threshold: in its unit.
        least: at least 1.

    Returns:
        bool ``(D, H, W)``.
    """
    kernels, threads = cpu_kernels()
    out, shape = torch.empty(anomaly.shape, dtype=torch.bool), _sides(anomaly)
    workspace = _workspace(kernels.anomaly_mask_workspace(shape=shape, where=threads))
    kernels.anomaly_mask(
        anomaly=address(anomaly), threshold=threshold, least=least, out=address(out), shape=shape,
        workspace=address(workspace), where=threads,
    )  # fmt: skip
    return out


def region_table(
    anomaly: Tensor, mask: Tensor, affine: list[float]
) -> list[tuple[float, float, float, tuple[float, float, float]]]:
    """Volume in millilitres, peak, mean and centre of every region, highest peak first.

    Args:
        anomaly: float32 ``(K, J, I)``, contiguous.
        mask: bool, the same shape.
        affine: ``(i, j, k)`` to world millimetres, 16 values row by row.
    """
    kernels, threads = cpu_kernels()
    shape = _sides(anomaly)
    workspace = _workspace(kernels.region_table_workspace(shape=shape, least=1, where=threads))
    found, _ = kernels.region_table(
        anomaly=address(anomaly), mask=address(mask), affine=affine, least=1,
        capacity=int(torch.count_nonzero(mask)), shape=shape, workspace=address(workspace),
        where=threads,
    )  # fmt: skip
    return found
