"""What a weight file is worth: synthetic lesions in healthy brains that it was not trained on.

    python -m dal_fast.evaluation.synthetic --data ixi-hh-2mm --weights weights.safetensors

Every held-out brain is shown as a T2w-like, a FLAIR-like (real T1w texture, exchanged tissue means)
and the real T1w contrast, healthy and with lesions, degraded as in training. Printed are the tissue
Dice, the average precision of every score next to that of the plain intensity, and the value that
one healthy voxel in a thousand exceeds, which is what a threshold should be. Painted lesions are
easier, or at least other, than real ones: the numbers compare weights, they do not promise.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, median
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from dal_fast.data.atomic import write_bytes
from dal_fast.data.synthesis import CONTRASTS, TISSUES, Recipe, Sample, Synthesiser
from dal_fast.errors import InputError
from dal_fast.inference.postprocess import smooth
from dal_fast.inference.scoring import SCORES, anomaly_score, contrast_of
from dal_fast.models import DAL, load_weights
from dal_fast.ops import VoxelMetrics
from dal_fast.training.dataset import Brain, fit_to_stride, load_bids
from dal_fast.training.losses import tissue_dice

HEALTHY_RATE = 0.001  # of a healthy brain's voxels lie above the threshold
Summary = dict[str, dict[str, float]]
NAMES = tuple(name for name in SCORES if name != "auto")


@dataclass
class Findings:
    """Of one contrast; every list has an entry a brain."""

    dice: list[Tensor] = field(default_factory=list)  # (3,), with lesions
    taken_for: list[str] = field(default_factory=list)  # the contrast it looks like
    precision: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    healthy: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def summary(self) -> Summary:
        """Numbers of brains; means over them, medians of the healthy values."""
        seen = {f"taken for {name}": self.taken_for.count(name) for name in set(self.taken_for)}
        return {
            "brains": {"with lesions": len(self.dice), **dict(sorted(seen.items()))},
            "dice": dict(zip(TISSUES, torch.stack(self.dice).mean(0).tolist(), strict=True)),
            "average_precision": {name: fmean(v) for name, v in self.precision.items()},
            "healthy_value": {name: median(v) for name, v in self.healthy.items()},
        }


def assess(model: DAL, brains: list[Brain], contrast: str, size: int, seed: int) -> Findings:
    """Screen each brain healthy and with lesions.

    Args:
        model: with trained parts.
        brains: with a scan; their grid is the model's.
        contrast: one of ``CONTRASTS`` but ``"random"``.
        size: of the median filter, 0, 3 or 5 voxels.
        seed: of degradations and lesions.
    """
    shares = tuple(float(name == contrast) for name in CONTRASTS)
    recipe = replace(Recipe(), contrasts=shares)  # type: ignore[arg-type]
    findings = Findings()
    for number, brain in enumerate(track(brains, contrast, transient=True)):
        for lesions in (1.0, 0.0):
            generator = torch.Generator().manual_seed(seed + number)
            sample = _sample(Synthesiser(generator, replace(recipe, lesions=lesions)), brain, model)
            _screen(model, sample, contrast, size, findings)
    return findings


def _sample(synthesiser: Synthesiser, brain: Brain, model: DAL) -> Sample:
    assert brain.scan is not None
    scan = fit_to_stride(brain.scan, model.stride).float() / 255
    structures = fit_to_stride(brain.structures, model.stride)
    real = synthesiser.recipe.contrasts[CONTRASTS.index("T1w")] == 1
    make = synthesiser.keep if real else synthesiser.remap
    return make(scan, structures)


def _screen(model: DAL, sample: Sample, contrast: str, size: int, findings: Findings) -> None:
    """One volume's numbers into ``findings``."""
    x, mask, lesion = sample.image, sample.mask, sample.lesion
    with torch.inference_mode():
        output = model(x, mask)
    p, phi = output.probabilities, output.pseudo_healthy
    view = mask & (x > 0)
    maps = {name: anomaly_score(x, phi, p, view, name) for name in NAMES}
    maps["intensity"] = (1 - x if contrast == "T1w" else x) * view
    if lesion.any():
        findings.dice.append(tissue_dice(output.tissue_logits, sample.tissue, mask).mean(0))
        findings.taken_for.append(contrast_of(x, p, view))
    for name, raw in maps.items():
        score = smooth(raw, view, size)
        if lesion.any():
            metrics = VoxelMetrics()
            metrics.update(score, lesion, mask)
            findings.precision[name].append(metrics.average_precision())
        else:
            inside = score[mask]
            rank = round((1 - HEALTHY_RATE) * inside.numel())
            findings.healthy[name].append(inside.kthvalue(rank).values.item())


def main(
    data: Annotated[Path, typer.Option(help="BIDS derivative at 2 mm: brain T1w, dseg, dseg.tsv.")],
    weights: Annotated[str, typer.Option(help="Weight file, or 'default'.")] = "default",
    size: Annotated[int, typer.Option("--median", help="Median filter: 0, 3 or 5 voxels.")] = 3,
    seed: Annotated[int, typer.Option(help="Of degradations and lesions.")] = 0,
    at_most: Annotated[int | None, typer.Option(help="Subjects.")] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the numbers, as JSON.")] = None,
) -> None:
    """Tissue Dice, average precision and healthy quantiles of a weight file."""
    model = load_weights(weights).eval()
    brains = load_bids(data, held_out=True, at_most=at_most)
    results = {}
    for contrast in ("T2w", "FLAIR", "T1w"):
        results[contrast] = assess(model, brains, contrast, size, seed).summary()
    for title, key in (
        ("number of brains, and what their contrast was taken for", "brains"),
        ("tissue Dice, with lesions", "dice"),
        ("average precision of synthetic lesions, mean over brains", "average_precision"),
        ("value that 0.1 % of a healthy brain exceeds, median over brains", "healthy_value"),
    ):
        Console().print(_table(title, {name: result[key] for name, result in results.items()}))
    if out:
        write_bytes(out, json.dumps(results, indent=2).encode() + b"\n")


def _table(title: str, rows: Summary) -> Table:
    """Contrasts across, since there are more scores than fit a line."""
    table = Table("", *rows, title=title)
    for name in dict.fromkeys(name for row in rows.values() for name in row):
        cells = [row.get(name, 0) for row in rows.values()]
        table.add_row(name, *(f"{c:.3f}" if isinstance(c, float) else str(c) for c in cells))
    return table


if __name__ == "__main__":
    try:
        typer.run(main)
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
