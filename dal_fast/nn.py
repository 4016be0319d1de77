"""The ops as torch modules, for use inside a network or as a loss.

Options are given by keyword and belong to the module; none of them is learnt. Each module accepts
what its op accepts and raises what its op raises (:class:`dal_fast.InputError`): for an option when
the module is made, for a volume when it is called.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dal_fast import context, ops
from dal_fast.ops.ssim_l1 import ALPHA


def _check_options(module: nn.Module, volumes: int = 1, channels: int = 1) -> None:
    """Refuse what the module's op refuses, by a call with volumes that hold no data."""
    with context.use(backend="auto"):
        module.forward(*[torch.empty(1, channels, 1, 1, 1, device="meta")] * volumes)


class OneHotSTE(nn.Module):
    """Binarises class logits, with the softmax's gradient: :func:`dal_fast.ops.onehot_ste`.

    Args:
        temperature: of the softmax whose gradient is taken, positive.

    Shape:
        ``(N, K, D, H, W)`` logits → the same shape, zeros and ones in the dtype of the logits.

    Example:
        >>> import torch
        >>> from dal_fast import nn
        >>> logits = torch.randn(1, 3, 8, 8, 8, requires_grad=True)
        >>> nn.OneHotSTE(temperature=0.5)(logits).sum(1).unique().tolist()
        [1.0]
    """

    def __init__(self, *, temperature: float = 1.0) -> None:
        super().__init__()
        self.temperature = temperature
        _check_options(self)

    def forward(self, logits: Tensor) -> Tensor:
        return ops.onehot_ste(logits, self.temperature)

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}"


class AnatomyImage(nn.Module):
    """The anatomical image of tissue logits: :func:`dal_fast.ops.anatomy_image`.

    Args:
        levels: one grey level a class; the default is the paper's for CSF, grey and white matter.
        temperature: of the straight-through gradient, positive.

    Shape:
        ``(N, K, D, H, W)`` logits and, optionally, a bool ``(N, 1, D, H, W)`` brain mask →
        ``(N, 1, D, H, W)`` in the dtype of the logits and the unit of ``levels``.

    Example:
        >>> import torch
        >>> from dal_fast import nn
        >>> image = nn.AnatomyImage(levels=(0.2, 0.5, 0.8))(torch.zeros(1, 3, 8, 8, 8))
        >>> image.shape, image.max().item() < 0.21
        (torch.Size([1, 1, 8, 8, 8]), True)
    """

    def __init__(self, *, levels: Sequence[float] = ops.LEVELS, temperature: float = 1.0) -> None:
        super().__init__()
        self.levels, self.temperature = tuple(levels), temperature
        _check_options(self, channels=len(self.levels))

    def forward(self, logits: Tensor, mask: Tensor | None = None) -> Tensor:
        return ops.anatomy_image(logits, self.levels, mask, self.temperature)

    def extra_repr(self) -> str:
        return f"levels={self.levels}, temperature={self.temperature}"


class Canny3d(nn.Module):
    """3D Canny edges: :func:`dal_fast.ops.canny3d`. No gradient flows through it.

    Args:
        sigma: of the Gaussian, voxels; 0 means no smoothing.
        low: lower threshold on the gradient, units of the volume per voxel. It is scikit-image's
            ``low_threshold`` divided by 8.
        high: upper threshold, at least ``low``.

    Shape:
        ``(N, C, D, H, W)`` volume and, optionally, a bool ``(N, 1, D, H, W)`` mask → bool
        ``(N, C, D, H, W)``.

    Example:
        >>> import torch
        >>> from dal_fast import nn
        >>> step = (torch.arange(16.0) > 7).expand(1, 1, 16, 16, 16).float()
        >>> edges = nn.Canny3d(sigma=1.0, low=0.02, high=0.04)(step)
        >>> edges[0, 0, 8, 8].nonzero().flatten().tolist()
        [7, 8]
    """

    def __init__(self, *, sigma: float = 1.0, low: float = 0.02, high: float = 0.04) -> None:
        super().__init__()
        self.sigma, self.low, self.high = sigma, low, high
        _check_options(self)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return ops.canny3d(x, self.sigma, self.low, self.high, mask)

    def extra_repr(self) -> str:
        return f"sigma={self.sigma}, low={self.low}, high={self.high}"


class _Windowed(nn.Module):
    """What the modules of the SSIM family share: the window and the range of intensities."""

    def __init__(
        self,
        *,
        window: int = 11,
        sigma: float = 1.5,
        kind: str = "gaussian",
        data_range: float = 1.0,
    ) -> None:
        super().__init__()
        self.window, self.sigma, self.kind, self.data_range = window, sigma, kind, data_range
        _check_options(self, volumes=2)

    def extra_repr(self) -> str:
        return (
            f"window={self.window}, sigma={self.sigma}, kind={self.kind!r}, "
            f"data_range={self.data_range}"
        )


