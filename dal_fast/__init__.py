"""Unsupervised anomaly detection in brain MRI. Research software, not a medical device.

    from dal_fast import Screener

    result = Screener().screen("sub-01_FLAIR.nii.gz")

Everything below is imported when it is first used: ``import dal_fast`` loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dal_fast._version import __version__
from dal_fast.errors import (
    Code,
    DalFastError,
    InputError,
    OutputError,
    RuntimeUnavailable,
    WorkerError,
)

if TYPE_CHECKING:
    from dal_fast import nn, ops
    from dal_fast.screening.brain_extraction import BrainExtractor
    from dal_fast.screening.result import Result
    from dal_fast.screening.screener import Screener

__all__ = [
    "BrainExtractor",
    "Code",
    "DalFastError",
    "InputError",
    "OutputError",
    "Result",
    "RuntimeUnavailable",
    "Screener",
    "WorkerError",
    "__version__",
    "nn",
    "ops",
]

_LAZY = {
    "BrainExtractor": "dal_fast.screening.brain_extraction",
    "Result": "dal_fast.screening.result",
    "Screener": "dal_fast.screening.screener",
}


def __getattr__(name: str) -> Any:
    if name in ("nn", "ops"):
        return import_module(f"dal_fast.{name}")
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
