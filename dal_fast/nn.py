"""The ops as torch modules, for use inside a network or as a loss."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from dal_fast import ops


class OneHotSTE(nn.Module):
    """Module form of :func:`dal_fast.ops.onehot_ste`: logits ``(N, K, D, H, W)`` → one-hot."""

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, logits: Tensor) -> Tensor:
        return ops.onehot_ste(logits, self.temperature)


class AnatomyImage(nn.Module):
    """Module form of :func:`dal_fast.ops.anatomy_image`: logits → anatomical image."""

    def __init__(self, levels: Sequence[float] = ops.LEVELS, temperature: float = 1.0) -> None:
        super().__init__()
        self.levels, self.temperature = tuple(levels), temperature

    def forward(self, logits: Tensor, mask: Tensor | None = None) -> Tensor:
        return ops.anatomy_image(logits, self.levels, mask, self.temperature)


class Canny3d(nn.Module):
    """Module form of :func:`dal_fast.ops.canny3d`: volume ``(N, C, D, H, W)`` → bool edges."""

    def __init__(self, sigma: float = 1.0, low: float = 0.02, high: float = 0.04) -> None:
        super().__init__()
        self.sigma, self.low, self.high = sigma, low, high

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return ops.canny3d(x, self.sigma, self.low, self.high, mask)


class SSIMLoss3d(nn.Module):
    """``1 - SSIM`` or, with ``alpha > 0``, ``alpha * L1 + (1 - alpha) * (1 - SSIM)``, a scalar.

    Gradients reach both inputs. See :func:`dal_fast.ops.l1_ssim_loss`.
    """

    def __init__(self, window: int = 11, sigma: float = 1.5, alpha: float = 0.0) -> None:
        super().__init__()
        self.window, self.sigma, self.alpha = window, sigma, alpha

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return ops.l1_ssim_loss(x, y, self.alpha, window=self.window, sigma=self.sigma)


class HybridScore(nn.Module):
    """Module form of :func:`dal_fast.ops.hybrid_score`: scan and pseudo-healthy image → map."""

    def __init__(self, window: int = 11, sigma: float = 1.5) -> None:
        super().__init__()
        self.window, self.sigma = window, sigma

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return ops.hybrid_score(x, y, window=self.window, sigma=self.sigma)


class Median3d(nn.Module):
    """Module form of :func:`dal_fast.ops.median3d`: the exact median of ``size``³ voxels."""

    def __init__(self, size: int = 3) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return ops.median3d(x, self.size, mask)
