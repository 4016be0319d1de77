"""From a configuration and folders of brains to a weight file."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dal_fast.errors import Code, InputError, RuntimeUnavailable
from dal_fast.evaluation.calibration import calibrate
from dal_fast.models import (
    DAL,
    AnyModel,
    build_model,
    inference_parts,
    load_model,
    save_weights,
)
from dal_fast.models.evidence import average_tissue, widened
from dal_fast.screening.calibration import Calibration
from dal_fast.synthesis.brains import Brain, Source, bids_sources, load_brains, map_sources
from dal_fast.training.config import TrainConfig
from dal_fast.training.journal import Journal
from dal_fast.training.loop import Step, Training
from dal_fast.training.samples import Samples
from dal_fast.training.validation import Validation, validate

WEIGHTS = "weights.safetensors"
_TWINS = {"restoration"}  # losses whose target is the scan without its lesions
_SMOOTHING = 0.02  # of the loss that is shown


@dataclass(frozen=True)
class Progress:
    """How a caller follows a training.

    Attributes:
        reading: wraps the brains that are read into the cache.
        step: called after every step with the step, the number of all, and a line to show.
        validated: called after every validation.
    """

    reading: Callable[[Iterable[Source]], Iterable[Source]] = iter
    step: Callable[[Step, int, str], None] = lambda step, steps, line: None
    validated: Callable[[int, Validation], None] = lambda step, seen: None


def make_fabric(device: str, devices: int, config: TrainConfig) -> Any:
    """A launched Fabric; under torchrun its processes, otherwise ``devices`` of this machine.

    Args:
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        devices: processes on this machine.
        config: says the precision, and whether networks take turns.

    Raises:
        InputError: ``extra-missing``, ``device-unavailable``.
    """
    try:
        from lightning_fabric import Fabric
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
    several = "ddp_find_unused_parameters_true" if turns else "ddp"
    fabric = Fabric(
        accelerator="auto" if device == "auto" else device.split(":")[0],
        devices=[int(device.split(":")[1])] if ":" in device else local,
        num_nodes=nodes,
        strategy=several if local * nodes > 1 else "auto",
        precision=config.precision,
    )
    fabric.launch()
    return fabric


def run(
    config: TrainConfig,
    data: Path,
    out: Path,
    fabric: Any,
    maps: Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Train, or go on with the training that ``out`` holds; returns the weight file.

    Args:
        config: of the training.
        data: BIDS derivative, see :func:`dal_fast.synthesis.brains.bids_sources`.
        out: folder of checkpoint, logs, pictures and weights.
        fabric: of :func:`make_fabric`.
        maps: folder of FreeSurfer label maps.
        progress: what to tell, and whom.

    Raises:
        InputError: ``no-data``, ``train-mismatch``, ``train-corrupt``, ``weights-...``.
    """
    progress = progress or Progress()
    mm = config.model.voxel_mm
    with fabric.rank_zero_first():  # it fills the cache, the others find it
        scans = load_brains(bids_sources(data, held_out=False), mm, progress.reading)
        held_out = load_brains(bids_sources(data, held_out=True), mm, progress.reading)
        sources = map_sources(maps, held_out=False) if maps else []
        brains_of_maps = load_brains(sources, mm, progress.reading) if sources else []
    model = build(config, [*scans, *brains_of_maps])
    twins = needs_twins(config)
    contrast = None if isinstance(model, DAL) else model.config.contrast
    samples = Samples(
        scans, brains_of_maps, config.samples, config.seed, model.space_for, twins, contrast
    )
    out.mkdir(parents=True, exist_ok=True)
    training = Training(config, model, samples, fabric, out)
    shown = held_out[: config.validate_on]
    if not fabric.is_global_zero:
        for _ in training.steps():
            pass
        return out / WEIGHTS
    average, seen = float("nan"), None
    with contextlib.closing(Journal(out, training.done, config.model.kind)) as journal:
        for step in training.steps():
            total = step.losses["total"]
            average = total if average != average else average + _SMOOTHING * (total - average)
            journal.step(step)
            last = step.number == config.steps
            if step.number % config.validate_every == 0 or last:
                seen = validate(training.averaged(), held_out if last else shown, config.seed)
                journal.validation(step.number, seen)
                progress.validated(step.number, seen)
            progress.step(step, config.steps, f"{step.stage}: loss {average:.3f}")
    used = {
        "data": [folder.resolve().name for folder in (data, maps) if folder],
        "split": {"scans": len(scans), "maps": len(brains_of_maps), "held_out": len(held_out)},
    }
    seen = seen or validate(training.averaged(), held_out, config.seed)
    healthy = calibrate(training.averaged(), held_out, config.seed)
    return _write(config, training.averaged(), out / WEIGHTS, used, seen, healthy)


def needs_twins(config: TrainConfig) -> bool:
    """Whether a loss compares with the scan without its lesions."""
    return any(_TWINS & set(stage.losses) for stage in config.stages)


def build(config: TrainConfig, brains: list[Brain]) -> AnyModel:
    """The model of a training: fresh from its seed, or from ``config.init``."""
    torch.manual_seed(config.seed)
    needed = inference_parts(config.model)
    asked = {name for stage in config.stages for name in stage.trains}
    model = build_model(config.model, [*needed, *sorted(asked - set(needed))])
    if isinstance(model, DAL) and "evidence" in model.parts:
        labels = [brain.structures[0, 0].long() // 256 for brain in brains]
        atlas = average_tissue(labels, len(model.config.tissues))
        model.part("evidence").get_buffer("atlas").copy_(atlas)
    if config.init:
        _take_over(model, load_model(config.init), config.init)
    return model


def _take_over(model: AnyModel, earlier: AnyModel, source: str) -> None:
    """Copy the networks that both have; the others stay fresh, and the atlas is of these brains."""
    if model.config.kind != earlier.config.kind:
        raise InputError(
            Code.WEIGHTS_MISMATCH, f"{source} holds another kind of model, {earlier.config.kind}"
        )
    common = [name for name in model.parts if name in earlier.parts and name != "evidence"]
    for name in common:
        own, state = model.part(name), earlier.part(name).state_dict()
        try:
            if name == "tissue" and _sees_more(model, earlier):
                state = widened(state, own.state_dict())
            own.load_state_dict(state)
        except RuntimeError:
            raise InputError(
                Code.WEIGHTS_MISMATCH,
                f"the network {name!r} of {source} has other sizes than [model]",
            ) from None
    if not common:
        raise InputError(Code.WEIGHTS_MISMATCH, f"{source} has none of the networks of [model]")


def _sees_more(model: AnyModel, earlier: AnyModel) -> bool:
    """Whether E_A has other inputs than before."""
    if not isinstance(model, DAL) or not isinstance(earlier, DAL):
        return False
    return model.config.tissue_input != earlier.config.tissue_input


def _write(
    config: TrainConfig,
    model: AnyModel,
    path: Path,
    used: dict[str, Any],
    seen: Validation,
    healthy: Calibration,
) -> Path:
    card = {
        **used,
        "seed": config.seed,
        "recipe": config.model_dump(mode="json", exclude={"model"}),
        "steps": config.steps,
        "metrics": {k: round(v, 4) for k, v in seen.numbers.items() if math.isfinite(v)},
        "healthy": healthy.model_dump(mode="json"),
        "torch": torch.__version__,
        "use": "research use, not a medical device",
    }
    save_weights(path, model, card, parts=inference_parts(config.model))
    return path
