"""A scan beside what a model restored of it, and every map that follows from the two."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dal_fast.errors import Code, InputError
from dal_fast.imaging.morphology import without_rim
from dal_fast.models import AnyModel, AnyOutput, Autoencoder, DALOutput
from dal_fast.screening.calibration import Calibration, Scored, score_scan, sign_of
from dal_fast.screening.scoring import NAMED, WITHOUT_TISSUE, anomaly_score

PLAIN = "absolute"
"""What ``"auto"`` is where the model makes no tissue maps: |x - phi|, as in Luo et al. 2023."""
PLAIN_MEDIAN = 5
"""Their median filter, in voxels."""
RIM_MM = 2.0
"""Of the brain, that is not judged without tissue maps: where a mask ends a voxel too early or too
late, any restoration is wrong. Luo et al. erode "slightly"; how far is not specified."""


@dataclass(frozen=True, eq=False)
class Restored:
    """One scan on the model's grid.

    Attributes:
        x: normalised, ``(1, 1, D, H, W)``.
        view: where it is judged, bool, the same shape.
        output: of the model.
        contrast: that the model was trained on; None for DAL, which sees it from the scan.
    """

    x: Tensor
    view: Tensor
    output: AnyOutput
    contrast: str | None

    @property
    def names(self) -> tuple[str, ...]:
        """Scores of ``NAMED`` that can be computed."""
        return NAMED if isinstance(self.output, DALOutput) else WITHOUT_TISSUE

    def named(self, score: str) -> Tensor:
        """The anomaly map ``(1, 1, D, H, W)`` of a score of ``names``, not smoothed."""
        out = self.output
        if isinstance(out, DALOutput):
            p, fluid = out.probabilities, out.fluid
            return anomaly_score(self.x, out.pseudo_healthy, p, self.view, score, fluid)
        return anomaly_score(self.x, out.pseudo_healthy, None, self.view, score)

    def scored(self, healthy: Calibration, score: str = "auto") -> Scored:
        """The anomaly map by a score of ``SCORES``, not smoothed, and what was chosen for it."""
        out = self.output
        if isinstance(out, DALOutput):
            phi, p = out.pseudo_healthy, out.probabilities
            return score_scan(self.x, phi, p, self.view, out.fluid, healthy, score)
        name = PLAIN if score == "auto" else score
        return Scored(self.named(name), name, str(self.contrast), sign_of(name), PLAIN_MEDIAN)


def beside(x: Tensor, view: Tensor, output: AnyOutput, model: AnyModel) -> Restored:
    """A scan beside what ``model`` made of it.

    Args:
        x: normalised, ``(1, 1, D, H, W)``.
        view: where it has signal inside the brain, bool, the same shape.
        output: of the model.
        model: whose output it is.
    """
    if not isinstance(model, Autoencoder):
        return Restored(x, view, output, None)
    assert not isinstance(output, DALOutput)
    judged = without_rim(view & output.seen, round(RIM_MM / model.config.voxel_mm))
    return Restored(x, judged, output, model.config.contrast)


def check_model_score(score: str, model: AnyModel) -> None:
    """Refuse a score of ``SCORES`` that ``model`` cannot be asked for.

    Raises:
        InputError: ``value``.
    """
    known = ("auto", *WITHOUT_TISSUE)
    if isinstance(model, Autoencoder) and score not in known:
        raise InputError(
            Code.VALUE,
            f"the score {score!r} needs tissue maps, which an {model.config.kind} does not make; "
            f"choose one of {', '.join(known)}",
        )


def unseen_share(restored: Restored, mask: Tensor) -> float:
    """Share of the brain ``mask`` that lies outside the volume that the model sees."""
    if isinstance(restored.output, DALOutput):
        return 0.0
    inside = int(torch.count_nonzero(mask))
    return 1 - int(torch.count_nonzero(restored.output.seen)) / max(1, inside)
