"""What others offer on a GPU. As in peers.py; the inputs are batches on the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.peers import SIGMA, WINDOW, Call
from benchmarks.volumes import Volumes
from dal_fast import reference


def fused_ssim_mean(v: Volumes) -> Call:
    """fused-ssim's 3D kernels: mean SSIM, zero padding."""
    from fused_ssim import fused_ssim3d

    return lambda: fused_ssim3d(v.scan, v.healthy, train=False)


def fused_ssim_loss(v: Volumes) -> Call:
    """fused-ssim's 3D kernels: 1 - SSIM, forward and backward to one input."""
    from fused_ssim import fused_ssim3d

    x = v.scan.clone().requires_grad_()
    return lambda: torch.autograd.grad(1 - fused_ssim3d(x, v.healthy), x)


def kornia_ssim(v: Volumes) -> Call:
    """kornia: SSIM map."""
    from kornia.metrics import ssim3d

    return lambda: ssim3d(v.scan, v.healthy, WINDOW)


def compiled_ssim(v: Volumes) -> Call:
    """Our reference in float32, through torch.compile."""
    ssim = torch.compile(reference.ssim3d)
    return lambda: ssim(v.scan, v.healthy, WINDOW, SIGMA)


def compiled_loss(v: Volumes) -> Call:
    """Our reference's loss in float32, through torch.compile, forward and backward to both."""
    loss = torch.compile(reference.l1_ssim_loss)
    x, y = v.scan.clone().requires_grad_(), v.healthy.clone().requires_grad_()
    return lambda: torch.autograd.grad(loss(x, y), (x, y))


def compiled_onehot(v: Volumes) -> Call:
    """Our reference in float32, through torch.compile."""
    onehot = torch.compile(reference.onehot_ste)
    return lambda: onehot(v.logits)


def cupyx_median(size: int) -> Callable[[Volumes], Call]:
    """cupyx.scipy.ndimage: median_filter of each volume."""

    def prepare(v: Volumes) -> Call:
        import cupy
        from cupyx.scipy.ndimage import median_filter

        volumes = [cupy.asarray(x[0]) for x in v.scan]
        return lambda: [median_filter(x, size, mode="reflect") for x in volumes]

    return prepare


def cupyx_components(v: Volumes) -> Call:
    """cupyx.scipy.ndimage: label of each volume."""
    import cupy
    from cupyx.scipy.ndimage import label

    volumes, structure = [cupy.asarray(x[0]) for x in v.blobs], cupy.ones((3, 3, 3))
    return lambda: [label(x, structure) for x in volumes]


def torch_sort_ap(v: Volumes) -> Call:
    """Exact AP in torch: sort every score of the batch, accumulate."""

    def call() -> Any:
        order = v.score.flatten().argsort(descending=True)
        hit = v.lesion.flatten()[order].double()
        rank = torch.arange(1, len(hit) + 1, device=hit.device)
        return ((hit.cumsum(0) / rank) * hit).sum() / hit.sum()

    return call
