"""The ops' contracts as a table: inputs, our call, the float64 reference, how near it must be."""

from __future__ import annotations

import numpy as np
import torch
from conformance.case import (
    Case,
    awkward,
    blobs,
    logits,
    mask_of,
    noise,
    pair,
    smooth,
    sparse_levels,
)
from conformance.gpu_stages import GPU_STAGES
from support import TOLERANCE

from dal_fast import ops, reference
from dal_fast.imaging.oblique import sample_oblique
from dal_fast.imaging.selection import Selection
from dal_fast.imaging.separable import linear_taps, sample_separable
from dal_fast.ops._row_medians import row_medians

SSIM_TOLERANCE = {k: 2 * v for k, v in TOLERANCE.items()}
# against gradients of size 1: what the storage type and, for float32, 1 / c2 cost
GRAD_TOLERANCE = {
    torch.float64: 1e-10, torch.float32: 3e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2,
}  # fmt: skip


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
    *GPU_STAGES,
    Case(
        "VoxelMetrics",
        lambda s, t: (awkward((s[0], 1, *s[2:]), t), mask_of(s, 0.2), mask_of(s, 0.8, 6)),
        ours=metrics_of, backends=("cpu", "cuda"),
        reference=lambda score, target, mask: metrics_of("reference", score, target, mask),
    ),
]  # fmt: skip
