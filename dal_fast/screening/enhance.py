"""The enhanced score: small differences that hang together count as much as large ones that do not.

For each sign s = +1 (bright) and -1 (dark), with residual x - phi, sigma its usual spread in the
tissue, p_F the probability of fluid, and hi the largest value of s phi in the 3x3x3 neighbourhood:

    r_s = (max(s (x - phi), 0) + max(s x - hi, 0)) / (2 sigma)
    q_s = (1 - p_F) r_s / (1/4 + u_s)
    g   = mean over 9^3 of (1 - p_F) (1 - SSIM(x, phi)), SSIM averaged over windows of 3, 5, 7, 11
    m_s = mean of q_s over 3^3, twice
    k_s = sqrt(q_s m_s + (m_s / 20)^2) - m_s / 20
    e_s = sqrt(TFCE(k_s sqrt(h) (0.3 + g / g_0)))

u_s is how large r_s usually is at that place of a healthy brain
(:mod:`dal_fast.screening.usual_residual`); q_s = (1 - p_F) r_s for a model that was never
calibrated. k_s is q_s in a FLAIR, where smoothing erases small lesions; other contrasts, whose
residuals are noisier, take the root of the product of q_s and m_s. At q_s = 0 that root alone would
be infinitely steep, and a voxel whose x equals phi but for rounding would move a whole cluster; the
twentieths of m_s bound its slope by ten. h is the probability of an abnormal voxel by the model's
head on residual evidence, 1 for a model without; g_0 is what one healthy voxel in a thousand
exceeds.
Threshold-free cluster enhancement (:func:`dal_fast.ops.tfce3d`, E = 0.5, H = 1) integrates over all
thresholds the extent of a voxel's cluster times its height, so that one rule serves a faint tumour
and a bright spot of a few voxels; the square root makes the map proportional to the residual again.
Extent is counted in voxels of the model's grid, whatever the scan's voxels are. Ours, not specified
in the paper; the structural term follows Meissen et al. 2022 and Behrendt et al. 2024, who score by
SSIM over several windows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dal_fast.models.residuals import highest_nearby
from dal_fast.ops import _gpu_stages as gpu
from dal_fast.ops import _map_stages as stages
from dal_fast.ops import ssim3d, tfce3d
from dal_fast.ops._image_stages import served

WINDOWS = (3, 5, 7, 11)
EXTENT_POWER, HEIGHT_POWER, CONNECTIVITY = 0.5, 1.0, 26
SMOOTHED = {"T1w": True, "T2w": True, "FLAIR": False}
"""By contrast: whether k_s is the root of the product of q_s and m_s, and not q_s itself."""
LEAST_USUAL = 0.25  # spreads, of a place where healthy brains show no residual
LEAST_ROOT = 0.05  # of m_s, what is added beneath the root of q_s m_s
LEAST_STRUCTURE = 0.3  # how much counts where scan and phi are structured alike


def structural_difference(x: Tensor, phi: Tensor, fluid: Tensor, mask: Tensor) -> Tensor:
    """g of one scan, ``(1, 1, D, H, W)``, in [0, 2], 0 outside the mask.

    Args:
        x: normalised scan, ``(1, 1, D, H, W)``.
        phi: pseudo-healthy image, the same shape.
        fluid: probability of fluid, the same shape.
        mask: where the scan has signal inside the brain, bool, the same shape.
    """
    if served(x, phi, fluid, mask):
        return stages.structural_difference(x, phi, fluid, mask)
    total = torch.zeros_like(x)
    for window in WINDOWS:
        ssim = ssim3d(x, phi, window=window, kind="uniform", reduction="none")
        total += (1 - ssim).clamp_min_(0)
    gated = total / len(WINDOWS) * (1 - fluid) * mask
    return mean3(mean3(gated), step=3) * mask  # nine voxels are three times three


def residual_of_sign(x: Tensor, phi: Tensor, mask: Tensor, spread: Tensor, sign: float) -> Tensor:
    """r_s of one scan, ``(1, 1, D, H, W)``, 0 outside the mask; see :func:`enhanced`."""
    flat = sign * (x - phi)
    tolerant = sign * x - highest_nearby(sign * phi, mask)
    return (flat.clamp_min_(0) + tolerant.clamp_min_(0)) * mask / (2 * spread)


def enhanced(
    x: Tensor,
    phi: Tensor,
    fluid: Tensor,
    mask: Tensor,
    spread: Tensor,
    structure: Tensor,
    sign: float,
    smoothed: bool | Tensor,
    evidence: Tensor | None = None,
    usual: Tensor | None = None,
) -> Tensor:
    """e of N scans and one sign, ``(N, 1, D, H, W)``, 0 outside the mask.

    Args:
        x, phi, fluid, mask: see :func:`structural_difference`.
        spread: sigma, of :func:`dal_fast.models.residuals.usual_spread`.
        structure: g / g_0.
        sign: 1 for bright lesions, -1 for dark ones.
        smoothed: of ``SMOOTHED``; or one for each scan, ``(N, 1, 1, 1, 1)``.
        evidence: h.
        usual: u_s.
    """
    given = (x, phi, fluid, mask, spread, structure)
    factors = tuple(volume for volume in (evidence, usual) if volume is not None)
    if isinstance(smoothed, bool) and served(*given, *factors):
        return stages.enhanced(*given, sign, smoothed, evidence, usual)
    if isinstance(smoothed, Tensor) and gpu.served(*given, *factors):
        residual = gpu.signed_residual(x, phi, fluid, mask, spread, sign, usual, LEAST_USUAL)
        smooth = mean3(mean3(residual))
        heights = gpu.cluster_heights(
            residual, smooth, structure, evidence, smoothed, LEAST_STRUCTURE
        )
        return tfce3d(heights, mask, EXTENT_POWER, HEIGHT_POWER, CONNECTIVITY).sqrt_()
    residual = residual_of_sign(x, phi, mask, spread, sign) * (1 - fluid)
    if usual is not None:
        residual = residual / (LEAST_USUAL + usual)
    if isinstance(smoothed, Tensor) or smoothed:
        rooted = root_of_product(residual, mean3(mean3(residual)))
        if isinstance(smoothed, Tensor):
            rooted = torch.where(smoothed, rooted, residual)
        residual = rooted
    residual = residual * (LEAST_STRUCTURE + structure)
    if evidence is not None:
        residual = residual * evidence.sqrt()
    return tfce3d(residual, mask, EXTENT_POWER, HEIGHT_POWER, CONNECTIVITY).sqrt_()


def root_of_product(residual: Tensor, smooth: Tensor) -> Tensor:
    """k_s of q_s and m_s: the root of their product, no steeper than ``1 / (2 LEAST_ROOT)``."""
    least = LEAST_ROOT * smooth
    return (residual * smooth + least.square()).sqrt_().sub_(least)


def mean3(x: Tensor, step: int = 1) -> Tensor:
    """Over 3^3 voxels that lie ``step`` apart; beyond the volume there are zeros."""
    if step in gpu.MEANS and gpu.served(x):
        return gpu.box_mean(x, step)
    for axis in (2, 3, 4):
        total, inner = x.clone(), x.shape[axis] - step
        if inner > 0:
            total.narrow(axis, step, inner).add_(x.narrow(axis, 0, inner))
            total.narrow(axis, 0, inner).add_(x.narrow(axis, step, inner))
        x = total
    return x.div_(27)
