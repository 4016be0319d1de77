"""Plain torch definitions of every op: readable, differentiable, float64, never optimised."""

from dal_fast.reference.onehot import anatomy_image, onehot_ste

__all__ = ["anatomy_image", "onehot_ste"]
