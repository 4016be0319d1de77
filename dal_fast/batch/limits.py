"""What a pool of workers may be asked for."""

from __future__ import annotations

from dal_fast.errors import Code, InputError


def check_limits(workers: int, patience: float) -> None:
    """Refuse a pool that could do nothing.

    Args:
        workers: processes.
        patience: seconds after which a stage of a scan counts as hung.

    Raises:
        InputError: ``value``.
    """
    if workers < 1:
        raise InputError(Code.VALUE, f"there must be at least one worker, not {workers}")
    if not patience > 0:
        raise InputError(Code.VALUE, f"the patience must be positive, not {patience:g} s")
