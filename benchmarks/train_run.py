"""Training speed: volumes a second, where the time goes, and our loss against MONAI's.

    python -m benchmarks.train_run --maps label-maps/ [--recipe default] [--voxel-mm 2 1]

Whole steps (synthesis, forward, backward, optimiser) of the last stage of a recipe on brains that
are made from label maps. The contenders differ in ``L1 + (1 - SSIM) / 2`` alone: our fused loss, or
the same written with MONAI's SSIM. They take turns, step by step, in one process.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from unittest import mock

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from dal_fast.memory import keep_freed_memory
from dal_fast.synthesis.brains import Brain, load_brains, map_sources
from dal_fast.training import losses
from dal_fast.training.config import TrainConfig, read_config
from dal_fast.training.objective import Objective, make_objective
from dal_fast.training.samples import Samples
from dal_fast.training.train import build, needs_twins

PHASES = ("synthesis", "forward", "backward", "optimiser")
Loss = Callable[[Tensor, Tensor], Tensor]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_run", description=__doc__)
    parser.add_argument("--maps", type=Path, required=True, help="folder of FreeSurfer label maps")
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--voxel-mm", type=float, nargs="+", default=[2.0, 1.0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--steps", type=int, default=7, help="of each contender, plus a warm-up")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    keep_freed_memory()  # as dal-fast train does
    config, device = read_config(options.recipe), torch.device(options.device)
    table = Table(title=f"recipe {options.recipe}, {device}, {options.threads} threads; seconds")
    head = ("voxel", "SSIM of", "volumes/s", "step", *PHASES, "peak GB")
    for name in head:
        table.add_column(name, justify="right")
    sources = map_sources(options.maps, held_out=False)[:4]
    for mm in options.voxel_mm:
        brains = load_brains(sources, mm)
        for name, times in measure(config, brains, device, options.steps).items():
            volumes = config.samples.brains * config.samples.contrasts
            step = sum(times[phase] for phase in PHASES)
            cells = [f"{times[phase]:.3f}" for phase in PHASES]
            table.add_row(
                f"{mm:g} mm", name, f"{volumes / step:.2f}", f"{step:.3f}", *cells, _peak()
            )
    Console().print(table)
    return 0


def measure(
    config: TrainConfig, brains: list[Brain], device: torch.device, steps: int
) -> dict[str, dict[str, float]]:
    """Median seconds of every phase, by contender."""
    stage = config.stages[-1]
    model = build(config, brains).to(device, memory_format=torch.channels_last_3d)
    for name in model.parts:
        model.part(name).requires_grad_(name in stage.trains)
    samples = Samples([], brains, config.samples, 0, model.space_for, needs_twins(config))
    objective = make_objective(model, stage, config.samples.contrasts)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    contenders: dict[str, Loss | None] = {"dal_fast": None, "MONAI": _monai()}
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    for number in range(steps + 1):
        for name, loss in contenders.items():
            with _loss(loss):
                seen[name].append(_step(samples, objective, optimiser, number, device))
    return {
        name: {phase: median(t[phase] for t in times[1:]) for phase in PHASES}
        for name, times in seen.items()
    }


def _step(
    samples: Samples,
    objective: Objective,
    optimiser: torch.optim.Optimizer,
    number: int,
    device: torch.device,
) -> dict[str, float]:
    marks = [_now(device)]
    sample = samples.batch(number, 1.0, device)
    marks.append(_now(device))
    batch = objective.prepare(sample, samples.step_generator(number, device, 0))
    total = objective.total(objective(batch))
    marks.append(_now(device))
    optimiser.zero_grad(set_to_none=True)
    total.backward()
    marks.append(_now(device))
    optimiser.step()
    marks.append(_now(device))
    return {phase: b - a for phase, a, b in zip(PHASES, marks, marks[1:], strict=False)}


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


@contextlib.contextmanager
def _loss(replacement: Loss | None) -> Iterator[None]:
    if replacement is None:
        yield
        return
    with mock.patch.object(losses, "l1_and_ssim", replacement):
        yield


def _monai() -> Loss:
    """L1 + (1 - SSIM) / 2 by MONAI, Gaussian window 11, as ours."""
    from monai.losses import SSIMLoss

    ssim = SSIMLoss(spatial_dims=3, win_size=11, kernel_sigma=1.5, reduction="none")

    def loss(y: Tensor, x: Tensor) -> Tensor:
        return (y - x).abs().mean((1, 2, 3, 4)) + ssim(y, x).flatten() / 2

    return loss


def _peak() -> str:
    if torch.cuda.is_available():
        return f"{torch.cuda.max_memory_allocated() / 1e9:.1f}"
    import resource

    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f}"


if __name__ == "__main__":
    sys.exit(main())
