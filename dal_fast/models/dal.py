"""DAL: disentangled anatomy learning (Yang et al., Medical Image Analysis 2026, arXiv 2512.21924).

x - E_A - logits - one-hot - anatomical image A - Canny - edges - R_E - code -+
|                                                                             R_D - phi
+-- E_M - modality vector v --------------------------------------------------+
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from dal_fast.imaging.normalise import CEILING, WIDEST
from dal_fast.models import fixed
from dal_fast.models.config import DALConfig
from dal_fast.models.evidence import TissueEvidence, combine
from dal_fast.models.model import Model, brain_pads
from dal_fast.models.networks import Decoder, ModalityEncoder
from dal_fast.models.recouple import closed_form, without_field
from dal_fast.models.residual_head import (
    PATCH,
    ResidualHead,
    abnormal_probability,
    residual_evidence,
)
from dal_fast.models.unet import UNet
from dal_fast.ops import _image_stages as stages
from dal_fast.ops import anatomy_image, canny3d

PARTS = (
    "tissue", "code", "modality", "restorer", "decoder", "evidence", "head", "residual_head",
)  # fmt: skip
"""The paper's E_A, E_C, E_M, R_E and R_D; ours: what E_A sees, tissue from R_E's code, and what is
abnormal by the residual."""

_RECOUPLED_BY = {
    "closed_form": ("tissue",),
    "edges_closed_form": ("tissue", "restorer", "head"),
    "film": ("tissue", "modality", "restorer", "decoder"),
}
_MARGIN = 3  # voxels between the brain and the border of what the networks see


class DALOutput(NamedTuple):
    """What DAL makes of a scan; every volume is on the scan's grid.

    Attributes:
        tissue_logits: ``(N, K, D, H, W)``, 0 far outside the brain.
        probabilities: of tissue, inside the mask, 0 outside, ``(N, K, D, H, W)``: E_A's, or with
            ``"edges_closed_form"`` those that R_E restored.
        anatomy: the anatomical image A, ``(N, 1, D, H, W)``.
        edges: Canny edges of A, bool ``(N, 1, D, H, W)``.
        pseudo_healthy: phi, ``(N, 1, D, H, W)``, 0 outside the mask.
        fluid: how probable fluid is there, by the tissue or by the atlas, ``(N, 1, D, H, W)``.
        evidence: how probable it is that a voxel is abnormal, by the head on residual evidence, in
            [0, 1], 0 outside the mask, ``(N, 1, D, H, W)``; None for a model without that head.
        bias: b of the closed form, ``(N, 1, D, H, W)``; None for the published path.
    """

    tissue_logits: Tensor
    probabilities: Tensor
    anatomy: Tensor
    edges: Tensor
    pseudo_healthy: Tensor
    fluid: Tensor
    evidence: Tensor | None = None
    bias: Tensor | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> DALOutput:
        """The output with every volume changed alike."""
        return DALOutput._make(None if volume is None else change(volume) for volume in self)


class DAL(Model):
    """The model. Networks, their order, levels and Canny edges are the paper's; sizes are ours.

    With ``recoupler="film"`` phi comes from the published path: the edges of the anatomical image
    through R_E to the anatomical code, recombined by R_D with v from E_M. With ``"closed_form"``
    it comes from the tissue probabilities and the scan's own tissue means
    (:mod:`dal_fast.models.recouple`), and E_A is the only network. ``"edges_closed_form"`` lies
    between them: the edges through R_E to the tissue of a healthy brain, and that in closed form.

    Args:
        config: see :class:`DALConfig`.
        parts: to build, of ``PARTS``; default :func:`parts_needed`. ``"code"`` (E_C, which defines
            the anatomical code) serves training only.
    """

    def __init__(self, config: DALConfig, parts: Sequence[str] | None = None) -> None:
        super().__init__(parts_needed(config) if parts is None else parts)
        self.config = config
        tissues, code, patch = len(config.tissues), config.anatomy_channels, config.patch
        maps = 1 if config.tissue_mode == "nearest_level" else tissues
        channels = 1
        if config.tissue_input == "evidence":
            channels, maps = 1 + 2 * tissues, tissues + 1
        widths = config.anatomy_widths
        v = tissues if config.modality == "means" else config.modality_length
        build: dict[str, Callable[[], nn.Module]] = {
            "evidence": lambda: TissueEvidence(tissues),
            "tissue": lambda: UNet(channels, maps, config.tissue_widths, patch),
            "code": lambda: UNet(tissues, code, widths, patch),
            "modality": lambda: ModalityEncoder(config.modality_length),
            "restorer": lambda: UNet(1, code, widths, patch),
            "head": lambda: nn.Conv3d(code, tissues, 1),
            "decoder": lambda: Decoder(code, v, config.decoder_width),
            "residual_head": lambda: ResidualHead(config.residual_head_widths),
        }
        for name in self.parts:
            self.add_module(name, build[name]())

    @property
    def stride(self) -> int:
        """The networks take volumes whose sides are multiples of this."""
        levels = max(len(self.config.tissue_widths), len(self.config.anatomy_widths))
        head = PATCH * 2 ** (len(self.config.residual_head_widths) - 1)
        return max(self.config.patch * 2 ** (levels - 1), int(head))

    def space_for(self, sides: Sequence[int]) -> tuple[int, ...]:
        return tuple(self.stride * -(-side // self.stride) for side in sides)

    def forward(self, x: Tensor, mask: Tensor) -> DALOutput:
        """From scan to pseudo-healthy image.

        The networks see the brain's bounding box only, as in training: the statistics of instance
        normalisation do not depend on how much air surrounds a head.

        Args:
            x: ``(N, 1, D, H, W)`` on a ``config.voxel_mm`` grid, axes right, anterior, superior,
                median of the brain 0.5 (:func:`dal_fast.imaging.normalise.normalise`). E_A sees it
                to ``config.input_ceiling``, the closed form to ``WIDEST``, and what is compared
                with phi, without the bias field, is cut off at 1.
            mask: brain, bool ``(N, 1, D, H, W)``.
        """
        pads = self.pads(mask)
        x, mask = F.pad(x * mask, pads), F.pad(mask, pads)
        output = self.recouple(x, mask, self.tissue_logits(x, mask))
        back = [-pad for pad in pads]
        return output.map(lambda volume: F.pad(volume, back))

    def pads(self, mask: Tensor) -> list[int]:
        """Paddings that leave the brain, a margin, and sides that are multiples of ``stride``."""
        return brain_pads(
            mask, lambda sides: self.space_for([side + 2 * _MARGIN for side in sides])
        )

    def tissue_logits(self, x: Tensor, mask: Tensor) -> Tensor:
        """E_A: ``(N, 1, D, H, W)`` to ``(N, K, D, H, W)``, sides multiples of ``stride``."""
        x = x.clamp_max(self.config.input_ceiling)
        if self.config.tissue_input == "evidence":
            evidence = self.part("evidence")(x, mask)
            logits: Tensor = combine(evidence, self.part("tissue")(evidence))
        else:
            logits = self.part("tissue")(x)
        if self.config.tissue_mode == "logits":
            return logits
        levels = fixed.constants(self.config.levels, x)
        return -(logits - levels.view(1, -1, 1, 1, 1)).square() / self.config.tau

    def recouple(self, x: Tensor, mask: Tensor, logits: Tensor) -> DALOutput:
        """All that follows E_A, so that another runtime may serve the logits."""
        config, wide, x = self.config, x.clamp_max(WIDEST), x.clamp_max(CEILING)
        p = probabilities(logits, mask)
        anatomy = anatomy_image(logits, config.levels, mask)
        edges = canny3d(anatomy, config.canny_sigma, config.canny_low, config.canny_high, mask)
        bias = None
        if config.recoupler == "closed_form":
            fit = closed_form(wide, p, mask)
            image, bias = fit.image, fit.bias
        elif config.recoupler == "film":
            code = self.part("restorer")(edges.to(x.dtype))
            image = self.part("decoder")(code, self.modality_vector(x, p, mask), mask)
        else:
            code = self.part("restorer")(edges.to(x.dtype))
            p = self.part("head")(code).softmax(dim=1) * mask
            fit = closed_form(wide, p, mask)
            image, bias = fit.image, fit.bias
        fluid = self.fluid(p, mask)
        evidence = None
        if "residual_head" in self.parts:
            even = without_field(wide, image, bias)
            logit = self.part("residual_head")(residual_evidence(*even, p, fluid, mask))
            evidence = abnormal_probability(logit, mask)
        return DALOutput(logits, p, anatomy, edges, image, fluid, evidence, bias)

    def fluid(self, p: Tensor, mask: Tensor) -> Tensor:
        """1 - (1 - p_CSF)(1 - a_CSF): where the tissue or the atlas expects fluid."""
        if "evidence" not in self.parts:
            return p[:, :1]
        place = self.part("evidence").place(mask, tissue=0)  # type: ignore[operator]
        return 1 - (1 - p[:, :1]) * (1 - place)

    def modality_vector(self, x: Tensor, p: Tensor, mask: Tensor) -> Tensor:
        """v ``(N, length)``: E_M's, or the scan's means in the tissues ``p (N, K, D, H, W)``."""
        if self.config.modality == "means":
            return closed_form(x, p, mask).means
        v: Tensor = self.part("modality")(x, mask)
        return v


def probabilities(logits: Tensor, mask: Tensor) -> Tensor:
    """Of each tissue, ``(N, K, D, H, W)``, 0 outside ``mask (N, 1, D, H, W)``."""
    if stages.served(logits, mask) and logits.shape[1] <= stages.MOST_TISSUES:
        return stages.tissue_probabilities(logits, mask)
    return logits.softmax(dim=1) * mask


def parts_needed(config: DALConfig) -> tuple[str, ...]:
    """What inference needs, of ``PARTS``."""
    parts = {"evidence", *_RECOUPLED_BY[config.recoupler]}
    if config.residual_head_widths:
        parts.add("residual_head")
    if config.modality == "means":
        parts.discard("modality")
    return tuple(name for name in PARTS if name in parts)
