"""Plain torch definitions of every op: readable, differentiable, float64, never optimised."""

from dal_fast.reference.onehot import anatomy_image, onehot_ste
from dal_fast.reference.ssim_l1 import hybrid_score, l1_ssim_loss, ssim3d, window_weights

__all__ = [
    "anatomy_image",
    "hybrid_score",
    "l1_ssim_loss",
    "onehot_ste",
    "ssim3d",
    "window_weights",
]
