"""Plain torch definitions of every op: readable, differentiable, float64, never optimised."""

from dal_fast.reference.canny3d import anatomy_edges, canny3d
from dal_fast.reference.components3d import components3d, remove_small
from dal_fast.reference.median3d import median3d
from dal_fast.reference.onehot import anatomy_image, onehot_ste
from dal_fast.reference.resample import axis_weights, oblique3d, separable3d
from dal_fast.reference.selection import selection_counts, selection_kth
from dal_fast.reference.ssim_l1 import hybrid_score, l1_ssim_loss, ssim3d, window_weights
from dal_fast.reference.tfce3d import tfce3d
from dal_fast.reference.voxel_metrics import (
    EMPTY_SPAN,
    PAGES,
    ExactCurve,
    auroc,
    average_precision,
    dice,
    dice_at_fpr,
    exact_curve,
    score_histogram,
    score_keys,
    score_pages,
)

__all__ = [
    "EMPTY_SPAN",
    "PAGES",
    "ExactCurve",
    "anatomy_edges",
    "anatomy_image",
    "auroc",
    "average_precision",
    "axis_weights",
    "canny3d",
    "components3d",
    "dice",
    "dice_at_fpr",
    "exact_curve",
    "hybrid_score",
    "l1_ssim_loss",
    "median3d",
    "oblique3d",
    "onehot_ste",
    "remove_small",
    "score_histogram",
    "score_keys",
    "score_pages",
    "selection_counts",
    "selection_kth",
    "separable3d",
    "ssim3d",
    "tfce3d",
    "window_weights",
]
