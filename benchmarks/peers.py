"""What others offer for the same work. Each function takes the inputs, converts them once, and
returns the call that is timed; a peer that is not installed raises ImportError there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.volumes import Volumes

Call = Callable[[], Any]
WINDOW, SIGMA = 11, 1.5


def skimage_ssim(v: Volumes) -> Call:
    """scikit-image: SSIM map, Gaussian taps cut at 11."""
    from skimage.metrics import structural_similarity

    x, y = v.scan[0, 0].numpy(), v.healthy[0, 0].numpy()
    return lambda: structural_similarity(
        x, y, gaussian_weights=True, sigma=SIGMA, use_sample_covariance=False,
        data_range=1.0, full=True,
    )[1]  # fmt: skip


def skimage_hybrid(v: Volumes) -> Call:
    """scikit-image's SSIM map, then ``|x - y| (1 - SSIM)``."""
    x, y, ssim = v.scan[0, 0].numpy(), v.healthy[0, 0].numpy(), skimage_ssim(v)
    return lambda: np.abs(x - y) * (1 - ssim())


def msssim_mean(v: Volumes) -> Call:
    """pytorch-msssim: mean SSIM, valid border."""
    from pytorch_msssim import ssim

    return lambda: ssim(v.scan, v.healthy, data_range=1.0, win_size=WINDOW, win_sigma=SIGMA)


def monai_ssim(v: Volumes) -> Call:
    """MONAI: SSIM map."""
    from monai.metrics.regression import compute_ssim_and_cs

    return lambda: compute_ssim_and_cs(
        v.scan, v.healthy, spatial_dims=3, kernel_size=(WINDOW,) * 3, kernel_sigma=(SIGMA,) * 3,
        data_range=1.0,
    )[0]  # fmt: skip


def torchmetrics_ssim(v: Volumes) -> Call:
    """torchmetrics: mean SSIM."""
    from torchmetrics.functional.image import structural_similarity_index_measure as ssim

    return lambda: ssim(v.scan, v.healthy, sigma=SIGMA, kernel_size=WINDOW, data_range=1.0)


def msssim_loss(v: Volumes) -> Call:
    """pytorch-msssim: 1 - SSIM, forward and backward to one input."""
    from pytorch_msssim import ssim

    x = v.scan.clone().requires_grad_()

    def call() -> Any:
        loss = 1 - ssim(x, v.healthy, data_range=1.0, win_size=WINDOW, win_sigma=SIGMA)
        return torch.autograd.grad(loss, x)

    return call


def monai_loss(v: Volumes) -> Call:
    """MONAI: SSIMLoss, forward and backward to one input."""
    from monai.losses import SSIMLoss

    x, loss = v.scan.clone().requires_grad_(), SSIMLoss(3, win_size=WINDOW, kernel_sigma=SIGMA)
    return lambda: torch.autograd.grad(loss(x, v.healthy), x)


def sitk_canny(v: Volumes) -> Call:
    """SimpleITK's Canny: zero crossings of the second derivative, another definition."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(v.anatomy[0, 0].numpy())
    return lambda: sitk.CannyEdgeDetection(
        image, lowerThreshold=0.02, upperThreshold=0.04, variance=[1.0] * 3
    )


def skimage_canny_slices(v: Volumes) -> Call:
    """scikit-image's 2D Canny of every slice."""
    from skimage.feature import canny

    slices, mask = v.anatomy[0, 0].numpy(), v.mask[0, 0].numpy()
    return lambda: [canny(s, 1.0, 0.02, 0.04, mask=m) for s, m in zip(slices, mask, strict=True)]


