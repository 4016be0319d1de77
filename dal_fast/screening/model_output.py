"""What a model predicts for a scan, and the anomaly maps that follow from the two."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dal_fast.errors import Code, InputError
from dal_fast.imaging.morphology import erode
from dal_fast.imaging.normalise import CEILING
from dal_fast.models import AnyModel, AnyOutput, Autoencoder, DALOutput
from dal_fast.models.recouple import without_field
from dal_fast.screening.calibration import (
    COMBINED,
    AnomalyMap,
    Calibration,
    Evidence,
    score_scan,
    sign_of,
)
from dal_fast.screening.scoring import NAMED, WITHOUT_TISSUE, anomaly_score

PLAIN = "absolute"
"""What ``"auto"`` is where the model makes no tissue maps: |x - phi|, as in Luo et al. 2023."""
PLAIN_MEDIAN = 5
"""Their median filter, in voxels."""
PAPERS = "hybrid"
"""What ``"auto"`` is where R_D makes phi, as in the paper."""
EDGE_MM = 2.0
"""Width of the outermost layer of the brain, which is not evaluated without tissue maps: where a
mask ends a voxel too early or too late, any pseudo-healthy image is wrong. Luo et al. erode
"slightly"; how far is not specified."""


@dataclass(frozen=True, eq=False)
class ModelOutput:
    """One scan on the model's grid, and the model's prediction for it.

    Attributes:
        image: normalised scan in [0, 1], ``(1, 1, D, H, W)``.
        even, even_phi: scan and pseudo-healthy image as they are compared, without the bias field
            where the model estimates one, the same shape.
        field_of_view: where the scan is evaluated, bool, the same shape.
        prediction: what the model returned.
        contrast: that the model was trained on; None for DAL, which takes any.
        usual: what the score ``"auto"`` is, see :func:`usual_score`.
    """

    image: Tensor
    even: Tensor
    even_phi: Tensor
    field_of_view: Tensor
    prediction: AnyOutput
    contrast: str | None
    usual: str

    @classmethod
    def of(
        cls, image: Tensor, field_of_view: Tensor, prediction: AnyOutput, model: AnyModel
    ) -> ModelOutput:
        """The output of ``model``, with the field of view that the model covers.

        Args:
            image: normalised scan, ``(1, 1, D, H, W)``, not cut off.
            field_of_view: where it has signal inside the brain, bool, the same shape.
            prediction: of ``model`` for ``image``.
            model: an autoencoder is not evaluated at the edge of the brain, see ``EDGE_MM``.
        """
        bias = prediction.bias if isinstance(prediction, DALOutput) else None
        even = without_field(image, prediction.pseudo_healthy, bias)
        image, usual = image.clamp_max(CEILING), usual_score(model)
        if not isinstance(model, Autoencoder):
            return cls(image, *even, field_of_view, prediction, None, usual)
        assert not isinstance(prediction, DALOutput)
        covered = field_of_view & prediction.field_of_view
        inside = erode(covered, round(EDGE_MM / model.config.voxel_mm))
        return cls(image, *even, inside, prediction, model.config.contrast, usual)

    @property
    def scores(self) -> tuple[str, ...]:
        """Scores of ``NAMED`` that can be computed."""
        return NAMED if isinstance(self.prediction, DALOutput) else WITHOUT_TISSUE

    def score_map(self, score: str) -> Tensor:
        """The anomaly map ``(1, 1, D, H, W)`` of a score of ``scores``, not smoothed."""
        out, where = self.prediction, self.field_of_view
        if isinstance(out, DALOutput):
            p, fluid = out.probabilities, out.fluid
            return anomaly_score(self.even, self.even_phi, p, where, score, fluid)
        return anomaly_score(self.even, self.even_phi, None, where, score)

    @property
    def evidence(self) -> Evidence:
        """What the enhanced score is made from, for a model with tissue maps."""
        out = self.prediction
        assert isinstance(out, DALOutput)
        return Evidence(
            self.even,
            self.even_phi,
            out.probabilities,
            self.field_of_view,
            out.fluid,
            out.evidence,
        )

    def anomaly_map(
        self, calibration: Calibration, score: str = "auto", contrast: str | None = None
    ) -> AnomalyMap:
        """The anomaly map by a score of ``SCORES``, not smoothed, and what was chosen for it.

        Args:
            calibration: what the model shows of healthy brains.
            score: of ``SCORES``.
            contrast: of the scan, where it is known.
        """
        name = self.usual if score == "auto" else score
        if isinstance(self.prediction, DALOutput):
            return score_scan(self.evidence, calibration, name, contrast)
        trained_on = str(self.contrast)
        level = calibration.threshold(trained_on, name)
        return AnomalyMap(
            self.score_map(name), name, trained_on, sign_of(name), PLAIN_MEDIAN, level, trained_on
        )

    def share_outside(self, mask: Tensor) -> float:
        """Share of the brain ``mask`` that lies outside the volume that the model sees."""
        if isinstance(self.prediction, DALOutput):
            return 0.0
        covered = int(torch.count_nonzero(self.prediction.field_of_view))
        return 1 - covered / max(1, int(torch.count_nonzero(mask)))


def usual_score(model: AnyModel) -> str:
    """What the score ``"auto"`` is: the paper's ``"hybrid"`` for the paper's path, ``PLAIN`` for an
    autoencoder, else ``"enhanced"``."""
    if isinstance(model, Autoencoder):
        return PLAIN
    return PAPERS if model.config.recoupler == "film" else COMBINED


def check_model_score(score: str, model: AnyModel) -> None:
    """Refuse a score of ``SCORES`` that cannot be computed from the output of ``model``.

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
