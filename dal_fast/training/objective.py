"""The weighted losses of a stage as one module, which Fabric can spread over processes."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Generator, Tensor, nn

from dal_fast.models import DAL, Autoencoder, BrainNet, Trainable, fixed
from dal_fast.synthesis.heads import HeadSample
from dal_fast.synthesis.sample import Sample
from dal_fast.training.batch import Batch, batch_of
from dal_fast.training.config import StageConfig
from dal_fast.training.corruption import draw_corruption
from dal_fast.training.extraction import EXTRACTION_LOSSES, HeadBatch
from dal_fast.training.losses import LOSSES, DALOutputs
from dal_fast.training.reconstruction import (
    RECONSTRUCTION_LOSSES,
    AutoencoderOutputs,
    add_noise,
)


class Objective(nn.Module):
    """The losses of a stage; ``forward`` takes tensors by name and returns tensors by name.

    Args:
        model: with every network that the stage trains or uses.
        stage: its losses and their weights.
        mixed: run the networks in bfloat16 where torch's autocast does so. (Fabric's own mixed
            precision would also round the batch, whose intensities the closed form needs in full.)
    """

    def __init__(self, model: Trainable, stage: StageConfig, mixed: bool = False) -> None:
        super().__init__()
        self.model, self.stage, self.mixed = model, stage, mixed
        self.learning, self.names = stage.turn(0)

    def start_step(self, step: int) -> None:
        """Choose the networks that learn, and the losses, of the stage's step-th step from 0."""
        self.learning, self.names = self.stage.turn(step)
        for name in self.stage.trains:
            self.model.part(name).requires_grad_(name in self.learning)

    @abstractmethod
    def prepare(self, sample: Any, generator: Generator) -> Any:
        """The tensors that ``forward`` takes; every random number of the step is drawn here."""

    def forward(self, batch: Any) -> dict[str, Tensor]:
        """Every loss of the step by its name, unweighted, mean over the samples."""
        device = batch["image"].device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.mixed):
            return self.losses(batch)

    @abstractmethod
    def losses(self, batch: Any) -> dict[str, Tensor]:
        """As ``forward``, in whatever precision is set."""

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """The weighted sum."""
        values = torch.stack(list(losses.values()))
        weights = fixed.constants([self.stage.losses[name] for name in losses], values)
        return (weights * values).sum()


class DALObjective(Objective):
    """The losses of DAL.

    Args:
        model: with every network that the stage trains or uses.
        stage: its losses and their weights.
        contrasts: samples of one brain, which follow each other in a batch.
        mixed: see :class:`Objective`.
    """

    model: DAL

    def __init__(self, model: DAL, stage: StageConfig, contrasts: int, mixed: bool = False) -> None:
        super().__init__(model, stage, mixed)
        self.contrasts = contrasts
        self.terms = {name: LOSSES[name] for name in stage.losses}

    def prepare(self, sample: Sample, generator: Generator) -> Batch:
        batch = batch_of(sample)
        if share := self.stage.edge_corruption:
            kept, added = draw_corruption(sample.mask, share, generator)
            batch["edges_kept"], batch["edges_added"] = kept, added
        return batch

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        outputs = DALOutputs(self.model, batch, self.contrasts, self.learning)
        return {name: self.terms[name](batch, outputs).mean() for name in self.names}


class AutoencoderObjective(Objective):
    """The losses of autoencoders and GANs; see :class:`Objective`."""

    model: Autoencoder

    def __init__(self, model: Autoencoder, stage: StageConfig, mixed: bool = False) -> None:
        super().__init__(model, stage, mixed)
        self.terms = {name: RECONSTRUCTION_LOSSES[name] for name in stage.losses}

    def prepare(self, sample: Sample, generator: Generator) -> Batch:
        return add_noise(batch_of(sample), self.model, generator)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        outputs = AutoencoderOutputs(self.model, batch, self.learning)
        return {name: self.terms[name](batch, outputs).mean() for name in self.names}


class BrainObjective(Objective):
    """The losses of brain extraction; see :class:`Objective`."""

    model: BrainNet

    def __init__(self, model: BrainNet, stage: StageConfig, mixed: bool = False) -> None:
        super().__init__(model, stage, mixed)
        self.terms = {name: EXTRACTION_LOSSES[name] for name in stage.losses}

    def prepare(self, sample: HeadSample, generator: Generator) -> HeadBatch:
        return {"image": sample.image, "distance": sample.distance}

    def losses(self, batch: HeadBatch) -> dict[str, Tensor]:
        found, target = self.model(batch["image"]), batch["distance"]
        reach = self.model.config.reach_mm
        return {name: self.terms[name](found, target, reach).mean() for name in self.names}


def make_objective(
    model: Trainable, stage: StageConfig, contrasts: int, mixed: bool = False
) -> Objective:
    """The objective of the model's kind.

    Args:
        model: with every network that the stage trains or uses.
        stage: its losses and their weights.
        contrasts: samples of one brain, which follow each other in a batch.
        mixed: run the networks in bfloat16 where torch's autocast does so.
    """
    if isinstance(model, BrainNet):
        return BrainObjective(model, stage, mixed)
    if isinstance(model, Autoencoder):
        return AutoencoderObjective(model, stage, mixed)
    return DALObjective(model, stage, contrasts, mixed)
