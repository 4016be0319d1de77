"""Every op's benchmark: our call, the peers, the floor, and the goal to reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from benchmarks import gpu_peers, peers
from benchmarks.peers import Call
from benchmarks.volumes import Volumes
from dal_fast import ops


@dataclass(frozen=True)
class Goal:
    """How many times faster than ``peer`` we must be, by instruction set."""

    peer: str
    avx512: float
    avx2: float

    def ratio(self, isa: str) -> float | None:
        """The goal for ``isa``; none for the portable path."""
        return {"avx512": self.avx512, "avx2": self.avx2}.get(isa)


@dataclass(frozen=True)
class Case:
    """One kind of work.

    Attributes:
        op: the kernel's folder.
        name: what is done.
        covers: public names of ``dal_fast.ops`` that this measures.
        ours: takes the inputs and a backend, returns the call to time.
        bytes: least memory traffic, per voxel.
        flops: least floating-point (or min/max) operations, per voxel.
        peers: name to the same kind of function as ``ours``, without the backend.
        gpu_peers: the same on a GPU.
        gpu_goal: microseconds a 160×192×160 volume of a batch may take on an H200.
        triton: does the op have Triton kernels?
    """

    op: str
    name: str
    covers: tuple[str, ...]
    ours: Callable[[Volumes, str], Call]
    bytes: int
    flops: int = 0
    peers: dict[str, Callable[[Volumes], Call]] = field(default_factory=dict)
    goal: Goal | None = None
    gpu_peers: dict[str, Callable[[Volumes], Call]] = field(default_factory=dict)
    gpu_goal: float | None = None
    triton: bool = True


def _loss_with_gradients(v: Volumes, backend: str) -> Call:
    x, y = v.scan.clone().requires_grad_(), v.healthy.clone().requires_grad_()
    return lambda: torch.autograd.grad(ops.l1_ssim_loss(x, y, backend=backend), (x, y))


def _average_precision(v: Volumes, backend: str) -> Call:
    def call() -> float:
        metrics = ops.VoxelMetrics(backend=backend)
        metrics.update(v.score, v.lesion)
        return metrics.average_precision()

    return call


def _median(size: int, flops: int, goal: Goal | None, gpu_goal: float | None) -> Case:
    return Case(
        "median3d", f"median {size}³", ("median3d",),
        lambda v, b: lambda: ops.median3d(v.scan, size, backend=b),
        bytes=8, flops=flops, goal=goal, gpu_goal=gpu_goal, triton=False,
        gpu_peers={"cupyx": gpu_peers.cupyx_median(size), "MONAI": peers.monai_median(size)},
        peers={
            "SimpleITK": peers.sitk_median(size),
            "scipy": peers.scipy_median(size),
            "MONAI": peers.monai_median(size),
        },
    )  # fmt: skip


_SSIM_FLOPS = 2 * 3 * 11 * 4 + 30  # four fields, three passes of eleven taps, and the formula
_SSIM_PEERS = {
    "pytorch-msssim": peers.msssim_mean,
    "MONAI": peers.monai_ssim,
    "torchmetrics": peers.torchmetrics_ssim,
}
_GPU_SSIM_PEERS = {
    "fused-ssim": gpu_peers.fused_ssim_mean,
    "kornia": gpu_peers.kornia_ssim,
    "pytorch-msssim": peers.msssim_mean,
    "MONAI": peers.monai_ssim,
    "torch.compile": gpu_peers.compiled_ssim,
}

CASES = [
    Case(
        "ssim_l1", "SSIM map, Gaussian 11", ("ssim3d",),
        lambda v, b: lambda: ops.ssim3d(v.scan, v.healthy, reduction="none", backend=b),
        bytes=12, flops=_SSIM_FLOPS, goal=Goal("scikit-image", 60, 40),
        peers={"scikit-image": peers.skimage_ssim, **_SSIM_PEERS}, gpu_peers=_GPU_SSIM_PEERS,
    ),
    Case(
        "ssim_l1", "hybrid score, Gaussian 11", ("hybrid_score",),
        lambda v, b: lambda: ops.hybrid_score(v.scan, v.healthy, backend=b),
        bytes=12, flops=_SSIM_FLOPS, goal=Goal("scikit-image", 60, 40),
        peers={"scikit-image": peers.skimage_hybrid, **_SSIM_PEERS},
        gpu_peers=_GPU_SSIM_PEERS, gpu_goal=80,
    ),
    Case(
        "ssim_l1", "L1 + SSIM loss, forward and backward", ("l1_ssim_loss",), _loss_with_gradients,
        bytes=24, flops=2 * _SSIM_FLOPS, goal=Goal("pytorch-msssim", 200, 180),
        peers={"pytorch-msssim": peers.msssim_loss, "MONAI": peers.monai_loss}, gpu_goal=250,
        gpu_peers={
            "fused-ssim": gpu_peers.fused_ssim_loss,
            "pytorch-msssim": peers.msssim_loss,
            "MONAI": peers.monai_loss,
            "torch.compile": gpu_peers.compiled_loss,
        },
    ),
    Case(
        "canny3d", "Canny of the anatomical image", ("canny3d",),
        lambda v, b: lambda: ops.canny3d(v.anatomy, mask=v.mask, backend=b),
        bytes=6, flops=2 * 3 * 9 * 2 + 60, goal=Goal("SimpleITK", 60, 45), gpu_goal=150,
        peers={"SimpleITK": peers.sitk_canny, "scikit-image 2D": peers.skimage_canny_slices},
    ),
    Case(
        "canny3d", "logits to edges", ("anatomy_edges",),
        lambda v, b: lambda: ops.anatomy_edges(v.logits, mask=v.mask, backend=b),
        bytes=14, flops=2 * 3 * 9 * 2 + 66, peers={"SimpleITK, edges only": peers.sitk_canny},
    ),
    Case(
        "onehot", "one-hot", ("onehot_ste",),
        lambda v, b: lambda: ops.onehot_ste(v.logits, backend=b),
        bytes=24, flops=6, peers={"torch": peers.torch_onehot},
        gpu_peers={"torch": peers.torch_onehot, "torch.compile": gpu_peers.compiled_onehot},
    ),
    Case(
        "onehot", "anatomical image", ("anatomy_image",),
        lambda v, b: lambda: ops.anatomy_image(v.logits, mask=v.mask, backend=b),
        bytes=17, flops=6, peers={"torch": peers.torch_anatomy},
        gpu_peers={"torch": peers.torch_anatomy},
    ),
    _median(5, 498, Goal("SimpleITK", 200, 150), 200),
    _median(3, 60, None, None),
    Case(
        "components3d", "components, 26 neighbours", ("components3d",),
        lambda v, b: lambda: ops.components3d(v.blobs, backend=b),
        bytes=5, goal=Goal("cc3d", 3, 3), triton=False,
        gpu_peers={"cupyx": gpu_peers.cupyx_components},
        peers={
            "cc3d": peers.cc3d_components,
            "scipy": peers.scipy_components,
            "SimpleITK": peers.sitk_components,
        },
    ),
    Case(
        "components3d", "remove components below 30 voxels", ("remove_small",),
        lambda v, b: lambda: ops.remove_small(v.blobs, 30, backend=b), bytes=2, triton=False,
        peers={"cc3d": peers.cc3d_dust},
    ),
    Case(
        "tfce3d", "TFCE of an anomaly map", ("tfce3d",),
        lambda v, b: lambda: ops.tfce3d(v.anomaly, backend=b),
        bytes=8, flops=26, goal=Goal("scipy, 40 thresholds", 50, 50), triton=False,
        peers={
            "scipy, 40 thresholds": peers.scipy_tfce,
            "nilearn": peers.nilearn_tfce,
            "MNE": peers.mne_tfce,
        },
    ),
    Case(
        "voxel_metrics", "AP of one volume", ("VoxelMetrics",), _average_precision,
        bytes=10, goal=Goal("scikit-learn", 50, 50), triton=False,
        gpu_peers={"torch sort": gpu_peers.torch_sort_ap},
        peers={"scikit-learn": peers.sklearn_ap, "numpy sort": peers.numpy_sort_ap},
    ),
]  # fmt: skip
