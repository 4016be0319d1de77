"""The training itself: stages, steps, averages, checkpoints.

Lightning Fabric brings devices, processes and precision. Every step is a function of its number and
of the state that a checkpoint holds, so that a training that was killed, even in mid-write, ends
with the weights that it would have had.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dal_fast.errors import Code, InputError
from dal_fast.models import AnyModel, Autoencoder
from dal_fast.synthesis.synthesiser import Sample
from dal_fast.training import checkpoint
from dal_fast.training.config import StageConfig, TrainConfig
from dal_fast.training.losses import Pass
from dal_fast.training.reconstruction import ReconstructionPass
from dal_fast.training.samples import Samples

WARM_UP = 20  # steps


@dataclass(frozen=True)
class Step:
    """What happened in a step.

    Attributes:
        number: of the whole training, from 1.
        stage: its name.
        losses: of every kind that its turn has, unweighted, and ``"total"``; means over all
            processes.
        rate: of the optimiser.
        seconds: it took.
        synthesis: of them, for making the samples.
    """

    number: int
    stage: str
    losses: dict[str, float]
    rate: float
    seconds: float
    synthesis: float


class Objective(nn.Module):
    """The weighted loss of a stage as a module, so that Fabric can spread it over processes."""

    def __init__(self, model: AnyModel, stage: StageConfig, contrasts: int) -> None:
        super().__init__()
        self.model, self.stage, self.contrasts = model, stage, contrasts

    def of(
        self, sample: Sample, generator: torch.Generator, step: int = 0
    ) -> tuple[Pass | ReconstructionPass, tuple[str, ...]]:
        """What ``forward`` takes in the stage's ``step``-th step; no tensor, so that Fabric leaves
        it as it is."""
        stage, model = self.stage, self.model
        learning, names = stage.turn(step)
        if isinstance(model, Autoencoder):
            return ReconstructionPass(model, sample, generator, learning), names
        corruption = stage.edge_corruption
        return Pass(model, sample, self.contrasts, learning, corruption, generator), names

    def forward(
        self, made: Pass | ReconstructionPass, names: tuple[str, ...]
    ) -> tuple[Tensor, Tensor]:
        """The total, and the unweighted losses ``(kinds,)`` in the order of their names."""
        kinds = torch.stack([made.loss(name).mean() for name in names])
        weights = kinds.new_tensor([self.stage.losses[name] for name in names])
        return (weights * kinds).sum(), kinds.detach()


class Training:
    """A training that can be left and taken up again.

    Args:
        config: of the whole training.
        model: with every part that is trained or asked.
        samples: to learn from.
        fabric: launched :class:`lightning_fabric.Fabric`.
        folder: of ``last.ckpt``, which is continued if it is there.

    Raises:
        InputError: ``train-mismatch`` when the folder holds another training.
    """

    def __init__(
        self, config: TrainConfig, model: AnyModel, samples: Samples, fabric: Any, folder: Path
    ) -> None:
        if config.samples.brains % fabric.world_size:
            raise InputError(
                Code.VALUE,
                f"samples.brains = {config.samples.brains} cannot be shared evenly by "
                f"{fabric.world_size} processes",
            )
        self.config, self.samples, self.fabric = config, samples, fabric
        self.path = folder / "last.ckpt"
        self.model = model.to(fabric.device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        average = get_ema_multi_avg_fn(config.ema)  # type: ignore[no-untyped-call]
        self.average = AveragedModel(self.model, multi_avg_fn=average, use_buffers=False)
        self.done = 0
        self._optimiser_state: dict[str, Any] | None = None
        if self.path.is_file():
            self._load()

    def steps(self) -> Iterator[Step]:
        """Train to the end; yields after every step, when the checkpoint has been written."""
        first = 0
        for stage in self.config.stages:
            last = first + stage.steps
            if self.done < last:
                yield from self._stage(stage, first)
            first = last

    def averaged(self) -> AnyModel:
        """The model of the averaged weights, which is what validation and the end take."""
        model: AnyModel = self.average.module  # type: ignore[assignment]
        return model

    # -- one stage ----------------------------------------------------------------------------

    def _stage(self, stage: StageConfig, first: int) -> Iterator[Step]:
        model, fabric = self.model, self.fabric
        for name in model.parts:
            model.part(name).requires_grad_(name in stage.trains).train(name in stage.trains)
        learning = [p for p in model.parameters() if p.requires_grad]
        optimiser = make_optimiser(stage, learning, fused=fabric.device.type == "cuda")
        if self._optimiser_state is not None:
            optimiser.load_state_dict(self._optimiser_state)
            self._optimiser_state = None
        objective = Objective(model, stage, self.config.samples.contrasts)
        if self.config.compile:
            for name in stage.trains:
                model.part(name).compile(dynamic=True)
        wrapped, optimiser = fabric.setup(objective, optimiser)
        while self.done < first + stage.steps:
            yield self._step(objective, wrapped, first, optimiser, learning)

    def _step(
        self, objective: Objective, wrapped: Any, first: int, optimiser: Any, learning: list[Any]
    ) -> Step:
        stage = objective.stage
        fabric, start = self.fabric, time.perf_counter()
        step = self.done - first
        rate = stage.rate * rate_factor(step, stage.steps, stage.schedule)
        active, names = stage.turn(step)
        for name in stage.trains:
            self.model.part(name).requires_grad_(name in active)
        for group in optimiser.param_groups:
            group["lr"] = rate
        device, rank, world = fabric.device, fabric.global_rank, fabric.world_size
        sample = self.samples.batch(self.done, hardness(stage, step), device, rank, world)
        corruption = self.samples.corruption(self.done, device, rank)
        made = time.perf_counter()
        total, kinds = wrapped(*objective.of(sample, corruption, step))
        optimiser.zero_grad(set_to_none=True)
        fabric.backward(total)
        torch.nn.utils.clip_grad_norm_(learning, stage.clip)
        optimiser.step()
        self.average.update_parameters(self.model)
        self.done += 1
        values = fabric.all_reduce(torch.cat([kinds, total.detach()[None]]), reduce_op="mean")
        last = self.done == first + stage.steps
        if self.done % self.config.checkpoint_every == 0 or last:
            self._save(optimiser, stage_ends=last)
        losses = dict(zip([*names, "total"], values.tolist(), strict=True))
        now = time.perf_counter()
        return Step(self.done, stage.name, losses, rate, now - start, made - start)

    # -- checkpoints --------------------------------------------------------------------------

    def _save(self, optimiser: Any, stage_ends: bool) -> None:
        if not self.fabric.is_global_zero:
            return
        state = {
            "config": self.config.model_dump_json(),
            "done": self.done,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": None if stage_ends else optimiser.state_dict(),
        }
        checkpoint.save(self.path, state)

    def _load(self) -> None:
        state = checkpoint.load(self.path)
        if state["config"] != self.config.model_dump_json():
            raise InputError(
                Code.TRAIN_MISMATCH,
                f"{self.path.parent} holds a training with another configuration; choose another "
                "folder, or --overwrite",
            )
        self.done = state["done"]
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self._optimiser_state = state["optimiser"]


def make_optimiser(
    stage: StageConfig, parameters: list[nn.Parameter], fused: bool
) -> torch.optim.Optimizer:
    """The stage's own; a parameter without a gradient is left as it is."""
    rate, decay = stage.rate, stage.weight_decay
    if stage.optimiser == "rmsprop":
        return torch.optim.RMSprop(parameters, rate, weight_decay=decay)
    kind = torch.optim.AdamW if stage.optimiser == "adamw" else torch.optim.Adam
    return kind(parameters, rate, stage.betas, weight_decay=decay, fused=fused)


def rate_factor(step: int, steps: int, schedule: str = "cosine") -> float:
    """Of the learning rate: linear warm-up, then a cosine to 0, or 1."""
    warm_up = min(1.0, (step + 1) / WARM_UP)
    if schedule == "constant":
        return warm_up
    return warm_up * 0.5 * (1 + math.cos(math.pi * step / steps))


def hardness(stage: StageConfig, step: int) -> float:
    """0 in the easy part of a stage, 1 in the hard part, linear between them."""
    done = step / stage.steps
    if done >= stage.hard_from:
        return 1.0
    if done <= stage.easy_until:
        return 0.0
    return (done - stage.easy_until) / (stage.hard_from - stage.easy_until)
