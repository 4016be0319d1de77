"""Train on a GPU for a given time, from a pack of brains, with the package's own trainer.

    python -m benchmarks.gpu_train --pack .carry/brains.zip --out FOLDER --seconds 400
        [--recipe default] [--from WEIGHTS] [--widths 16 32 96 192] [--brains 1] [--device cpu]

Brains and synthesis are on the device; several threads make the samples of the steps ahead, each on
a stream of its own, since drawing a sample waits for the device many times. A sample is a function
of its step alone, so the threads change nothing about what is learned. On a GPU the networks run in
bfloat16 and everything else in float32.

The first steps of each stage are timed and thrown away: from their paces follows how many steps of
the recipe fit, so that every stage gets its share of the steps, and the learning rate and the
samples' difficulty run through the whole schedule. Every minute, and at the end, the averaged
weights are written to ``weights.safetensors``. They hold no thresholds yet:
:mod:`benchmarks.gpu_finish` adds them, where time costs less. Networks that serve training only go
to ``trained.safetensors`` with all others: ``--from`` takes either file, and starts from it.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from benchmarks import gpu_pack
from dal_fast.models import AnyModel, inference_parts, save_weights
from dal_fast.ops._dispatch import resolve
from dal_fast.synthesis.brains import Brain, is_held_out
from dal_fast.training.ahead import THREADS, Ahead
from dal_fast.training.config import LOSS_NAMES, TrainConfig, read_config
from dal_fast.training.loop import Step, Training
from dal_fast.training.samples import Samples
from dal_fast.training.train import build, make_fabric, needs_twins

TRIAL = (10, 16)  # steps of each stage: to warm up, and to time
SAFETY = 0.97  # of the time that the steps are planned for
EVERY = 60.0  # seconds from one writing of the weights to the next
LINE_EVERY = 50  # steps


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    end = time.monotonic() + options.seconds
    brains = [one for one in gpu_pack.read(options.pack) if not is_held_out(one.name)]
    config = _config(options)
    fabric = make_fabric(options.device, 1, config)
    brains = [_moved(one, fabric.device) for one in brains]
    kernels = resolve("auto", brains[0].structures)
    print(
        f"{len(brains)} brains to learn from, on {fabric.device}, {config.precision}, "
        f"kernels: {kernels}",
        flush=True,
    )
    options.out.mkdir(parents=True, exist_ok=True)
    paces = []
    for number in range(len(config.stages)):
        with tempfile.TemporaryDirectory() as folder:
            paces.append(_pace(config, number, brains, fabric, Path(folder), options))
    config = _lasting(config, paces, SAFETY * (end - time.monotonic()))
    for stage, pace in zip(config.stages, paces, strict=True):
        print(f"{stage.name}: {pace:.2f} steps/s, {stage.steps} steps", flush=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        Run(config, brains, fabric, Path(folder), options) as run,
        Log(options.log or options.out / "log.csv", config) as log,
    ):
        written = time.monotonic()
        for step in run.training.steps():
            log.add(step)
            if time.monotonic() > end:
                print("the time is up", flush=True)
                break
            if time.monotonic() > written + EVERY:
                written = time.monotonic()
                _write(options.out, run.training, config)
        _write(options.out, run.training, config)
    if torch.cuda.is_available():
        print(f"peak {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB", flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_train", description=__doc__)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--log", type=Path, help="a line a step; default OUT/log.csv")
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--from", dest="init", help="weights to start from; default the recipe's")
    parser.add_argument("--widths", type=int, nargs="+", help="of E_A, finest first")
    parser.add_argument("--brains", type=int, help="of a step; default the recipe's")
    parser.add_argument("--producers", type=int, default=THREADS, help="threads that make samples")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    return parser


def _config(options: argparse.Namespace) -> TrainConfig:
    config = read_config(options.recipe)
    if options.widths:
        model = config.model.model_copy(update={"tissue_widths": tuple(options.widths)})
        config = config.model_copy(update={"model": model})
    if options.brains:
        samples = config.samples.model_copy(update={"brains": options.brains})
        config = config.model_copy(update={"samples": samples})
    if options.init:
        config = config.model_copy(update={"init": options.init})
    precision = "bf16-mixed" if options.device == "cuda" else "32-true"
    return config.model_copy(update={"precision": precision})


def _moved(one: Brain, device: torch.device) -> Brain:
    scans = {contrast: scan.to(device) for contrast, scan in one.scans.items()}
    return replace(one, structures=one.structures.to(device), scans=scans)


def _pace(
    config: TrainConfig,
    number: int,
    brains: list[Brain],
    fabric: Any,
    folder: Path,
    options: argparse.Namespace,
) -> float:
    """Steps a second of one stage at full difficulty, of a training that is thrown away."""
    warm, timed = (2, 3) if options.device == "cpu" else TRIAL
    steps = [1] * len(config.stages)
    steps[number] = warm + timed + 1
    first = number + warm  # a step of each stage before it
    with Run(_with_steps(config, steps, easy_until=0.0, hard_from=0.0), brains, fabric, folder,
             options) as run:  # fmt: skip
        for step in run.training.steps():
            if step.number == first:
                start = time.monotonic()
            if step.number == first + timed:
                return timed / (time.monotonic() - start)
    raise AssertionError("a stage has more steps than that")


def _with_steps(config: TrainConfig, steps: Sequence[int], **others: float) -> TrainConfig:
    pairs = zip(config.stages, steps, strict=True)
    stages = tuple(stage.model_copy(update={"steps": number, **others}) for stage, number in pairs)
    return config.model_copy(update={"stages": stages})


def _lasting(config: TrainConfig, paces: Sequence[float], seconds: float) -> TrainConfig:
    """The recipe for so many seconds, its steps shared among its stages as before; the trainer's
    own checkpoints, which nobody reads here, at their ends only."""
    whole = sum(stage.steps / pace for stage, pace in zip(config.stages, paces, strict=True))
    shares = [max(1, round(stage.steps * seconds / whole)) for stage in config.stages]
    return _with_steps(config, shares).model_copy(update={"checkpoint_every": sum(shares)})


class Run:
    """A training whose samples are made ahead."""

    def __init__(
        self,
        config: TrainConfig,
        brains: list[Brain],
        fabric: Any,
        folder: Path,
        options: argparse.Namespace,
    ) -> None:
        host = [replace(one, structures=one.structures.cpu()) for one in brains]
        model = build(config, host)
        scans, maps = ([one for one in brains if bool(one.scans) == has] for has in (True, False))
        samples = Samples(
            scans, maps, config.samples, config.seed, model.space_for, needs_twins(config)
        )
        self._ahead = Ahead(samples, config, options.producers)
        self.training = Training(config, model, self._ahead, fabric, folder)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self._ahead.close()


class Log:
    """``log.csv``, a line a step, and now and then a line to read."""

    def __init__(self, path: Path, config: TrainConfig) -> None:
        self._file = path.open("w", newline="")
        names = ("step", "stage", "rate", "seconds", "waited", "total")
        self._names = (*names, *LOSS_NAMES[config.model.kind])
        self._writer = csv.DictWriter(self._file, self._names, lineterminator="\n")
        self._writer.writeheader()
        self._steps, self._recent = config.steps, []

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, step: Step) -> None:
        row = {"step": step.number, "stage": step.stage, "rate": f"{step.rate:.3g}"}
        row |= {"seconds": f"{step.seconds:.4f}", "waited": f"{step.synthesis:.4f}"}
        self._writer.writerow(row | {name: f"{v:.5f}" for name, v in step.losses.items()})
        self._recent.append(step)
        if len(self._recent) == LINE_EVERY or step.number == self._steps:
            seconds, waited, loss = (
                fmean(values)
                for values in zip(
                    *((s.seconds, s.synthesis, s.losses["total"]) for s in self._recent),
                    strict=True,
                )
            )
            print(
                f"step {step.number} of {self._steps}: loss {loss:.4f}, {1e3 * seconds:.1f} ms a "
                f"step, {1e3 * waited:.1f} of them waiting for samples",
                flush=True,
            )
            self._file.flush()
            self._recent = []


def _write(folder: Path, training: Training, config: TrainConfig) -> None:
    """The averaged weights so far."""
    model: AnyModel = training.averaged()
    card = {
        "seed": config.seed,
        "recipe": config.model_dump(mode="json", exclude={"model"}),
        "steps": training.done,
        "torch": torch.__version__,
        "use": "research use, not a medical device",
    }
    needed = inference_parts(config.model)
    save_weights(folder / "weights.safetensors", model, card, parts=needed)
    if set(model.parts) > set(needed):
        save_weights(folder / "trained.safetensors", model, card, parts=model.parts)


if __name__ == "__main__":
    sys.exit(main())
