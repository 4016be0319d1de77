"""Inference: from a scan to maps, a score and a report.

Importing this package does not import torch, so that bad input is refused before torch loads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dal_fast.inference.result import Flag, Image, Region, Result

if TYPE_CHECKING:
    from dal_fast.inference.screener import Screener

__all__ = ["Flag", "Image", "Region", "Result", "Screener"]


def __getattr__(name: str) -> Any:
    if name == "Screener":
        from dal_fast.inference.screener import Screener

        return Screener
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
