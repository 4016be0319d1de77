"""Reference of the one-hot family: plain torch, differentiable, made for float64."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def onehot_ste(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Argmax one-hot of ``logits`` ``(N, K, D, H, W)`` whose gradient is that of the softmax."""
    top = logits[:, :1]
    best = torch.zeros_like(top, dtype=torch.int64)
    for k in range(1, logits.shape[1]):  # ties: lowest class; a NaN is never higher
        higher = logits[:, k : k + 1] > top
        top = torch.where(higher, logits[:, k : k + 1], top)
        best = torch.where(higher, k, best)
    classes = torch.arange(logits.shape[1], device=logits.device).view(-1, 1, 1, 1)
    hard = (best == classes).to(logits.dtype)
    soft = torch.softmax(logits / temperature, dim=1)
    return hard + (soft - soft.detach()).nan_to_num()  # a NaN reaches the gradient alone


def anatomy_image(
    logits: Tensor,
    levels: Sequence[float],
    mask: Tensor | None = None,
    temperature: float = 1.0,
) -> Tensor:
    """``A = mask * sum_k levels[k] * onehot_k``, ``(N, 1, D, H, W)``."""
    c = torch.tensor(levels, dtype=logits.dtype, device=logits.device).view(1, -1, 1, 1, 1)
    image = (onehot_ste(logits, temperature) * c).sum(dim=1, keepdim=True)
    return image if mask is None else image * mask
