"""A whole training: from a configuration and folders of brains to a weight file."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from dal_fast.errors import Code, InputError, RuntimeUnavailable
from dal_fast.evaluation.calibration import calibrate
from dal_fast.extras import isolate
from dal_fast.imaging.folders import make_folder
from dal_fast.models import (
    DAL,
    AnyModel,
    BrainNetConfig,
    Trainable,
    build_model,
    inference_parts,
    load_brain_net,
    load_screening_model,
    save_weights,
)
from dal_fast.models.evidence import average_tissue, widened
from dal_fast.synthesis.brains import (
    Brain,
    bids_sources,
    load_brains,
    map_sources,
    with_visible_fluid,
)
from dal_fast.synthesis.head_maps import head_maps, load_heads
from dal_fast.training.ahead import Ahead
from dal_fast.training.config import TrainConfig
from dal_fast.training.extraction import HeadSamples, split_heads, validate_heads
from dal_fast.training.journal import Journal
from dal_fast.training.loop import Batches, Step, Training
from dal_fast.training.samples import Samples
from dal_fast.training.validation import ValidationResult, validate

WEIGHTS = "weights.safetensors"
_COMPARE_WITH_HEALTHY = {"restoration", "abnormality"}  # losses that ask for the healthy scan
_SMOOTHING = 0.02  # weight of a new value in the running mean of the loss that is shown
_PATIENCE = timedelta(hours=3)  # of a process that waits for another, which may be reading brains


@dataclass(frozen=True)
class Progress:
    """How a caller follows a training.

    Attributes:
        reading: wraps the files that are read into the cache.
        step: called after every step with the step, the number of all steps, and a line to show.
        validated: called after every validation with the number of the step and the result.
    """

    reading: Callable[[Iterable[Any]], Iterable[Any]] = iter
    step: Callable[[Step, int, str], None] = lambda step, steps, line: None
    validated: Callable[[int, ValidationResult], None] = lambda step, result: None


def make_fabric(device: str, devices: int, config: TrainConfig) -> Any:
    """A launched Fabric; under torchrun its processes, otherwise ``devices`` of this machine.

    Args:
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        devices: processes on this machine.
        config: tells whether networks take turns.

    Raises:
        RuntimeUnavailable: ``extra-missing``, ``device-unavailable``.
    """
    isolate("torch_compiler")
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.strategies.ddp import DDPStrategy
    except ImportError as error:
        raise RuntimeUnavailable(
            Code.EXTRA_MISSING,
            f"training needs Lightning Fabric: pip install 'dal_fast[train]' ({error})",
        ) from None
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise RuntimeUnavailable(
            Code.DEVICE_UNAVAILABLE, "there is no CUDA device; use --device cpu"
        )
    local = int(os.environ.get("LOCAL_WORLD_SIZE", devices))
    nodes = int(os.environ.get("GROUP_WORLD_SIZE", 1))
    turns = any(stage.critic_steps for stage in config.stages)
    fabric = Fabric(
        accelerator="auto" if device == "auto" else device.split(":")[0],
        devices=[int(device.split(":")[1])] if ":" in device else local,
        num_nodes=nodes,
        strategy=(
            DDPStrategy(timeout=_PATIENCE, find_unused_parameters=turns)
            if local * nodes > 1
            else "auto"
        ),
    )
    fabric.launch()
    return fabric


@dataclass(frozen=True)
class _Task:
    """What is particular to a kind of model.

    Attributes:
        model: to train.
        samples: to learn from.
        validate: on held-out data, all of it or some; every process calls it.
        facts: for the card, of the data and of the trained model.
    """

    model: Trainable
    samples: Batches
    validate: Callable[[Trainable, bool], ValidationResult]
    facts: Callable[[Trainable], dict[str, Any]]


def run(
    config: TrainConfig,
    data: Path | None,
    out: Path,
    fabric: Any,
    maps: Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Train, or resume the training that ``out`` holds; returns the path of the weight file.

    Every process of the training calls this; the first one writes.

    Args:
        config: of the training.
        data: BIDS derivative, see :func:`dal_fast.synthesis.brains.bids_sources`; brain extraction
            needs none.
        out: folder of checkpoint, logs, pictures and weights.
        fabric: of :func:`make_fabric`.
        maps: folder of FreeSurfer label maps; for brain extraction those of whole heads.
        progress: what is called on the way.

    Raises:
        InputError: ``no-data``, ``train-mismatch``, ``train-corrupt``, ``weights-...``, ``value``
            where the processes cannot share the brains of a step, or a folder is not named.
        OutputError: ``output-unwritable`` or ``disk-full``; the last checkpoint is kept.
    """
    progress = progress or Progress()
    with fabric.rank_zero_first():  # it fills the cache, the others read it
        if isinstance(config.model, BrainNetConfig):
            task = _extraction(config, maps, progress)
        else:
            task = _screening(config, data, maps, progress, fabric)
    make_folder(out)
    with contextlib.ExitStack() as stack:
        samples = task.samples
        if fabric.device.type == "cuda":
            samples = ahead = Ahead(samples, config)
            stack.callback(ahead.close)
        training = Training(config, task.model, samples, fabric, out)
        result = _train(training, task, out, progress)
    if result is None:  # every step had been made before
        result = task.validate(training.averaged(), True)
    if fabric.is_global_zero:
        facts = task.facts(training.averaged())
        _write(config, training.averaged(), out / WEIGHTS, facts, result)
    return out / WEIGHTS


