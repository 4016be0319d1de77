"""The ops' contracts as a table: inputs, our call, the float64 reference, how near it must be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from support import TOLERANCE
from torch import Tensor

from dal_fast import ops, reference
from dal_fast.imaging.oblique import sample_oblique
from dal_fast.imaging.selection import Selection
from dal_fast.imaging.separable import linear_taps, sample_separable
from dal_fast.models.blocks import SLOPE
from dal_fast.models.residuals import highest_nearby
from dal_fast.ops import _gpu_stages as gpu
from dal_fast.ops._row_medians import row_medians
from dal_fast.screening import enhance

SSIM_TOLERANCE = {k: 2 * v for k, v in TOLERANCE.items()}
# against gradients of size 1: what the storage type and, for float32, 1 / c2 cost
GRAD_TOLERANCE = {
    torch.float64: 1e-10, torch.float32: 3e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2,
}  # fmt: skip
NOTHING = dict.fromkeys(TOLERANCE, 0.0)


@dataclass(frozen=True)
class Case:
    """One op with one set of parameters.

    Attributes:
        name: of the case; its first word is the op.
        inputs: ``(shape, dtype)`` to CPU tensors; ``None`` where there is no mask.
        ours: ``(backend, *inputs)`` to the result.
        reference: the same without ``backend``, floating inputs in float64.
        differentiable: how many of the first inputs have a gradient.
        tolerance: greatest difference, by dtype.
        may_differ: greatest fraction of voxels that differ (boolean results); 0 for float64.
        backends: that have the op.
        costly: so many taps that only a tiny volume can be emulated.
    """

    name: str
    inputs: Callable[[tuple[int, ...], torch.dtype], tuple[Tensor | None, ...]]
    ours: Callable[..., Tensor]
    reference: Callable[..., Tensor]
    differentiable: int = 0
    tolerance: dict[torch.dtype, float] = field(default_factory=lambda: NOTHING)
    may_differ: float = 0.0
    backends: tuple[str, ...] = ("cpu", "cuda", "triton")
    costly: bool = False


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(shape, dtype, seed=0):
    """Standard normal voxels."""
    return torch.randn(shape, generator=_generator(seed), dtype=torch.float64).to(dtype)


def mask_of(shape, density=0.7, seed=5):
    """Bool ``(N, 1, D, H, W)``."""
    n, _, *space = shape
    return torch.rand(n, 1, *space, generator=_generator(seed)) < density


def smooth(shape, dtype, seed=0):
    """Smooth noise of standard deviation near 0.1: gradients on both of Canny's thresholds."""
    taps = torch.tensor([1.0, 3.0, 4.0, 3.0, 1.0], dtype=torch.float64) / 12
    x = noise(shape, torch.float64, seed)
    for axis in (2, 3, 4):
        i = torch.arange(-2, x.shape[axis] + 2).clamp(0, x.shape[axis] - 1)
        x = x.index_select(axis, i).unfold(axis, 5, 1) @ taps
    return (0.6 * x).to(dtype)


def logits(shape, dtype):
    """Three classes."""
    n, _, *space = shape
    return (3 * noise((n, 3, *space), torch.float64)).to(dtype)


def pair(shape, dtype):
    """Two similar volumes in about [0, 1]."""
    x = torch.rand(shape, generator=_generator(0), dtype=torch.float64)
    return x.to(dtype), (x + 0.2 * noise(shape, torch.float64, 1)).to(dtype)


def awkward(shape, dtype):
    """Noise with ties, zeros of both signs and infinities."""
    x, kind = (
        (8 * noise(shape, torch.float64)).round() / 8,
        torch.rand(shape, generator=_generator(3)),
    )
    for i, value in enumerate((-0.0, 0.0, torch.inf, -torch.inf)):
        x[(kind >= 0.03 * i) & (kind < 0.03 * (i + 1))] = value
    return x.to(dtype)


