"""The losses of DAL, by name; each is a function of a batch and of the networks' outputs.

The samples of a batch are groups of ``contrasts`` of one brain; "between contrasts" compares a
sample with the next one of its group, in a ring. A loss returns one value for every sample, the
mean over that sample's own voxels, so that it does not matter how samples are spread over
processes.

=========================  ================================================  ======
``tissue``                 cross-entropy of E_A to the healthy tissue        ours
``dice``                   1 - mean soft Dice of E_A                         ours
``lesion``                 cross-entropy of E_A inside lesions               ours
``consistency``            tissue maps of E_A between contrasts              paper
``reconstruction``         R_D(C, v) to x, with C from E_C                   paper
``cross_reconstruction``   R_D(C, v of the next contrast) to that contrast   paper
``similarity``             v: alike after mirroring, apart between contrasts paper
``edge_tissue``            cross-entropy of R_E's tissue head                ours
``code``                   R_E(edges) to C, which gets no gradient           paper
``restoration``            phi to x without its lesions                      paper
``reuse``                  E_M(phi) to E_M(x), which gets no gradient        paper
``abnormality``            the head on residual evidence to where, and how   ours
                           visibly, a lesion changed the scan
=========================  ================================================  ======

The paper names reconstruction, consistency, similarity, restoration and reuse; their forms are not
specified in what is public, and are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from dal_fast.metrics import label_dice
from dal_fast.models.dal import DAL
from dal_fast.models.recouple import TissueFit, closed_form, without_field
from dal_fast.models.residual_head import residual_evidence
from dal_fast.ops import anatomy_image, canny3d, l1_ssim_loss, onehot_ste
from dal_fast.training.abnormality import abnormality_loss, soft_target
from dal_fast.training.batch import Batch

L1_SHARE = 2 / 3
"""Weight of L1 in :func:`l1_and_ssim`: L1 + (1 - SSIM) / 2 in units of 3/2."""
MARGIN = 1.0
"""Least distance of the modality vectors of two contrasts."""


class DALOutputs:
    """What DAL's networks make of a batch; each output is computed when a loss first asks for it.

    Args:
        model: whose networks are used.
        batch: groups of ``contrasts`` samples of one brain.
        contrasts: size of a group.
        learning: networks that get gradients.
    """

    def __init__(self, model: DAL, batch: Batch, contrasts: int, learning: tuple[str, ...]) -> None:
        self.model, self.batch = model, batch
        self.contrasts, self.learning = contrasts, learning

    def next_contrast(self, x: Tensor) -> Tensor:
        """For every sample the value of the next one in its group; ``x (N, ...)``."""
        groups = x.view(-1, self.contrasts, *x.shape[1:])
        return groups.roll(-1, dims=1).flatten(0, 1)

    @cached_property
    def logits(self) -> Tensor:
        """Of E_A, ``(N, K, D, H, W)`` float32."""
        image = self.batch["seen"].contiguous(memory_format=torch.channels_last_3d)
        with torch.set_grad_enabled("tissue" in self.learning):
            return self.model.tissue_logits(image, self.batch["mask"]).float()

    @cached_property
    def probabilities(self) -> Tensor:
        """Tissue maps, 0 outside the mask."""
        return self.logits.softmax(dim=1) * self.batch["mask"]

    @cached_property
    def entropy(self) -> Tensor:
        """Cross-entropy of E_A to the healthy tissue, ``(N, D, H, W)``."""
        return F.cross_entropy(self.logits, self.batch["tissue"], reduction="none")

    @cached_property
    def anatomy_code(self) -> Tensor:
        """C of E_C, from the binarised tissue maps."""
        binary = onehot_ste(self.logits) * self.batch["mask"]
        return self.model.part("code")(binary)

    @cached_property
    def modality(self) -> Tensor:
        """The vector v of E_M."""
        tissue = self.probabilities.detach()
        return self.model.modality_vector(self.batch["image"], tissue, self.batch["mask"])

    @cached_property
    def restored_code(self) -> Tensor:
        """The code that R_E makes of the (corrupted) edges."""
        config, batch = self.model.config, self.batch
        with torch.no_grad():
            anatomy = anatomy_image(self.logits, config.levels, batch["mask"])
            edges = canny3d(
                anatomy, config.canny_sigma, config.canny_low, config.canny_high, batch["mask"]
            )
            if "edges_kept" in batch:
                edges = (edges & batch["edges_kept"]) | batch["edges_added"]
        return self.model.part("restorer")(edges.to(anatomy.dtype))

    @cached_property
    def pseudo_healthy(self) -> Tensor:
        """Phi by the model's recoupler; in closed form, gradients reach the tissue maps alone."""
        if self.model.config.recoupler == "film":
            return self.decode(self.restored_code, self.modality)
        tissue, fitted = self.recoupled
        with torch.autocast(tissue.device.type, enabled=False):  # bfloat16 steps by 0.002
            return torch.einsum("nk,nkdhw->ndhw", fitted.means, tissue)[:, None] * fitted.bias

    @cached_property
    def recoupled(self) -> tuple[Tensor, TissueFit]:
        """Tissue maps, and what the closed form makes of them, which rests."""
        batch, tissue = self.batch, self.probabilities
        if self.model.config.recoupler == "edges_closed_form":
            logits = self.model.part("head")(self.restored_code)
            tissue = logits.float().softmax(dim=1) * batch["mask"]
        with torch.no_grad():
            return tissue, closed_form(batch["seen"], tissue, batch["mask"])

    @cached_property
    def abnormality(self) -> Tensor:
        """Logits of the head on residual evidence, ``(N, 1, D, H, W)``; what it sees rests."""
        image, mask = self.batch["seen"], self.batch["mask"]
        with torch.no_grad(), torch.autocast(image.device.type, enabled=False):
            tissue, phi = self.probabilities, self.pseudo_healthy * mask
            fluid = self.model.fluid(tissue, mask)
            film = self.model.config.recoupler == "film"
            even = without_field(image, phi, None if film else self.recoupled[1].bias)
            evidence = residual_evidence(*even, tissue, fluid, mask)
        evidence = evidence.contiguous(memory_format=torch.channels_last_3d)
        logits: Tensor = self.model.part("residual_head")(evidence)
        return logits.float()

    def decode(self, code: Tensor, modality: Tensor) -> Tensor:
        """The image that R_D makes of a code and a modality vector."""
        return self.model.part("decoder")(code, modality, self.batch["mask"])