def _screening(
    config: TrainConfig, data: Path | None, maps: Path | None, progress: Progress, fabric: Any
) -> _Task:
    """The training of a model that screens brains."""
    if data is None:
        raise InputError(
            Code.VALUE,
            f"a model of kind {config.model.kind!r} is trained from brains with label maps; name "
            "their folder with --data",
        )
    brains = _load(config, data, maps, progress)
    held_out, seed = brains.held_out, config.seed
    model = build(config, [*brains.scans, *brains.maps])
    samples = Samples(
        brains.scans, brains.maps, config.samples, seed, model.space_for,
        needs_twins(config), None if isinstance(model, DAL) else model.config.contrast,
    )  # fmt: skip

    def check(trained: Any, everything: bool) -> ValidationResult:
        some = held_out if everything else held_out[: config.validate_on]
        return validate(trained, some, seed, fabric)

    def facts(trained: Any) -> dict[str, Any]:
        return {
            "data": [folder.resolve().name for folder in (data, maps) if folder],
            "split": {k: len(getattr(brains, k)) for k in ("scans", "maps", "held_out")},
            "healthy": calibrate(trained, held_out, seed, brains.scans).model_dump(mode="json"),
        }

    return _Task(model, samples, check, facts)


def _extraction(config: TrainConfig, maps: Path | None, progress: Progress) -> _Task:
    """The training of a brain extraction network."""
    assert isinstance(config.model, BrainNetConfig)
    if maps is None:
        raise InputError(
            Code.VALUE, "brain extraction is trained from label maps of whole heads: --maps FOLDER"
        )
    paths = head_maps(maps)
    used, held_out = split_heads(load_heads(paths, progress.reading))
    shrunken = load_heads(split_heads(paths)[0], progress.reading, shrunken=True)
    torch.manual_seed(config.seed)
    model = build_model(config.model)
    if config.init:
        model.load_state_dict(load_brain_net(config.init).state_dict())
    samples = HeadSamples(used, config.model, config.samples.brains, config.seed, shrunken)

    def check(trained: Any, everything: bool) -> ValidationResult:
        some = held_out if everything else held_out[: config.validate_on]
        return ValidationResult(*validate_heads(trained, some, config.seed))

    split = {"maps": len(used), "held_out": len(held_out)}
    return _Task(model, samples, check, lambda _: {"data": [maps.resolve().name], "split": split})


@dataclass(frozen=True)
class _Brains:
    """The brains of a training: real scans, label maps alone, and held-out scans."""

    scans: list[Brain]
    maps: list[Brain]
    held_out: list[Brain]


