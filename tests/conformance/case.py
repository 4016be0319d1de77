"""One row of the table of contracts, and the volumes that rows are given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from support import TOLERANCE
from torch import Tensor

NOTHING = dict.fromkeys(TOLERANCE, 0.0)


@dataclass(frozen=True)
class Case:
    """One op with one set of parameters.

    Attributes:
        name: of the case; its first word is the op.
        inputs: ``(shape, dtype)`` to CPU tensors; ``None`` where there is no mask.
        ours: ``(backend, *inputs)`` to the result.
        reference: the same without ``backend``, floating inputs in float64.
        differentiable: how many of the first inputs have a gradient.
        tolerance: greatest difference, by dtype.
        may_differ: greatest fraction of voxels that differ (boolean results); 0 for float64.
        backends: that have the op.
        costly: so many taps that only a tiny volume can be emulated.
    """

    name: str
    inputs: Callable[[tuple[int, ...], torch.dtype], tuple[Tensor | None, ...]]
    ours: Callable[..., Tensor]
    reference: Callable[..., Tensor]
    differentiable: int = 0
    tolerance: dict[torch.dtype, float] = field(default_factory=lambda: NOTHING)
    may_differ: float = 0.0
    backends: tuple[str, ...] = ("cpu", "cuda", "triton")
    costly: bool = False


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(shape, dtype, seed=0):
    """Standard normal voxels."""
    return torch.randn(shape, generator=_generator(seed), dtype=torch.float64).to(dtype)


def mask_of(shape, density=0.7, seed=5):
    """Bool ``(N, 1, D, H, W)``."""
    n, _, *space = shape
    return torch.rand(n, 1, *space, generator=_generator(seed)) < density


def smooth(shape, dtype, seed=0):
    """Smooth noise of standard deviation near 0.1: gradients on both of Canny's thresholds."""
    taps = torch.tensor([1.0, 3.0, 4.0, 3.0, 1.0], dtype=torch.float64) / 12
    x = noise(shape, torch.float64, seed)
    for axis in (2, 3, 4):
        i = torch.arange(-2, x.shape[axis] + 2).clamp(0, x.shape[axis] - 1)
        x = x.index_select(axis, i).unfold(axis, 5, 1) @ taps
    return (0.6 * x).to(dtype)


def logits(shape, dtype):
    """Three classes."""
    n, _, *space = shape
    return (3 * noise((n, 3, *space), torch.float64)).to(dtype)


def pair(shape, dtype):
    """Two similar volumes in about [0, 1]."""
    x = torch.rand(shape, generator=_generator(0), dtype=torch.float64)
    return x.to(dtype), (x + 0.2 * noise(shape, torch.float64, 1)).to(dtype)


def awkward(shape, dtype):
    """Noise with ties, zeros of both signs and infinities."""
    x, kind = (
        (8 * noise(shape, torch.float64)).round() / 8,
        torch.rand(shape, generator=_generator(3)),
    )
    for i, value in enumerate((-0.0, 0.0, torch.inf, -torch.inf)):
        x[(kind >= 0.03 * i) & (kind < 0.03 * (i + 1))] = value
    return x.to(dtype)


def blobs(density):
    """A mask of whole batch and channels, as the only input."""
    return lambda shape, _: (torch.rand(shape, generator=_generator(7)) < density,)


def sparse_levels(shape, dtype):
    """Noise of which half is positive, on few levels, and small so that sums stay near 1."""
    return (0.05 * (3 * noise(shape, torch.float64)).round() / 3).to(dtype), mask_of(shape)
