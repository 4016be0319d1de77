"""Plain torch definitions of every op: readable, differentiable, float64, never optimised."""

from dal_fast.reference.components3d import components3d, remove_small
from dal_fast.reference.median3d import median3d
from dal_fast.reference.onehot import anatomy_image, onehot_ste
from dal_fast.reference.ssim_l1 import hybrid_score, l1_ssim_loss, ssim3d, window_weights

__all__ = [
    "anatomy_image",
    "components3d",
    "hybrid_score",
    "l1_ssim_loss",
    "median3d",
    "onehot_ste",
    "remove_small",
    "ssim3d",
    "window_weights",
]