def _load(config: TrainConfig, data: Path, maps: Path | None, progress: Progress) -> _Brains:
    mm = config.model.voxel_mm
    scans, held_out = (
        load_brains(bids_sources(data, held_out), mm, progress.reading)
        for held_out in (False, True)
    )
    files = map_sources(maps, held_out=False) if maps else []
    scans = [with_visible_fluid(brain) for brain in scans]
    return _Brains(scans, load_brains(files, mm, progress.reading) if files else [], held_out)


def _train(
    training: Training, task: _Task, out: Path, progress: Progress
) -> ValidationResult | None:
    """Make all steps; returns the last validation, or None where no step was left."""
    config, fabric = training.config, training.fabric
    mean_total, result = math.nan, None
    with contextlib.ExitStack() as stack:
        journal = None
        if fabric.is_global_zero:
            journal = Journal(out, training.done, config.model.kind)
            stack.callback(journal.close)
        for step in training.steps():
            total = step.losses["total"]
            first = math.isnan(mean_total)
            mean_total = total if first else mean_total + _SMOOTHING * (total - mean_total)
            if journal:
                journal.step(step)
            last = step.number == config.steps
            if step.number % config.validate_every == 0 or last:
                result = task.validate(training.averaged(), last)
                if journal:
                    journal.validation(step.number, result)
                    progress.validated(step.number, result)
            if journal:
                progress.step(step, config.steps, f"{step.stage}: loss {mean_total:.3f}")
    return result


def needs_twins(config: TrainConfig) -> bool:
    """Whether a loss compares with the scan without its lesions."""
    return any(_COMPARE_WITH_HEALTHY & set(stage.losses) for stage in config.stages)


def build(config: TrainConfig, brains: list[Brain]) -> AnyModel:
    """The model of a training: fresh from its seed, or from ``config.init``."""
    torch.manual_seed(config.seed)
    needed = inference_parts(config.model)
    asked = {name for stage in config.stages for name in stage.trains}
    assert not isinstance(config.model, BrainNetConfig)
    model = build_model(config.model, [*needed, *sorted(asked - set(needed))])
    if isinstance(model, DAL) and "evidence" in model.parts:
        labels = [brain.structures[0, 0].long() // 256 for brain in brains]
        atlas = average_tissue(labels, len(model.config.tissues))
        model.part("evidence").get_buffer("atlas").copy_(atlas)
    if config.init:
        rests = "tissue" not in asked
        _take_over(model, load_screening_model(config.init), config.init, with_atlas=rests)
    return model


def _take_over(model: AnyModel, earlier: AnyModel, source: str, with_atlas: bool) -> None:
    """Copy the networks that both have; an E_A that rests keeps the atlas that it learned with."""
    if model.config.kind != earlier.config.kind:
        raise InputError(
            Code.WEIGHTS_MISMATCH, f"{source} holds another kind of model, {earlier.config.kind}"
        )
    left = set() if with_atlas else {"evidence"}
    common = [name for name in model.parts if name in earlier.parts and name not in left]
    for name in common:
        network, state = model.part(name), earlier.part(name).state_dict()
        try:
            if name == "tissue" and _other_input(model, earlier):
                state = widened(state, network.state_dict())
            network.load_state_dict(state)
        except RuntimeError:
            raise InputError(
                Code.WEIGHTS_MISMATCH,
                f"the network {name!r} of {source} has other sizes than [model]",
            ) from None
    if not common:
        raise InputError(Code.WEIGHTS_MISMATCH, f"{source} has none of the networks of [model]")


def _other_input(model: AnyModel, earlier: AnyModel) -> bool:
    """Whether E_A has other input channels than it had."""
    if not isinstance(model, DAL) or not isinstance(earlier, DAL):
        return False
    return model.config.tissue_input != earlier.config.tissue_input


def _write(
    config: TrainConfig,
    model: Trainable,
    path: Path,
    facts: dict[str, Any],
    result: ValidationResult,
) -> None:
    card = {
        **facts,
        "seed": config.seed,
        "recipe": config.model_dump(mode="json", exclude={"model"}),
        "steps": config.steps,
        "metrics": {k: round(v, 4) for k, v in result.metrics.items() if math.isfinite(v)},
        "torch": torch.__version__,
        "use": "research use, not a medical device",
    }
    save_weights(path, model, card, parts=inference_parts(config.model))
