"""How many threads a process works with."""

from __future__ import annotations

from dal_fast import context
from dal_fast.context import available_cores


def limit_threads(most: int | None = None) -> None:
    """Let torch use no more threads than it would, and no more than ``most``.

    By default torch takes every core of the machine that it may be scheduled on, and heeds no quota
    of a container.

    Args:
        most: by default :func:`dal_fast.context.available_cores`.
    """
    import torch

    torch.set_num_threads(min(torch.get_num_threads(), most or available_cores()))


def share_threads(most: int) -> None:
    """Let the kernels use no more than ``most`` threads, whether torch will be imported or not."""
    context.set_threads(min(most, available_cores()))
