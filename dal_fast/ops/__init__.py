"""The ops: checks, choice of backend, custom op, fake, autograd."""

from dal_fast.ops.onehot import LEVELS, anatomy_image, onehot_ste

__all__ = ["LEVELS", "anatomy_image", "onehot_ste"]
