"""Is the result right? Asked of every op before it is timed, on a volume small enough for the
float64 reference. An op whose answer is wrong is not reported."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.volumes import Volumes, brain
from dal_fast import ops, reference

SHAPE = (21, 26, 37)
LEVELS = ops.LEVELS


def verify(public_name: str, device: str = "cpu", backend: str = "auto") -> None:
    """Compare an op of ``dal_fast.ops`` with its reference.

    Raises:
        AssertionError: it differs by more than its tolerance.
    """
    CHECKS[public_name](brain(SHAPE).batched(1, device), backend)


def _close(got: Tensor, want: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(got.double(), want.double(), rtol=0, atol=tolerance)


def _ssim(v: Volumes, backend: str) -> None:
    want = reference.ssim3d(v.scan.double(), v.healthy.double())
    _close(ops.ssim3d(v.scan, v.healthy, reduction="none", backend=backend), want, 1e-4)


def _hybrid(v: Volumes, backend: str) -> None:
    want = reference.hybrid_score(v.scan.double(), v.healthy.double())
    _close(ops.hybrid_score(v.scan, v.healthy, backend=backend), want, 1e-4)


def _loss(v: Volumes, backend: str) -> None:
    def run(loss: Callable[..., Tensor], dtype: torch.dtype) -> tuple[Tensor, ...]:
        x = v.scan.to(dtype).requires_grad_()
        y = v.healthy.to(dtype).requires_grad_()
        value = loss(x, y, 0.5)
        return value.detach(), *torch.autograd.grad(value, (x, y))

    pairs = zip(
        run(partial(ops.l1_ssim_loss, backend=backend), torch.float32),
        run(reference.l1_ssim_loss, torch.float64),
        strict=True,
    )
    for got, want in pairs:
        _close(got, want, 1e-4 * max(1e-3, float(want.abs().max())))


def _edges(got: Tensor, want: Tensor) -> None:
    """Voxels on the very threshold may go either way in float32."""
    different = int((got != want).sum())
    assert want.any(), "the reference found no edge"
    assert different <= 1e-3 * want.numel(), f"{different} of {want.numel()} voxels differ"


def _canny(v: Volumes, backend: str) -> None:
    want = reference.canny3d(v.anatomy.double(), mask=v.mask)
    _edges(ops.canny3d(v.anatomy, mask=v.mask, backend=backend), want)


def _anatomy_edges(v: Volumes, backend: str) -> None:
    want = reference.anatomy_edges(v.logits.double(), LEVELS, v.mask)
    _edges(ops.anatomy_edges(v.logits, mask=v.mask, backend=backend), want)


def _onehot(v: Volumes, backend: str) -> None:
    _close(
        ops.onehot_ste(v.logits, backend=backend), reference.onehot_ste(v.logits.double()), 1e-12
    )


def _anatomy(v: Volumes, backend: str) -> None:
    want = reference.anatomy_image(v.logits.double(), LEVELS, v.mask)
    _close(ops.anatomy_image(v.logits, mask=v.mask, backend=backend), want, 1e-6)


def _median(v: Volumes, backend: str) -> None:
    for size in (3, 5):
        _close(
            ops.median3d(v.scan, size, backend=backend),
            reference.median3d(v.scan.double(), size),
            0,
        )


def _components(v: Volumes, backend: str) -> None:
    _close(ops.components3d(v.blobs, backend=backend), reference.components3d(v.blobs, 26), 0)


def _remove_small(v: Volumes, backend: str) -> None:
    _close(
        ops.remove_small(v.blobs, 30, backend=backend), reference.remove_small(v.blobs, 30, 26), 0
    )


def _tfce(v: Volumes, backend: str) -> None:
    """On few levels, as the reference labels the map at each."""
    x = (500 * v.anomaly).round() / 500
    want = reference.tfce3d(x.double(), None, 0.5, 2.0, 26)
    _close(ops.tfce3d(x, backend=backend), want, 1e-6 * float(want.max()))


def _metrics(v: Volumes, backend: str) -> None:
    metrics = ops.VoxelMetrics(backend=backend)
    metrics.update(v.score, v.lesion, v.mask)
    exact = reference.average_precision(reference.exact_curve(v.score, v.lesion, v.mask))
    assert abs(metrics.average_precision() - exact) <= 1e-4, f"AP differs from {exact}"


CHECKS: dict[str, Callable[[Volumes, str], None]] = {
    "VoxelMetrics": _metrics,
    "anatomy_edges": _anatomy_edges,
    "anatomy_image": _anatomy,
    "canny3d": _canny,
    "components3d": _components,
    "hybrid_score": _hybrid,
    "l1_ssim_loss": _loss,
    "median3d": _median,
    "onehot_ste": _onehot,
    "remove_small": _remove_small,
    "ssim3d": _ssim,
    "tfce3d": _tfce,
}
