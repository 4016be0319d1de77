"""The losses of every stage, by name, each a number a sample.

A :class:`Pass` holds one batch and computes what a loss asks for, once and only then. The samples
of a batch are groups of ``contrasts`` of one brain; "between contrasts" compares a sample with the
next one of its group, in a ring. Each loss is the mean of its samples' own values, so that it does
not matter how samples are spread over processes.

=====================  ==================================================  ======================
``tissue``             cross-entropy of E_A to healthy tissue               ours
``dice``               1 - mean soft Dice of E_A                            ours
``lesion``             cross-entropy of E_A inside lesions                  ours
``consistency``        tissue maps of E_A between contrasts                 paper
``reconstruction``     R_D(C, v) to x, with C from E_C                      paper
``cross_reconstruction``  R_D(C, v of the next contrast) to that contrast   paper
``similarity``         v: alike after mirroring, apart between contrasts    paper
``edge_tissue``        cross-entropy of R_E's tissue head                   ours
``code``               R_E(edges) to C, which is held                       paper
``restoration``        phi to x without its lesions                         paper
``reuse``              E_M(phi) to E_M(x), which is held                    paper
=====================  ==================================================  ======================

The paper names reconstruction, consistency, similarity, restoration and reuse; their forms are not
specified in what is public, and ours.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from dal_fast.metrics import label_dice
from dal_fast.models.dal import DAL
from dal_fast.models.recouple import closed_form
from dal_fast.ops import anatomy_image, canny3d, l1_ssim_loss, onehot_ste
from dal_fast.synthesis.synthesiser import Sample
from dal_fast.training.corruption import corrupt_edges

L1_SHARE = 2 / 3  # of reconstruction: L1 + (1 - SSIM) / 2, in units of 3/2
MARGIN = 1.0  # least distance of the modality vectors of two contrasts


class Pass:
    """One batch on its way through the networks.

    Args:
        model: whose networks are asked.
        sample: groups of ``contrasts`` samples of one brain.
        contrasts: size of a group.
        learning: networks that get gradients.
        corruption: share of samples whose edges are corrupted.
        generator: of the corruption.
    """

    def __init__(
        self,
        model: DAL,
        sample: Sample,
        contrasts: int,
        learning: tuple[str, ...],
        corruption: float,
        generator: Generator,
    ) -> None:
        self.model, self.sample, self.contrasts = model, sample, contrasts
        self.learning, self.corruption, self.generator = learning, corruption, generator
        self.inside = sample.mask[:, 0].to(sample.image.dtype)

    def loss(self, name: str) -> Tensor:
        """``(N,)``, of ``LOSSES``."""
        return LOSSES[name](self)

    def of_next(self, x: Tensor) -> Tensor:
        """Every sample's neighbour in its group."""
        groups = x.view(-1, self.contrasts, *x.shape[1:])
        return groups.roll(-1, dims=1).flatten(0, 1)

    @cached_property
    def logits(self) -> Tensor:
        image = self.sample.image.contiguous(memory_format=torch.channels_last_3d)
        with torch.set_grad_enabled("tissue" in self.learning):
            return self.model.tissue_logits(image, self.sample.mask).float()

    @cached_property
    def probabilities(self) -> Tensor:
        return self.logits.softmax(dim=1) * self.sample.mask

    @cached_property
    def entropy(self) -> Tensor:
        """Of E_A to the healthy tissue, ``(N, D, H, W)``."""
        return F.cross_entropy(self.logits, self.sample.tissue, reduction="none")

    @cached_property
    def code(self) -> Tensor:
        """C of E_C, from the binarised tissue maps."""
        binary = onehot_ste(self.logits) * self.sample.mask
        return self.model.part("code")(binary)

    @cached_property
    def v(self) -> Tensor:
        p = self.probabilities.detach()
        return self.model.modality_vector(self.sample.image, p, self.sample.mask)

    @cached_property
    def restored(self) -> Tensor:
        """The code that R_E makes of the edges."""
        config, mask = self.model.config, self.sample.mask
        with torch.no_grad():
            anatomy = anatomy_image(self.logits, config.levels, mask)
            edges = canny3d(anatomy, config.canny_sigma, config.canny_low, config.canny_high, mask)
            edges = corrupt_edges(edges, mask, self.corruption, self.generator)
        return self.model.part("restorer")(edges.to(anatomy.dtype))

    @cached_property
    def phi(self) -> Tensor:
        """By the model's recoupler; in closed form, gradients reach the tissue alone."""
        config, sample = self.model.config, self.sample
        if config.recoupler == "film":
            return self.image(self.restored, self.v)
        p = self.probabilities
        if config.recoupler == "edges_closed_form":
            p = self.model.part("head")(self.restored).float().softmax(dim=1) * sample.mask
        with torch.no_grad():
            fitted = closed_form(sample.image, p, sample.mask)
        return torch.einsum("nk,nkdhw->ndhw", fitted.means, p)[:, None] * fitted.bias

    def image(self, code: Tensor, v: Tensor) -> Tensor:
        return self.model.part("decoder")(code, v, self.sample.mask)

    @property
    def healthy(self) -> Tensor:
        return self.sample.image if self.sample.healthy is None else self.sample.healthy


