"""The training loop: stages, steps, averaged weights and checkpoints.

Lightning Fabric provides devices, processes and precision. Every step is a function of its number
and of the state that a checkpoint holds. A training that was killed and resumed, even while it
wrote a checkpoint, therefore ends with the weights that an uninterrupted one ends with.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Generator, Tensor, nn
from torch.optim.swa_utils import AveragedModel

from dal_fast.errors import Code, InputError
from dal_fast.models import Trainable
from dal_fast.training import checkpoint
from dal_fast.training.config import StageConfig, TrainConfig
from dal_fast.training.objective import Objective, make_objective

WARM_UP = 20  # steps


@dataclass(frozen=True)
class Step:
    """What happened in a step.

    Attributes:
        number: of the whole training, from 1.
        stage: its name.
        losses: of the step, by name and unweighted, and their weighted sum ``"total"``; means over
            all processes.
        rate: learning rate of the optimiser.
        seconds: the whole step took.
        synthesis: seconds of them that making the samples took.
    """

    number: int
    stage: str
    losses: dict[str, float]
    rate: float
    seconds: float
    synthesis: float


class Batches(Protocol):
    """Draws the samples of a step and the random numbers of its losses, from the step alone."""

    def batch(
        self, step: int, difficulty: float, device: torch.device, rank: int = 0, world: int = 1
    ) -> Any: ...

    def step_generator(self, step: int, device: torch.device, rank: int) -> Generator: ...


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
        self, config: TrainConfig, model: Trainable, samples: Batches, fabric: Any, folder: Path
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
        self.average = AveragedModel(self.model, use_buffers=False)
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

    def averaged(self) -> Trainable:
        """The model of the averaged weights, which is what validation and the end take."""
        model: Trainable = self.average.module  # type: ignore[assignment]
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
        mixed = self.config.precision == "bf16-mixed"
        objective = make_objective(model, stage, self.config.samples.contrasts, mixed)
        if self.config.compile:
            for name in stage.trains:
                model.part(name).compile(dynamic=True)
        wrapped, optimiser = fabric.setup(objective, optimiser)
        while self.done < first + stage.steps:
            yield self._step(objective, wrapped, first, optimiser, learning)

    def _step(
        self, objective: Objective, wrapped: Any, first: int, optimiser: Any, learning: list[Any]
    ) -> Step:
        stage, fabric, start = objective.stage, self.fabric, time.perf_counter()
        step = self.done - first
        rate = stage.rate * rate_factor(step, stage.steps, stage.schedule)
        for group in optimiser.param_groups:
            group["lr"] = rate
        objective.start_step(step)
        device, rank, world = fabric.device, fabric.global_rank, fabric.world_size
        sample = self.samples.batch(self.done, difficulty(stage, step), device, rank, world)
        synthesised = time.perf_counter()
        batch = objective.prepare(sample, self.samples.step_generator(self.done, device, rank))
        losses, total = learn(objective, wrapped, batch, optimiser, learning, fabric.backward)
        update_average(self.average, self.model, self.config.ema, first=self.done == 0)
        self.done += 1
        values = torch.stack([*losses.values(), total]).detach()
        values = fabric.all_reduce(values, reduce_op="mean")
        last = self.done == first + stage.steps
        if self.done % self.config.checkpoint_every == 0 or last:
            self._save(optimiser, stage_ends=last)
        means = dict(zip([*losses, "total"], values.tolist(), strict=True))
        now = time.perf_counter()
        return Step(self.done, stage.name, means, rate, now - start, synthesised - start)

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


def learn(
    objective: Objective,
    forward: Callable[[Any], dict[str, Tensor]],
    batch: Any,
    optimiser: Any,
    learning: list[nn.Parameter],
    backward: Callable[[Tensor], None],
) -> tuple[dict[str, Tensor], Tensor]:
    """One step of the optimiser; on a GPU nothing in it waits for a value.

    Args:
        objective: whose losses are weighted.
        forward: of the objective, perhaps spread over processes.
        batch: of :meth:`Objective.prepare`.
        optimiser: of the parameters that learn.
        learning: these parameters.
        backward: computes gradients of a loss.

    Returns:
        The losses by name, and their weighted sum.
    """
    losses = forward(batch)
    total = objective.total(losses)
    optimiser.zero_grad(set_to_none=True)
    backward(total)
    torch.nn.utils.clip_grad_norm_(learning, objective.stage.clip)
    optimiser.step()
    return losses, total


@torch.no_grad()
def update_average(average: AveragedModel, model: nn.Module, decay: float, first: bool) -> None:
    """Let the averaged weights follow: ``average + (1 - decay) (model - average)``.

    What :meth:`AveragedModel.update_parameters` does with torch's function for that average, which
    reads back from the device how many there were.

    Args:
        average: of the model; its buffers become the model's.
        model: after a step.
        decay: of an earlier weight in the average.
        first: whether there was no step before; the average is then the model.
    """
    ours: list[Tensor] = list(average.module.parameters())
    theirs: list[Tensor] = list(model.parameters())
    torch._foreach_lerp_(ours, theirs, 1.0 if first else 1 - decay)
    for held, new in zip(average.module.buffers(), model.buffers(), strict=True):
        held.copy_(new)
    average.n_averaged += 1


def make_optimiser(
    stage: StageConfig, parameters: list[nn.Parameter], fused: bool
) -> torch.optim.Optimizer:
    """The optimiser of a stage; it leaves a parameter without a gradient as it is."""
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


def difficulty(stage: StageConfig, step: int) -> float:
    """0 in the easy part of a stage, 1 in the hard part, linear between them."""
    share = step / stage.steps
    if share >= stage.hard_from:
        return 1.0
    if share <= stage.easy_until:
        return 0.0
    return (share - stage.easy_until) / (stage.hard_from - stage.easy_until)
