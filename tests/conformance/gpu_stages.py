"""The rows of the kernels of ``dal_fast.ops._gpu_stages``: the same in torch is their reference."""

from __future__ import annotations

import torch
from conformance.case import Case, mask_of, noise, pair
from support import TOLERANCE

from dal_fast.models.blocks import SLOPE
from dal_fast.models.residuals import highest_nearby
from dal_fast.ops import _gpu_stages as gpu
from dal_fast.screening import enhance


def each_channel(*volumes):
    """Channels as scans, ``(N C, 1, D, H, W)``, float32 but for float64 and masks."""
    first = volumes[0]
    flat = [None if v is None else v.expand_as(first).flatten(0, 1)[:, None] for v in volumes]
    wide = (torch.float64, torch.bool)
    return [v if v is None or v.dtype in wide else v.float() for v in flat]


def masked(shape, dtype):
    return noise(shape, dtype), mask_of(shape, 0.3)


def compared(shape, dtype):
    """Scan, pseudo-healthy image, fluid, spread, usual residual, mask."""
    x, phi = pair(shape, dtype)
    fluid, spread, usual = (pair(shape, torch.float64)[0].roll(k, -1) for k in (1, 2, 3))
    parts = (x, phi, fluid, 0.5 + spread, usual)
    return *(part.to(dtype) for part in parts), mask_of(shape)


def residual_by_kernel(sign, usual):
    def ours(backend, *given):
        x, phi, fluid, spread, u, mask = each_channel(*given)
        out = gpu.signed_residual(
            x, phi, fluid, mask, spread, sign, u if usual else None, enhance.LEAST_USUAL
        )
        return out.view(given[0].shape)

    def exactly(*given):
        x, phi, fluid, spread, u, mask = each_channel(*given)
        r = enhance.residual_of_sign(x, phi, mask, spread, sign) * (1 - fluid)
        return (r / (enhance.LEAST_USUAL + u) if usual else r).view(given[0].shape)

    return {"ours": ours, "reference": exactly}


def heights_of(scale):
    """``scale`` of ``(residual, smooth, structure, evidence, smoothed)`` of each channel."""

    def call(*given):
        r, m, g, h = each_channel(*(given[i] for i in range(4)))
        place = torch.arange(len(r), device=r.device)  # nothing is copied: a graph records it
        smoothed = place % 2 == 0  # yes, no, yes, ...
        return scale(r, m, g, h, smoothed).view(given[0].shape)

    return call


def heights_exactly(r, m, g, h, smoothed):
    smoothed = smoothed.view(-1, 1, 1, 1, 1)
    k = torch.where(smoothed, (r * m + (m / 20) ** 2).sqrt() - m / 20, r)
    return k * (enhance.LEAST_STRUCTURE + g) * h.sqrt()


def positive_volumes(shape, dtype):
    volumes = (pair(shape, torch.float64)[0].roll(k, -1) for k in range(4))
    return tuple(volume.to(dtype) for volume in volumes)


def channels_of(count):
    """Activations of as many channels, off centre."""

    def make(shape, dtype):
        n, _, *space = shape
        return ((3 + 2 * noise((n, count, *space), torch.float64)).to(dtype),)

    return make


def gains(count, like):
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    row = torch.linspace(0.5, 2, count, dtype=dtype, device=like.device)
    return row, row.flip(0) - 1


def normed_exactly(x):
    gain, shift = gains(x.shape[1], x)
    mean = x.mean((2, 3, 4), keepdim=True)
    variance = (x - mean).square().mean((2, 3, 4), keepdim=True)
    wide = (slice(None), None, None, None)
    y = (x - mean) / (variance + 1e-3).sqrt() * gain[wide] + shift[wide]
    return torch.where(y > 0, y, SLOPE * y)


def _norm(count, last):
    def ours(_, x):
        if last:  # here: a layout of the table would undo it
            x = x.contiguous(memory_format=torch.channels_last_3d)
        return gpu.instance_norm(x, *gains(count, x), 1e-3, SLOPE).contiguous()

    # of one voxel the difference to its mean is 0 / sqrt(eps)
    tolerance = {torch.float32: 4e-5, torch.float64: 0.0, torch.float16: 8e-3, torch.bfloat16: 6e-2}
    return Case(
        f"instance_norm {count} channels {'last' if last else 'first'}", channels_of(count),
        ours, normed_exactly, tolerance=tolerance, backends=("cuda",),
    )  # fmt: skip


GPU_STAGES = [
    Case(
        "highest_nearby", masked,
        lambda b, x, m: gpu.highest_nearby(*each_channel(x, m), -1.0).view(x.shape),
        lambda x, m: highest_nearby(*each_channel(-x, m)).view(x.shape), backends=("cuda",),
    ),
    *(
        Case(
            f"box_mean {step}", lambda s, t: (noise(s, t),),
            lambda b, x, k=step: gpu.box_mean(*each_channel(x), k).view(x.shape),
            lambda x, k=step: enhance.mean3(x, k), tolerance=TOLERANCE, backends=("cuda",),
        )
        for step in gpu.MEANS
    ),
    Case(
        "signed_residual bright", compared, **residual_by_kernel(1.0, True), tolerance=TOLERANCE,
        backends=("cuda",),
    ),
    Case(
        "signed_residual dark", compared, **residual_by_kernel(-1.0, False), tolerance=TOLERANCE,
        backends=("cuda",),
    ),
    Case(
        "cluster_heights", positive_volumes,
        lambda b, *given: heights_of(
            lambda *v: gpu.cluster_heights(*v, enhance.LEAST_STRUCTURE))(*given),
        heights_of(heights_exactly), tolerance=TOLERANCE, backends=("cuda",),
    ),
    _norm(8, True),
    _norm(48, True),
    _norm(7, True),
    _norm(8, False),

]  # fmt: skip