def blobs(density):
    """A mask of whole batch and channels, as the only input."""
    return lambda shape, _: (torch.rand(shape, generator=_generator(7)) < density,)


def sparse_levels(shape, dtype):
    """Noise of which half is positive, on few levels, and small so that sums stay near 1."""
    return (0.05 * (3 * noise(shape, torch.float64)).round() / 3).to(dtype), mask_of(shape)


def metrics_of(backend, score, target, mask):
    """Everything that VoxelMetrics says of one batch, as one vector."""
    metrics = ops.VoxelMetrics(bins=2**16, backend=backend)
    metrics.update(score, target, mask)
    dice, roc = metrics.dice(), metrics.roc()
    return torch.cat([
        torch.tensor([metrics.average_precision(), metrics.auroc(), *metrics.best_dice()]),
        dice.dice, dice.thresholds.double(), roc.fpr, roc.tpr,
    ])  # fmt: skip


def _ssim(window, kind):
    return Case(
        f"ssim3d {window} {kind}", pair, differentiable=2, tolerance=SSIM_TOLERANCE,
        ours=lambda b, x, y: ops.ssim3d(x, y, window, 2.0, kind, reduction="none", backend=b),
        reference=lambda x, y: reference.ssim3d(x, y, window, 2.0, kind), costly=window > 11,
    )  # fmt: skip


def _canny(name, sigma, masked):
    return Case(
        f"canny3d {name}", lambda s, t: (smooth(s, t), mask_of(s, 0.9) if masked else None),
        ours=lambda b, x, m: ops.canny3d(x, sigma, 0.01, 0.03, m, backend=b),
        reference=lambda x, m: reference.canny3d(x, sigma, 0.01, 0.03, m), may_differ=1e-3,
    )  # fmt: skip


def _median(size, masked, backends=("cpu", "cuda")):
    return Case(
        f"median3d {size}{' masked' if masked else ''}",
        lambda s, t: (awkward(s, t), mask_of(s) if masked else None),
        ours=lambda b, x, m: ops.median3d(x, size, m, backend=b),
        reference=lambda x, m: reference.median3d(x, size, m), backends=backends,
    )  # fmt: skip


def _components(connectivity, density):
    return Case(
        f"components3d {connectivity}", blobs(density),
        ours=lambda b, m: ops.components3d(m, connectivity, backend=b),
        reference=lambda m: reference.components3d(m, connectivity), backends=("cpu", "cuda"),
    )  # fmt: skip


# Resampling keeps to float32 whatever the scan is stored in.
RESAMPLED = dict.fromkeys(TOLERANCE, 2e-5)
# Roots, so that no sample lies exactly between two voxels.
TRANSFORM = np.eye(4)
TRANSFORM[:3] = [[0.9, 0.1, -0.2, -1.7], [-0.2, 0.8, 0.3, 0.4], [0.2, -0.3, 1.4, -0.9]]
TRANSFORM[:3] += 0.01 * np.sqrt([[2, 3, 5, 7], [11, 13, 17, 19], [23, 29, 31, 37]])


def each_volume(x, sample):
    """``sample`` of every ``(D, H, W)``, stacked as ``(N, C, ...)``."""
    rows = [torch.stack([sample(volume) for volume in batch]) for batch in x]
    return torch.stack(rows) if rows else x.new_zeros(x.shape)


def positions(size):
    """Samples of an axis, coarser than its voxels, from beyond one end to beyond the other."""
    return np.arange(-1, int(size / 1.3) + 2) * 1.3 - 0.31


def along_the_axes(backend, x):
    def sample(volume):
        taps = [linear_taps(positions(n), 1.3, n) for n in volume.shape]
        out = torch.empty([len(positions(n)) for n in volume.shape])
        sample_separable(volume, taps, out)
        return out

    return each_volume(x, sample)