class SSIMLoss3d(_Windowed):
    """``1 - mean SSIM`` of two volumes: :func:`dal_fast.ops.ssim3d`, differentiable in both.

    Args:
        window: taps per axis, odd, 3 to 33, voxels.
        sigma: of the Gaussian window, voxels; not used by ``"uniform"``.
        kind: of window, ``"gaussian"`` or ``"uniform"``.
        data_range: intensity span L of SSIM's constants ``(0.01 L)²`` and ``(0.03 L)²``, in the
            unit of the volumes; positive. It is 1 for volumes in [0, 1], 255 for 8-bit grey values.

    Shape:
        Two ``(N, C, D, H, W)`` volumes → a scalar, the mean over all axes. It is float32 for 16-bit
        volumes; of two dtypes the wider one counts, so that it may be called under autocast.

    Example:
        >>> import torch
        >>> from dal_fast import nn
        >>> loss = nn.SSIMLoss3d(window=7, data_range=255.0)
        >>> target = 255 * torch.rand(1, 1, 16, 16, 16)
        >>> prediction = target.clone().requires_grad_()
        >>> value = loss(prediction, target)
        >>> value.backward()
        >>> value.item()
        0.0
    """

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return 1 - ops.ssim3d(x, y, self.window, self.sigma, self.kind, self.data_range)


class L1SSIMLoss3d(_Windowed):
    """``alpha mean|x - y| + (1 - alpha)(1 - mean SSIM)``: :func:`dal_fast.ops.l1_ssim_loss`.

    Forward and backward are fused; both volumes may require a gradient.

    Args:
        alpha: weight of the L1 term, 0 to 1.
        window, sigma, kind: of SSIM's window, see :class:`SSIMLoss3d`.
        data_range: intensity span of SSIM's constants, see :class:`SSIMLoss3d`. It does not scale
            the L1 term, which is in the unit of the volumes.

    Shape:
        As :class:`SSIMLoss3d`.

    Example:
        >>> import torch
        >>> from dal_fast import nn
        >>> loss = nn.L1SSIMLoss3d(alpha=0.2)
        >>> prediction = torch.rand(1, 1, 16, 16, 16, requires_grad=True)
        >>> loss(prediction, torch.rand(1, 1, 16, 16, 16)).backward()
        >>> prediction.grad.shape
        torch.Size([1, 1, 16, 16, 16])
    """

    def __init__(
        self,
        *,
        alpha: float = ALPHA,
        window: int = 11,
        sigma: float = 1.5,
        kind: str = "gaussian",
        data_range: float = 1.0,
    ) -> None:
        self.alpha = alpha  # before the options are checked
        super().__init__(window=window, sigma=sigma, kind=kind, data_range=data_range)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        window = self.window, self.sigma, self.kind, self.data_range
        return ops.l1_ssim_loss(x, y, self.alpha, *window)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}, {super().extra_repr()}"


class HybridScore(_Windowed):
    """The anomaly map ``|x - y| (1 - SSIM)`` of a scan and its pseudo-healthy counterpart.

    See :func:`dal_fast.ops.hybrid_score`.

    Args:
        window, sigma, kind, data_range: of SSIM, see :class:`SSIMLoss3d`.

    Shape:
        Two ``(N, C, D, H, W)`` volumes → ``(N, C, D, H, W)``, at least 0, in their unit.

    Example:
        >>> import torch
        >>> from dal_fast import nn
        >>> scan = torch.rand(1, 1, 16, 16, 16)
        >>> nn.HybridScore()(scan, scan).max().item()
        0.0
    """

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return ops.hybrid_score(x, y, self.window, self.sigma, self.kind, self.data_range)


class Median3d(nn.Module):
    """The exact median of ``size``³ voxels: :func:`dal_fast.ops.median3d`. It has no gradient.

    Args:
        size: of the cube, 3 or 5 voxels; 4 on the CPU.

    Shape:
        ``(N, C, D, H, W)`` volume and, optionally, a bool ``(N, 1, D, H, W)`` mask outside which
        the result is 0 → the same shape and dtype.

    Example:
        >>> import torch
        >>> from dal_fast import nn
        >>> spike = torch.zeros(1, 1, 8, 8, 8)
        >>> spike[..., 4, 4, 4] = 1
        >>> nn.Median3d(size=3)(spike).max().item()
        0.0
    """

    def __init__(self, *, size: int = 3) -> None:
        super().__init__()
        self.size = size
        _check_options(self)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return ops.median3d(x, self.size, mask)

    def extra_repr(self) -> str:
        return f"size={self.size}"


class TFCE3d(nn.Module):
    """Threshold-free cluster enhancement: :func:`dal_fast.ops.tfce3d`. It has no gradient.

    Args:
        extent_power: E, at least 0.
        height_power: H, above -1.
        connectivity: 6, 18 or 26.

    Shape:
        ``(N, C, D, H, W)`` volume and, optionally, a bool ``(N, 1, D, H, W)`` mask outside which
        there is background → the same shape and dtype.

    Example:
        >>> import torch
        >>> from dal_fast import nn
        >>> cube = torch.zeros(1, 1, 8, 8, 8)
        >>> cube[..., 2:6, 2:6, 2:6] = 1
        >>> nn.TFCE3d(height_power=1.0)(cube).max().item()  # 64^0.5 / 2
        4.0
    """

    def __init__(
        self, *, extent_power: float = 0.5, height_power: float = 2.0, connectivity: int = 26
    ) -> None:
        super().__init__()
        self.extent_power, self.height_power = extent_power, height_power
        self.connectivity = connectivity
        _check_options(self)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return ops.tfce3d(x, mask, self.extent_power, self.height_power, self.connectivity)

    def extra_repr(self) -> str:
        return (
            f"extent_power={self.extent_power}, height_power={self.height_power}, "
            f"connectivity={self.connectivity}"
        )