def _mean_inside(values: Tensor, inside: Tensor) -> Tensor:
    """``(N,)`` mean of ``values (N, D, H, W)`` weighted by ``inside``; 0 where that is empty."""
    return (values * inside).sum((1, 2, 3)) / inside.sum((1, 2, 3)).clamp_min(1)


def _tissue(p: Pass) -> Tensor:
    return _mean_inside(p.entropy, p.inside)


def _lesion(p: Pass) -> Tensor:
    return _mean_inside(p.entropy, p.sample.lesion[:, 0].to(p.entropy.dtype))


def _dice(p: Pass) -> Tensor:
    truth = F.one_hot(p.sample.tissue, p.logits.shape[1]).movedim(-1, 1) * p.sample.mask
    overlap = 2 * (p.probabilities * truth).sum((2, 3, 4)) + 1
    return 1 - (overlap / (p.probabilities.sum((2, 3, 4)) + truth.sum((2, 3, 4)) + 1)).mean(dim=1)


def _consistency(p: Pass) -> Tensor:
    other = p.of_next(p.probabilities)
    both = p.inside * p.of_next(p.inside)
    return _mean_inside((p.probabilities - other).square().sum(dim=1), both)


def _reconstruction(p: Pass) -> Tensor:
    return l1_and_ssim(p.image(p.code, p.v), p.sample.image * p.sample.mask)


def _cross_reconstruction(p: Pass) -> Tensor:
    mask = p.sample.mask & p.of_next(p.sample.mask)
    crossed = p.image(p.code, p.of_next(p.v)) * mask
    return l1_and_ssim(crossed, p.of_next(p.sample.image) * mask)


def _similarity(p: Pass) -> Tensor:
    """v of the mirrored brain is the same; v of another contrast is at least a margin away."""
    image, mask = p.sample.image, p.sample.mask
    tissue = p.probabilities.detach()
    mirrored = p.model.modality_vector(image.flip(2), tissue.flip(2), mask.flip(2))
    alike = (p.v - mirrored).square().mean(dim=1)
    distance = (p.v - p.of_next(p.v)).square().sum(dim=1).add(1e-8).sqrt()
    return alike + (MARGIN - distance).clamp_min(0).square()


def _edge_tissue(p: Pass) -> Tensor:
    logits = p.model.part("head")(p.restored)
    entropy = F.cross_entropy(logits.float(), p.sample.tissue, reduction="none")
    return _mean_inside(entropy, p.inside)


def _code(p: Pass) -> Tensor:
    difference = (p.restored - p.code.detach()).abs().mean(dim=1)
    return _mean_inside(difference, p.inside)


def _restoration(p: Pass) -> Tensor:
    return l1_and_ssim(p.phi, p.healthy * p.sample.mask)


def _reuse(p: Pass) -> Tensor:
    tissue, mask = p.probabilities.detach(), p.sample.mask
    again = p.model.modality_vector(p.phi, tissue, mask)
    return (again - p.v.detach()).square().mean(dim=1)


def l1_and_ssim(y: Tensor, x: Tensor) -> Tensor:
    """``(N,)``: mean L1 + (1 - SSIM) / 2, fused."""
    pairs = zip(torch.split(y.float(), 1), torch.split(x.float(), 1), strict=True)
    return torch.stack([1.5 * l1_ssim_loss(a, b, alpha=L1_SHARE) for a, b in pairs])


LOSSES: dict[str, Callable[[Pass], Tensor]] = {
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
}


def tissue_dice(logits: Tensor, tissue: Tensor, mask: Tensor) -> Tensor:
    """``(N, K)`` Dice of the most probable class, for reports."""
    return label_dice(logits.argmax(dim=1), tissue, logits.shape[1], mask)
