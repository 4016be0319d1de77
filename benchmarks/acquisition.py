"""What acquisition does to maps: the same scan under bias fields and with thick slices.

    python -m benchmarks.acquisition --data derivative/ [--weights default] [--brains 4] [--skip 0]

Held-out healthy brains, T1w real, T2w- and FLAIR-like made from it, with and without a lesion of
the contrast's usual sign (10 to 40 mL), screened as they are and once more for every condition.
Anatomy, lesion and noise of all conditions are the same, so that differences are the condition's:
average precision of the default score, and the share of healthy voxels above the threshold. Decoys
(:mod:`dal_fast.synthesis.decoys`) are measured in the scans as they are: an AUROC of 0.5 says that
they score like the rest of the brain.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Generator, Tensor

from dal_fast.evaluation.agreement import SHOWN, placed, seed_of, shown_as
from dal_fast.models import AnyModel, load_screening_model, read_card
from dal_fast.ops import VoxelMetrics
from dal_fast.screening.calibration import BRIGHT, USUAL, Calibration
from dal_fast.screening.model_output import ModelOutput
from dal_fast.synthesis import fields
from dal_fast.synthesis.acquisition import Blur
from dal_fast.synthesis.brains import Brain, bids_sources, load_brains
from dal_fast.synthesis.decoys import AddDecoys
from dal_fast.synthesis.sample import Draft, Sample, Step
from dal_fast.synthesis.shifted import AddShiftedLesions, CoilField, RicianNoise, ShiftedRecipe

AS_IS = "as it is"
SLICE_MM, VOXEL_MM = 5.5, 2.0
LESION_ML = (10.0, 40.0)
_LOG_WIDTH = 140


@dataclass(frozen=True)
class Condition:
    """How a scan is acquired.

    Attributes:
        log_sd: standard deviation of the bias field's logarithm.
        axis: that slices of ``SLICE_MM`` are stacked along, of right, anterior, superior.
    """

    log_sd: float = 0.0
    axis: int | None = None


CONDITIONS = {
    AS_IS: Condition(),
    "field .2": Condition(0.2),
    "field .4": Condition(0.4),
    "slices right": Condition(axis=0),
    "slices anterior": Condition(axis=1),
    "slices superior": Condition(axis=2),
}


@dataclass(frozen=True)
class Slices:
    """Slices of ``SLICE_MM`` along one axis, interpolated back; none without an axis."""

    axis: int | None

    def __call__(self, draft: Draft, generator: Generator) -> None:
        if self.axis is None:
            return
        thickness = [SLICE_MM / VOXEL_MM if a == self.axis else 1.0 for a in range(3)]
        sides = draft.images.shape[2:]
        pairs = zip(sides, thickness, strict=True)
        slices = [fields.slice_matrix(side, torch.tensor([thick])) for side, thick in pairs]
        draft.images = fields.apply_separable(draft.images, slices)


@dataclass(frozen=True)
class Acquired(ShiftedRecipe):
    """The second generator under one condition; no step but lesions and decoys draws by it."""

    condition: Condition = CONDITIONS[AS_IS]

    def scan_steps(self) -> list[Step]:
        """The steps that change the image, in their order."""
        field = self.condition.log_sd
        return [
            AddDecoys(self.decoys),
            AddShiftedLesions(self.lesions, self.volume, self.most, self.bright),
            Blur((0.3, 0.3)),
            Slices(self.condition.axis),
            CoilField((field, field)),
            RicianNoise((0.02, 0.02)),
        ]


@dataclass(frozen=True)
class Row:
    """One brain in one contrast under one condition.

    Attributes:
        precision: average precision for the lesion; NaN where none was drawn.
        above: share of the healthy brain above the threshold, in percent.
    """

    precision: float
    above: float


def measure(
    model: AnyModel, calibration: Calibration, brain: Brain, contrast: str, seed: int
) -> tuple[dict[str, Row], float]:
    """Every condition, and the AUROC of decoys, NaN where there were none."""
    plain = Acquired(volume=LESION_ML, bright=float(USUAL[contrast] == BRIGHT), mask_error=0.0)
    structures, scans = placed(brain, model)
    key = seed_of(f"{brain.name}/{contrast}/acquisition", seed)

    def map_of(recipe: Acquired) -> tuple[Sample, Tensor, Tensor]:
        generator = Generator(structures.device).manual_seed(key)
        sample = shown_as(contrast, structures, scans, generator, recipe, "remap")
        out, view = screened(sample, model)
        return sample, out.anomaly_map(calibration, contrast=contrast).data, view

    rows = {}
    for name, condition in CONDITIONS.items():
        sample, data, view = map_of(replace(plain, decoys=0.0, condition=condition))
        found = voxel_metrics(data, sample.lesion, view)
        _, healthy, view = map_of(replace(plain, decoys=0.0, lesions=0.0, condition=condition))
        above = 100 * float((healthy[view] >= 1).float().mean())
        precision = found.average_precision() if bool(sample.lesion.any()) else math.nan
        rows[name] = Row(precision, above)
    sample, data, view = map_of(replace(plain, decoys=0.5, lesions=0.0))
    assert sample.decoy is not None  # every synthesis tells where its decoys are
    decoys = sample.decoy & view
    return rows, voxel_metrics(data, decoys, view).auroc() if bool(decoys.any()) else math.nan


def screened(sample: Sample, model: AnyModel) -> tuple[ModelOutput, Tensor]:
    """What a model predicts for a sample, and where it is evaluated."""
    view = sample.mask & (sample.image > 0)
    with torch.inference_mode():
        return ModelOutput.of(sample.image, view, model(sample.image, sample.mask), model), view


def voxel_metrics(data: Tensor, marked: Tensor, view: Tensor) -> VoxelMetrics:
    """Of a map, with the voxels that it should mark."""
    metrics = VoxelMetrics()
    metrics.update(data.contiguous(), marked & view, view)
    return metrics


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.acquisition", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="as for dal-fast train")
    parser.add_argument("--weights", default="default")
    parser.add_argument("--brains", type=int, default=4, help="held-out ones")
    parser.add_argument("--skip", type=int, default=0, help="leave out this many of them first")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    model = load_screening_model(options.weights)
    calibration = Calibration.model_validate(read_card(options.weights).get("healthy", {}))
    sources = bids_sources(options.data, held_out=True)[options.skip :][: options.brains]
    brains = load_brains(sources, model.config.voxel_mm)
    rows: dict[tuple[str, str], list[Row]] = defaultdict(list)
    decoys: dict[str, list[float]] = defaultdict(list)
    for brain in track(brains, "screening"):
        for contrast in SHOWN:
            found, auroc = measure(model, calibration, brain, contrast, options.seed)
            decoys[contrast].append(auroc)
            for name, row in found.items():
                rows[contrast, name].append(row)
    console = Console(width=None if sys.stdout.isatty() else _LOG_WIDTH)
    console.print(table(rows, decoys))
    return 0


def table(rows: dict[tuple[str, str], list[Row]], decoys: dict[str, list[float]]) -> Table:
    """Means, and paired differences to the scan as it is with their standard deviation."""
    shown = Table(title=f"the same scan, acquired otherwise; slices of {SLICE_MM} mm")
    for head in ("", "n", "AP", "difference", "healthy above, %", "difference", "decoys' AUROC"):
        shown.add_column(head, justify="right" if head else "left")
    for (contrast, name), found in rows.items():
        first = rows[contrast, AS_IS]
        pairs = list(zip(found, first, strict=True))
        cells = [f"{contrast} {name}", str(len(found))]
        for of in ("precision", "above"):
            values = [getattr(row, of) for row in found]
            differences = [getattr(row, of) - getattr(before, of) for row, before in pairs]
            cells += [_mean(values), "" if name == AS_IS else _mean(differences, spread=True)]
        shown.add_row(*cells, _mean(decoys[contrast]) if name == AS_IS else "")
    return shown


def _mean(values: Sequence[float], spread: bool = False) -> str:
    """Of those that are numbers, with their standard deviation if there are several."""
    numbers = list(_numbers(values))
    if not numbers:
        return "-"
    if not spread:
        return f"{fmean(numbers):.3f}"
    return f"{fmean(numbers):+.3f}" + (f" ({stdev(numbers):.3f})" if len(numbers) > 1 else "")


def _numbers(values: Sequence[float]) -> Iterator[float]:
    return (value for value in values if not math.isnan(value))


if __name__ == "__main__":
    sys.exit(main())