def l1_and_ssim(y: Tensor, x: Tensor) -> Tensor:
    """``(N,)``: mean L1 + (1 - SSIM) / 2 of every sample, fused."""
    pairs = zip(torch.split(y.float(), 1), torch.split(x.float(), 1), strict=True)
    return torch.stack([1.5 * l1_ssim_loss(a, b, alpha=L1_SHARE) for a, b in pairs])


def tissue_dice(logits: Tensor, tissue: Tensor, mask: Tensor) -> Tensor:
    """``(N, K)`` Dice of the most probable class, for reports."""
    return label_dice(logits.argmax(dim=1), tissue, logits.shape[1], mask)


def _mean_inside(values: Tensor, mask: Tensor) -> Tensor:
    """``(N,)`` mean of ``values (N, D, H, W)`` over ``mask (N, 1, D, H, W)``; 0 if it is empty."""
    weight = mask[:, 0].to(values.dtype)
    return (values * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp_min(1)


def _tissue(batch: Batch, outputs: DALOutputs) -> Tensor:
    return _mean_inside(outputs.entropy, batch["mask"])


def _lesion(batch: Batch, outputs: DALOutputs) -> Tensor:
    return _mean_inside(outputs.entropy, batch["lesion"])


def _dice(batch: Batch, outputs: DALOutputs) -> Tensor:
    predicted = outputs.probabilities
    truth = F.one_hot(batch["tissue"], predicted.shape[1]).movedim(-1, 1) * batch["mask"]
    overlap = 2 * (predicted * truth).sum((2, 3, 4)) + 1
    return 1 - (overlap / (predicted.sum((2, 3, 4)) + truth.sum((2, 3, 4)) + 1)).mean(dim=1)


def _consistency(batch: Batch, outputs: DALOutputs) -> Tensor:
    other = outputs.next_contrast(outputs.probabilities)
    both = batch["mask"] & outputs.next_contrast(batch["mask"])
    return _mean_inside((outputs.probabilities - other).square().sum(dim=1), both)


def _reconstruction(batch: Batch, outputs: DALOutputs) -> Tensor:
    decoded = outputs.decode(outputs.anatomy_code, outputs.modality)
    return l1_and_ssim(decoded, batch["image"] * batch["mask"])


def _cross_reconstruction(batch: Batch, outputs: DALOutputs) -> Tensor:
    mask = batch["mask"] & outputs.next_contrast(batch["mask"])
    crossed = outputs.decode(outputs.anatomy_code, outputs.next_contrast(outputs.modality)) * mask
    return l1_and_ssim(crossed, outputs.next_contrast(batch["image"]) * mask)


def _similarity(batch: Batch, outputs: DALOutputs) -> Tensor:
    """v of the mirrored brain is the same; v of another contrast is at least a margin away."""
    image, mask = batch["image"], batch["mask"]
    tissue, modality = outputs.probabilities.detach(), outputs.modality
    mirrored = outputs.model.modality_vector(image.flip(2), tissue.flip(2), mask.flip(2))
    alike = (modality - mirrored).square().mean(dim=1)
    difference = modality - outputs.next_contrast(modality)
    distance = difference.square().sum(dim=1).add(1e-8).sqrt()
    return alike + (MARGIN - distance).clamp_min(0).square()


def _edge_tissue(batch: Batch, outputs: DALOutputs) -> Tensor:
    logits = outputs.model.part("head")(outputs.restored_code)
    entropy = F.cross_entropy(logits.float(), batch["tissue"], reduction="none")
    return _mean_inside(entropy, batch["mask"])


def _code(batch: Batch, outputs: DALOutputs) -> Tensor:
    difference = (outputs.restored_code - outputs.anatomy_code.detach()).abs().mean(dim=1)
    return _mean_inside(difference, batch["mask"])


def _restoration(batch: Batch, outputs: DALOutputs) -> Tensor:
    return l1_and_ssim(outputs.pseudo_healthy, batch["healthy"] * batch["mask"])


def _reuse(batch: Batch, outputs: DALOutputs) -> Tensor:
    tissue, mask = outputs.probabilities.detach(), batch["mask"]
    again = outputs.model.modality_vector(outputs.pseudo_healthy, tissue, mask)
    return (again - outputs.modality.detach()).square().mean(dim=1)


def _abnormality(batch: Batch, outputs: DALOutputs) -> Tensor:
    image, healthy, lesion, mask = (batch[k] for k in ("image", "healthy", "lesion", "mask"))
    tissue, phi = outputs.probabilities, outputs.pseudo_healthy
    target = soft_target(image, healthy, phi, tissue, lesion, mask)
    return abnormality_loss(outputs.abnormality, target, mask)


LOSSES: dict[str, Callable[[Batch, DALOutputs], Tensor]] = {
    "tissue": _tissue,
    "dice": _dice,
    "lesion": _lesion,
    "consistency": _consistency,
    "reconstruction": _reconstruction,
    "cross_reconstruction": _cross_reconstruction,
    "similarity": _similarity,
    "edge_tissue": _edge_tissue,
    "code": _code,
    "restoration": _restoration,
    "reuse": _reuse,
    "abnormality": _abnormality,
}
"""By the name that a recipe uses."""
