"""Single precision on GPUs, for as long as a network runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_lock = threading.Lock()
_entered = 0
_before: list[str | bool] = []


@contextmanager
def full_precision() -> Iterator[None]:
    """Have torch's convolutions and matrix products on GPUs keep all bits of float32.

    By default convolutions round their inputs to TF32, a mantissa of 10 bits: of a network's output
    that is up to a thousandth, as much as engines are allowed to differ by. The setting is the
    process's; it is restored when the last of the threads that are inside leaves.
    """
    global _entered, _before
    with _lock:
        if _entered == 0:
            _before = _get()
            _set(["ieee", "ieee"] if _by_name() else [False, False])
        _entered += 1
    try:
        yield
    finally:
        with _lock:
            _entered -= 1
            if _entered == 0:
                _set(_before)


@contextmanager
def tf32_convolutions() -> Iterator[None]:
    """Have torch's convolutions on GPUs round what they multiply to TF32, for a network that is to
    be fast rather than exact; inside :func:`full_precision`, which is for everything else.

    One thread at a time: the setting is the process's.
    """
    place, name = _places()[0]
    before = getattr(place, name)
    setattr(place, name, "tf32" if _by_name() else True)
    try:
        yield
    finally:
        setattr(place, name, before)


def _by_name() -> bool:
    """Whether this torch (2.9 or later) names precisions; the older flags must not be mixed in."""
    return hasattr(torch.backends.cudnn, "conv")


def _places() -> list[tuple[Any, str]]:
    """Where torch keeps the precision of convolutions and of matrix products."""
    backends: Any = torch.backends
    if _by_name():
        return [(backends.cudnn.conv, "fp32_precision"), (backends.cuda.matmul, "fp32_precision")]
    return [(backends.cudnn, "allow_tf32"), (backends.cuda.matmul, "allow_tf32")]


def _get() -> list[str | bool]:
    return [getattr(place, name) for place, name in _places()]


def _set(values: list[str | bool]) -> None:
    for (place, name), value in zip(_places(), values, strict=True):
        setattr(place, name, value)
