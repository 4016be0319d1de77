"""The ops: checks, choice of backend, custom op, fake, autograd."""

from dal_fast.ops.canny3d import anatomy_edges, canny3d
from dal_fast.ops.components3d import components3d, remove_small
from dal_fast.ops.median3d import median3d
from dal_fast.ops.onehot import LEVELS, anatomy_image, onehot_ste
from dal_fast.ops.ssim_l1 import hybrid_score, l1_ssim_loss, ssim3d
from dal_fast.ops.tfce3d import tfce3d
from dal_fast.ops.voxel_metrics import VoxelMetrics

__all__ = [
    "LEVELS",
    "VoxelMetrics",
    "anatomy_edges",
    "anatomy_image",
    "canny3d",
    "components3d",
    "hybrid_score",
    "l1_ssim_loss",
    "median3d",
    "onehot_ste",
    "remove_small",
    "ssim3d",
    "tfce3d",
]
