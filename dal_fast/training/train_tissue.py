"""Train the tissue network E_A on synthetic contrasts and lesions.

    python -m dal_fast.training.train_tissue --data ixi-hh-2mm --maps synthseg-maps-1mm \\
        --out weights.safetensors --minutes 30 --seed 0

Four samples in ten are painted from label maps, four are real T1w scans with exchanged contrast,
two are real scans as they are. Easy samples come first: clear contrasts without lesions, and more
untouched scans; the full recipe is reached half-way, or from the start with ``--init``. Two whole
brains a step, never crops: the statistics of instance normalisation must be those of inference (a
network trained on crops loses a quarter of its Dice on whole brains). AdamW at 3e-3 (half of that
with ``--init``) with a cosine to zero over ``--steps`` or ``--minutes``, whichever ends first.
Weights are written atomically every 200 steps.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Generator

from dal_fast.data.normalise import normalise
from dal_fast.data.synthesis import Recipe, Sample, Synthesiser
from dal_fast.errors import InputError
from dal_fast.models import DAL, DALConfig, load_weights, read_card, save_weights
from dal_fast.training.dataset import Brain, fit, fit_to_stride, load_bids, load_maps
from dal_fast.training.losses import tissue_dice, tissue_loss

RATE = 3e-3
WEIGHT_DECAY = 1e-4
EASY, HARD = 0.08, 0.5  # the training is easy before, of full hardness after
PAINTED = 0.4
UNTOUCHED_EASY, UNTOUCHED = 0.4, 0.2
MAPS = 0.4  # of the painted samples come from maps without a scan, where there are any
BRAINS = 2  # a step: 1.3 times the brains a minute of one, on two cores
CHECKPOINT_STEPS = 200


class Samples:
    """Endless training samples; the same seed and brains give the same sequence."""

    def __init__(self, scans: list[Brain], maps: list[Brain], seed: int, stride: int) -> None:
        self.scans, self.maps, self.stride = scans, maps, stride
        self.random = random.Random(seed)
        self.recipe = Recipe()
        self.synthesiser = Synthesiser(Generator().manual_seed(seed))

    def draw(self, hardness: float) -> Sample:
        """``BRAINS`` brains; sides are multiples of the network's stride.

        Args:
            hardness: 0 to 1, see :meth:`dal_fast.data.synthesis.Recipe.eased`.
        """
        self.synthesiser.recipe = self.recipe.eased(hardness)
        untouched = UNTOUCHED_EASY + hardness * (UNTOUCHED - UNTOUCHED_EASY)
        ways = [self.random.random() for _ in range(BRAINS)]
        brains = [
            self.random.choice(self.maps if way < PAINTED * MAPS and self.maps else self.scans)
            for way in ways
        ]
        space = self._common_space(brains)
        made = [self._make(*pair, space, untouched) for pair in zip(ways, brains, strict=True)]
        return Sample(*(torch.cat(parts) for parts in zip(*map(_volumes, made), strict=True)))

    def _common_space(self, brains: list[Brain]) -> tuple[int, ...]:
        """Multiples of the stride that hold the brains, or all but some of their margin."""
        sides = [max(b.structures.shape[axis] for b in brains) for axis in (2, 3, 4)]
        cut = self.random.randint(0, 4)
        return tuple(self.stride * round((side - cut) / self.stride) for side in sides)

    def _make(self, way: float, brain: Brain, space: tuple[int, ...], untouched: float) -> Sample:
        structures = fit(brain.structures, space)
        if way < PAINTED or brain.scan is None:
            return self.synthesiser.paint(structures)
        scan = fit(brain.scan, space).float() / 255
        if way < 1 - untouched:
            return self.synthesiser.remap(scan, structures)
        return self.synthesiser.keep(scan, structures)


def _volumes(sample: Sample) -> tuple[torch.Tensor, ...]:
    return sample.image, sample.tissue, sample.mask, sample.lesion


def train(
    model: DAL, samples: Samples, steps: int, minutes: float, resumed: bool = False
) -> Iterator[tuple[int, float, float]]:
    """Optimise ``model.tissue``; yields (step, fraction done, loss) after every step.

    Args:
        model: with the part ``tissue``.
        samples: to learn from.
        steps, minutes: the end, whichever comes first.
        resumed: the network has been trained before: half the rate, the full recipe at once.
    """
    net = model.part("tissue").train()
    net.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
    rate = RATE / 2 if resumed else RATE
    start, done, step = time.monotonic(), 0.0, 0
    while done < 1:
        warm_up = min(1.0, (step + 1) / 20)
        for group in optimiser.param_groups:
            group["lr"] = rate * warm_up * 0.5 * (1 + math.cos(math.pi * done))
        hardness = 1.0 if resumed else min(max((done - EASY) / (HARD - EASY), 0.0), 1.0)
        sample = samples.draw(hardness)
        image = sample.image.contiguous(memory_format=torch.channels_last_3d)
        loss = tissue_loss(model.tissue_logits(image), sample.tissue, sample.mask, sample.lesion)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        step += 1
        done = max(step / steps, (time.monotonic() - start) / (60 * minutes))
        yield step, min(done, 1.0), loss.item()


def evaluate(model: DAL, brains: list[Brain], seed: int) -> dict[str, float]:
    """Mean tissue Dice of held-out brains: real T1w scans, and painted contrasts with lesions."""
    stride = model.stride
    synthesiser = Synthesiser(Generator().manual_seed(seed))
    scores: dict[str, list[float]] = {"real_T1w": [], "painted": []}
    model.eval()
    with torch.inference_mode():
        for brain in brains:
            structures = fit_to_stride(brain.structures, stride)
            trials = {"painted": synthesiser.paint(structures)}
            if brain.scan is not None:
                trials["real_T1w"] = Sample(
                    normalise(fit_to_stride(brain.scan, stride).float(), structures > 0)[0],
                    (structures[:, 0].long() // 256 - 1).clamp_min(0),
                    structures > 0,
                    torch.zeros_like(structures, dtype=torch.bool),
                )
            for name, sample in trials.items():
                dice = tissue_dice(model.tissue_logits(sample.image), sample.tissue, sample.mask)
                scores[name].append(dice.mean().item())
    model.train()
    return {name: sum(values) / len(values) for name, values in scores.items() if values}


def main(
    data: Annotated[Path, typer.Option(help="BIDS derivative at 2 mm: brain T1w, dseg, dseg.tsv.")],
    out: Annotated[Path, typer.Option(help="Weight file to write (.safetensors).")],
    maps: Annotated[Path | None, typer.Option(help="Folder of FreeSurfer label maps.")] = None,
    minutes: Annotated[float, typer.Option(help="Wall-clock budget.")] = 30.0,
    steps: Annotated[int, typer.Option(help="Steps at the most.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Of weights and samples.")] = 0,
    init: Annotated[Path | None, typer.Option(help="Weight file to start from.")] = None,
) -> None:
    """Train E_A and write its weights, ready for the closed-form recoupler."""
    torch.manual_seed(seed)
    model = load_weights(init) if init else DAL(DALConfig())
    earlier = read_card(init).get("steps", 0) if init else 0
    scans = load_bids(data, held_out=False)
    samples = Samples(scans, load_maps(maps, False) if maps else [], seed, model.stride)
    held_out = load_bids(data, held_out=True)
    average = 1.0
    columns = ("{task.description}", BarColumn(), "{task.percentage:.0f}%", TimeRemainingColumn())
    with Progress(*[c if not isinstance(c, str) else TextColumn(c) for c in columns]) as progress:
        bar = progress.add_task("step 0", total=1.0)
        for step, done, loss in train(model, samples, steps, minutes, init is not None):
            average += (loss - average) * max(0.02, 1 / step)
            progress.update(bar, completed=done, description=f"step {step}, loss {average:.3f}")
            if step % CHECKPOINT_STEPS == 0 or done >= 1:
                brains = held_out if done >= 1 else held_out[:3]
                score = evaluate(model, brains, seed)
                dice = ", ".join(f"{name} {value:.3f}" for name, value in score.items())
                progress.console.print(
                    f"step {step}: loss {average:.3f}, held-out Dice {dice} (n={len(brains)})"
                )
                card = {
                    "data": [path.name for path in (data, maps) if path is not None],
                    "seed": seed,
                    "steps": earlier + step,
                    "split": {
                        "scans": len(scans),
                        "maps": len(samples.maps),
                        "held_out": len(held_out),
                    },
                    "metrics": {f"dice_{name}": round(value, 4) for name, value in score.items()},
                    "use": "research use, not a medical device",
                }
                save_weights(out, model, card, parts=("tissue",))


if __name__ == "__main__":
    try:
        typer.run(main)
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
