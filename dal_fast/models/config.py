"""What a DAL model is made of."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from dal_fast.imaging.normalise import CEILING, WIDEST
from dal_fast.ops import LEVELS


class DALConfig(BaseModel):
    """Configuration of a :class:`dal_fast.models.DAL`; stored inside its weight file.

    The paper gives the three tissues, the levels and the order of the networks. Sizes, the code
    lengths and the closed-form recoupler are ours ("not specified in the paper").

    Attributes:
        kind: of the model.
        voxel_mm: edge of the isotropic grid that the networks were trained on.
        tissues: classes of E_A, in the order of ``levels``.
        levels: grey levels of the anatomical image.
        tissue_mode: ``"logits"``, a score per tissue; ``"nearest_level"``, one grey map a with
            ``p_k ~ exp(-(a - c_k)^2 / tau)``: the other reading of the paper's constants.
        tau: width of ``nearest_level``.
        tissue_input: what E_A sees: ``"scan"``, as in the paper, or ``"evidence"``, the scan and
            what its intensities and an atlas say (:mod:`dal_fast.models.evidence`).
        recoupler: ``"film"``, the published path (Canny edges, R_E, R_D); ``"edges_closed_form"``,
            tissue restored from the edges by R_E, recoupled in closed form; ``"closed_form"``, the
            tissue of E_A, recoupled in closed form.
        modality: what R_D gets as v: ``"encoder"``, E_M's vector, as in the paper, or ``"means"``,
            the scan's tissue means (as many numbers as tissues).
        input_ceiling: normalised intensity at which what E_A sees of a scan is cut off: 1.0, twice
            the brain's median, to 2.0, four times. The residual is always cut off at 1.0.
        patch: 1, or 2: every U-Net works on patches of 2x2x2 voxels.
        tissue_widths, anatomy_widths: U-Net channels by level, finest first, of E_A and of E_C
            and R_E.
        anatomy_channels: channels of the anatomical code.
        modality_length: of the modality vector.
        decoder_width: channels of R_D.
        canny_sigma, canny_low, canny_high: edge detection on the anatomical image.
        residual_head_widths: U-Net channels by level of the head on residual evidence
            (:mod:`dal_fast.models.residual_head`); none, and there is no head.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["dal"] = "dal"
    voxel_mm: PositiveFloat = 2.0
    tissues: tuple[str, ...] = ("CSF", "GM", "WM")
    levels: tuple[float, ...] = LEVELS
    tissue_mode: Literal["logits", "nearest_level"] = "logits"
    tau: PositiveFloat = 0.01
    tissue_input: Literal["scan", "evidence"] = "scan"
    input_ceiling: float = Field(default=CEILING, ge=CEILING, le=WIDEST)
    recoupler: Literal["closed_form", "edges_closed_form", "film"] = "closed_form"
    modality: Literal["encoder", "means"] = "encoder"
    patch: Literal[1, 2] = 1
    tissue_widths: tuple[PositiveInt, ...] = (8, 16, 48, 96)
    anatomy_widths: tuple[PositiveInt, ...] = (16, 32, 64)
    anatomy_channels: PositiveInt = 16
    modality_length: PositiveInt = 8
    decoder_width: PositiveInt = 32
    canny_sigma: PositiveFloat = 1.0
    canny_low: PositiveFloat = 0.02
    canny_high: PositiveFloat = 0.04
    residual_head_widths: tuple[PositiveInt, ...] = ()