def sitk_median(size: int) -> Callable[[Volumes], Call]:
    """SimpleITK's median."""

    def prepare(v: Volumes) -> Call:
        import SimpleITK as sitk

        image = sitk.GetImageFromArray(v.scan[0, 0].numpy())
        return lambda: sitk.Median(image, [size // 2] * 3)

    return prepare


def scipy_median(size: int) -> Callable[[Volumes], Call]:
    """scipy's median_filter."""

    def prepare(v: Volumes) -> Call:
        from scipy.ndimage import median_filter

        x = v.scan[0, 0].numpy()
        return lambda: median_filter(x, size, mode="reflect")

    return prepare


def monai_median(size: int) -> Callable[[Volumes], Call]:
    """MONAI's MedianFilter."""

    def prepare(v: Volumes) -> Call:
        from monai.networks.layers import MedianFilter

        median = MedianFilter(size // 2)
        return lambda: median(v.scan)

    return prepare


def cc3d_components(v: Volumes) -> Call:
    """cc3d."""
    from cc3d import connected_components

    x = v.blobs[0, 0].numpy()
    return lambda: connected_components(x, connectivity=26)


def scipy_components(v: Volumes) -> Call:
    """scipy.ndimage.label."""
    from scipy.ndimage import label

    x, structure = v.blobs[0, 0].numpy(), np.ones((3, 3, 3))
    return lambda: label(x, structure)


def sitk_components(v: Volumes) -> Call:
    """SimpleITK's ConnectedComponent."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(v.blobs[0, 0].numpy().astype(np.uint8))
    return lambda: sitk.ConnectedComponent(image, True)


def cc3d_dust(v: Volumes) -> Call:
    """cc3d.dust: removes components below a size."""
    from cc3d import dust

    x = v.blobs[0, 0].numpy()
    return lambda: dust(x, threshold=30, connectivity=26)


def sklearn_ap(v: Volumes) -> Call:
    """scikit-learn's average_precision_score over every voxel."""
    from sklearn.metrics import average_precision_score

    score, lesion = v.score.flatten().numpy(), v.lesion.flatten().numpy()
    return lambda: average_precision_score(lesion, score)


def numpy_sort_ap(v: Volumes) -> Call:
    """Exact AP by two numpy sorts and two binary searches."""
    score, lesion = v.score.flatten().numpy(), v.lesion.flatten().numpy()

    def call() -> float:
        sick, well = np.sort(score[lesion]), np.sort(score[~lesion])
        tp = len(sick) - np.searchsorted(sick, sick, "left")
        fp = len(well) - np.searchsorted(well, sick, "left")
        return float(np.mean(tp / (tp + fp)))

    return call


def torch_onehot(v: Volumes) -> Call:
    """torch: argmax, one_hot, permute, and the straight-through sum with the softmax."""

    def call() -> torch.Tensor:
        hard = F.one_hot(v.logits.argmax(1), 3).movedim(-1, 1).float()
        soft = torch.softmax(v.logits, 1)
        return hard + (soft - soft.detach())

    return call


def torch_anatomy(v: Volumes) -> Call:
    """torch: the one-hot of torch_onehot times the levels, summed and masked."""
    from dal_fast.ops import LEVELS

    onehot, c = torch_onehot(v), torch.tensor(LEVELS, device=v.mask.device).view(1, 3, 1, 1, 1)
    return lambda: (onehot() * c).sum(1, keepdim=True) * v.mask


def scipy_tfce(v: Volumes) -> Call:
    """scipy's label at 40 thresholds, and the sum over them."""
    from scipy.ndimage import label

    x, structure, steps = v.anomaly[0, 0].numpy(), np.ones((3, 3, 3)), 40

    def call() -> np.ndarray:
        out, step = np.zeros_like(x), x.max() / steps
        for height in step * np.arange(1, steps + 1):
            labels, _ = label(x >= height, structure)
            gain = (np.sqrt(np.bincount(labels.ravel())) * height**2 * step).astype(x.dtype)
            gain[0] = 0
            out += gain[labels]
        return out

    return call


def nilearn_tfce(v: Volumes) -> Call:
    """nilearn: 100 thresholds."""
    from nilearn.mass_univariate._utils import calculate_tfce

    x, structure = v.anomaly[0, 0].numpy()[..., None], np.ones((3, 3, 3))
    return lambda: calculate_tfce(x, structure, two_sided_test=False)


def mne_tfce(v: Volumes) -> Call:
    """MNE: 100 thresholds, neighbours that share a face."""
    from mne.stats.cluster_level import _find_clusters

    x = v.anomaly[0, 0].numpy()
    step = float(x.max()) / 100
    threshold = {"start": step, "step": step, "e_power": 0.5, "h_power": 2}
    return lambda: _find_clusters(x, threshold, tail=1)