def along_the_axes_exactly(x):
    def weights(n):
        return reference.axis_weights(torch.from_numpy(positions(n)), 1.3, n)

    return each_volume(x, lambda v: reference.separable3d(v, [weights(n) for n in v.shape]))


def obliquely(nearest):
    """Ours and the reference's samples, more along each axis than the volume has voxels."""

    def shape_of(volume):
        return [n + 2 for n in volume.shape]

    def ours(backend, x):
        def sample(volume):
            out = torch.empty(shape_of(volume))
            sample_oblique(volume, TRANSFORM, out, nearest)
            return out

        return each_volume(x, sample)

    def exactly(x):
        transform = torch.from_numpy(TRANSFORM)
        return each_volume(x, lambda v: reference.oblique3d(v, transform, shape_of(v), nearest))

    return {"ours": ours, "reference": exactly}


def statistics_of(counts, kth):
    """The counts, then the lowest, two middle and the highest value, of all and of the positive."""
    inside, negative, positive = counts
    values = [float(n) for n in (inside, negative, positive)]
    for n, above in ((inside, False), (positive, True)):
        ranks = (0, (n - 1) // 2, n // 2, n - 1) if n else ()
        values += [kth(k, positive=above) for k in ranks]
    return torch.tensor(values, dtype=torch.float64)


def ranked(backend, x, mask):
    brain = Selection(x, mask.expand_as(x))
    counts = brain.counts()
    return statistics_of((counts.inside, counts.negative, counts.positive), brain.kth)


def ranked_exactly(x, mask):
    inside = x, mask.expand_as(x)
    return statistics_of(
        reference.selection_counts(*inside),
        lambda k, positive: reference.selection_kth(*inside, k, positive),
    )


def with_gaps(shape, dtype):
    """Awkward values, a third of them NaN; of several scans the first has no number at all."""
    x = awkward(shape, dtype).masked_fill(noise(shape, dtype, 3) > 0.4, torch.nan)
    if len(x) > 1:
        x[0] = torch.nan
    return (x,)


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
    """``scale`` of ``(residual, smooth, structure, evidence, sharpness)`` of each channel."""
    sharp = torch.tensor([0.5, 1.0, 0.25])

    def call(*given):
        r, m, g, h = each_channel(*(given[i] for i in range(4)))
        a = sharp.to(r.device).repeat(-(-max(len(r), 1) // 3))[: len(r)]
        return scale(r, m, g, h, a).view(given[0].shape)

    return call


def heights_exactly(r, m, g, h, a):
    a = a.to(r.dtype).view(-1, 1, 1, 1, 1)
    return r.pow(a) * m.pow(1 - a) * (enhance.LEAST_STRUCTURE + g) * h.sqrt()


def positive_volumes(shape, dtype):
    volumes = (pair(shape, torch.float64)[0].roll(k, -1) for k in range(4))
    return tuple(volume.to(dtype) for volume in volumes)


def channels_of(count, last):
    """Activations of as many channels, off centre, in either layout."""

    def make(shape, dtype):
        n, _, *space = shape
        x = (3 + 2 * noise((n, count, *space), torch.float64)).to(dtype)
        return (x.to(memory_format=torch.channels_last_3d) if last else x,)

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
    # of one voxel the difference to its mean is 0 / sqrt(eps)
    tolerance = {torch.float32: 4e-5, torch.float64: 0.0, torch.float16: 8e-3, torch.bfloat16: 6e-2}
    return Case(
        f"instance_norm {count} channels {'last' if last else 'first'}", channels_of(count, last),
        lambda b, x: gpu.instance_norm(x, *gains(count, x), 1e-3, SLOPE).contiguous(),
        normed_exactly, tolerance=tolerance, backends=("cuda",),
    )  # fmt: skip


CASES = [
    Case(
        "onehot_ste", lambda s, t: (logits(s, t),), differentiable=1, tolerance=TOLERANCE,
        ours=lambda b, z: ops.onehot_ste(z, 0.7, backend=b),
        reference=lambda z: reference.onehot_ste(z, 0.7),
    ),
    Case(
        "anatomy_image", lambda s, t: (logits(s, t), mask_of(s)), differentiable=1,
        tolerance=TOLERANCE, ours=lambda b, z, m: ops.anatomy_image(z, mask=m, backend=b),
        reference=lambda z, m: reference.anatomy_image(z, ops.LEVELS, m),
    ),
    _canny("everywhere", 1.0, False),
    _canny("masked", 1.0, True),
    _canny("wide", 2.6, True),
    Case(
        "anatomy_edges", lambda s, t: (logits(s, t), mask_of(s, 0.95)),
        ours=lambda b, z, m: ops.anatomy_edges(z, mask=m, backend=b),
        reference=lambda z, m: reference.anatomy_edges(z, ops.LEVELS, m), may_differ=1e-3,
    ),
    _ssim(11, "gaussian"),
    _ssim(7, "uniform"),
    _ssim(5, "gaussian"),
    _ssim(33, "uniform"),
    Case(
        "hybrid_score", pair, differentiable=2, tolerance=SSIM_TOLERANCE,
        ours=lambda b, x, y: ops.hybrid_score(x, y, backend=b), reference=reference.hybrid_score,
    ),
    Case(
        "l1_ssim_loss", pair, differentiable=2, tolerance=TOLERANCE,
        ours=lambda b, x, y: ops.l1_ssim_loss(x, y, 0.3, backend=b),
        reference=lambda x, y: reference.l1_ssim_loss(x, y, 0.3),
    ),
    Case(
        "ssim3d mean", pair, differentiable=2, tolerance=TOLERANCE,
        ours=lambda b, x, y: ops.ssim3d(x, y, backend=b),
        reference=lambda x, y: reference.ssim3d(x, y).mean(),
    ),
    _median(3, False),
    _median(4, True, ("cpu",)),
    _median(5, False),
    _median(5, True),
    _components(6, 0.35),
    _components(18, 0.2),
    _components(26, 0.11),
    Case(
        "remove_small", blobs(0.12), backends=("cpu", "cuda"),
        ours=lambda b, m: ops.remove_small(m, 5, backend=b),
        reference=lambda m: reference.remove_small(m, 5, 26),
    ),
    Case(
        "tfce3d 18", sparse_levels, tolerance=TOLERANCE, backends=("cpu", "cuda"),
        ours=lambda b, x, m: ops.tfce3d(x, m, 0.5, 1.0, 18, backend=b),
        reference=lambda x, m: reference.tfce3d(x, m, 0.5, 1.0, 18),
    ),
    Case(
        "separable3d", lambda s, t: (noise(s, t),), along_the_axes, along_the_axes_exactly,
        tolerance=RESAMPLED, backends=("cpu",),
    ),
    Case(
        "oblique3d", lambda s, t: (noise(s, t),), **obliquely(False), tolerance=RESAMPLED,
        backends=("cpu",),
    ),
    Case(
        "oblique3d nearest", lambda s, t: (noise(s, t),), **obliquely(True), tolerance=RESAMPLED,
        backends=("cpu",),
    ),
    Case(
        "selection", lambda s, t: (awkward(s, t), mask_of(s)), ranked, ranked_exactly,
        backends=("cpu",),
    ),
    Case(
        "row_medians", with_gaps, lambda b, x: row_medians(x.flatten(2), backend=b),
        lambda x: x.flatten(2).nanmedian(dim=-1).values, backends=("cuda",),
    ),
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
        for step in (1, 3)
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
    Case(
        "VoxelMetrics",
        lambda s, t: (awkward((s[0], 1, *s[2:]), t), mask_of(s, 0.2), mask_of(s, 0.8, 6)),
        ours=metrics_of, backends=("cpu", "cuda"),
        reference=lambda score, target, mask: metrics_of("reference", score, target, mask),
    ),
]  # fmt: skip
