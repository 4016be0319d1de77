"""What a screener is told, and how that is put on record. Without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dal_fast.weights import weights_sha256

if TYPE_CHECKING:
    from dal_fast.screening.scan import Brain, NonFinite

CONTRASTS = ("T1w", "T2w", "FLAIR")
BFLOAT16 = "openvino-bf16"
"""The runtime that computes the networks in bfloat16."""


@dataclass(frozen=True)
class Settings:
    """The arguments of :class:`dal_fast.screening.screener.Screener`, which explains them."""

    weights: str | Path = "default"
    runtime: str = "auto"
    device: str = "auto"
    score: str = "auto"
    median: int | None = None
    threshold: float | None = None
    contrast: str | None = None
    nonfinite: NonFinite = "refuse"
    brain: Brain = "auto"

    def parameters(
        self, voxel_mm: float, runtime: str, device: str, extractor: dict[str, Any]
    ) -> dict[str, Any]:
        """All that decides about results, JSON-ready: what a sidecar has as ``Requested``.

        Args:
            voxel_mm: of the model's grid.
            runtime, device: that ``"auto"`` has become.
            extractor: what there is to say about the extraction of brains.
        """
        return {
            "score": self.score,
            "threshold": "auto" if self.threshold is None else self.threshold,
            "median": "auto" if self.median is None else self.median,
            "contrast": "auto" if self.contrast is None else self.contrast,
            "model_voxel_mm": voxel_mm,
            "weights": str(self.weights),
            "weights_sha256": weights_sha256(self.weights),
            "runtime": runtime,
            "device": device,
            "nonfinite": self.nonfinite,
            "brain": self.brain,
            **extractor,
        }
