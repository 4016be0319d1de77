"""How well brains are found: synthetic heads of held-out maps, and real heads with a mask.

    python -m benchmarks.brain_extraction --maps label-maps/ [--each 50] [--weights FILE]
    python -m benchmarks.brain_extraction --heads pairs.csv

``pairs.csv`` has the columns ``head`` and ``mask``, paths of NIfTI files on one grid. A brain is
the largest piece of what lies inside, with its holes filled. Dice, and the 95 % Hausdorff distance
in mm of both surfaces together; on synthetic heads within the field of view.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy import ndimage

from dal_fast.imaging.head_grid import place_head
from dal_fast.imaging.nifti import read_volume
from dal_fast.models import BrainNet, load_brain_net
from dal_fast.synthesis.head_maps import head_maps, load_heads
from dal_fast.training.extraction import head_of, split_heads

FIRST_SEED = 10_000
"""Of synthetic heads: no training has drawn these."""


@dataclass(frozen=True)
class Case:
    """One head; volumes in mL."""

    name: str
    dice: float
    hausdorff95_mm: float
    found_ml: float
    true_ml: float


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.brain_extraction", description=__doc__
    )
    parser.add_argument("--maps", type=Path, help="folder of label maps of whole heads")
    parser.add_argument("--each", type=int, default=50, help="synthetic heads of every map")
    parser.add_argument("--heads", type=Path, help="table of real heads and masks")
    parser.add_argument("--weights", default="brain", help="of the network")
    options = parser.parse_args(arguments)
    model, console = load_brain_net(options.weights), Console(width=100)
    if options.maps:
        cases = list(synthetic(model, options.maps, options.each))
        report(f"{len(cases)} synthetic heads", cases, console)
        for case in sorted(cases, key=lambda case: case.dice)[:8]:
            console.print(f"  {case.name}: {case.dice:.3f}", highlight=False)
    if options.heads:
        cases = list(real(model, options.heads))
        report(f"{len(cases)} real heads", cases, console)
        for case in cases:
            console.print(
                f"  {case.name}: {case.dice:.4f}, {case.hausdorff95_mm:.1f} mm, "
                f"{case.found_ml:.0f} of {case.true_ml:.0f} mL",
                highlight=False,
            )
    return 0


def synthetic(model: BrainNet, folder: Path, each: int) -> Iterator[Case]:
    """Heads of held-out maps, drawn as in training."""
    _, held_out = split_heads(load_heads(head_maps(folder)))
    voxel = (model.config.voxel_mm,) * 3
    for number in track(range(each * len(held_out)), "synthetic heads", transient=True):
        head = held_out[number % len(held_out)]
        sample = head_of(model.config, head, FIRST_SEED + number)
        with torch.inference_mode():
            found = model(sample.image)
        covered = sample.covered[0, 0].numpy()
        true = (sample.distance[0, 0].numpy() > 0) & covered
        ours = brain_of(np.where(covered, found[0, 0].numpy(), -model.config.reach_mm))
        yield compare(f"{head.name} {FIRST_SEED + number}", ours, true, voxel)


def real(model: BrainNet, table: Path) -> Iterator[Case]:
    """Heads of a table of pairs."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in track(rows, "real heads", transient=True):
        volume, mask = read_volume(row["head"]), read_volume(row["mask"])
        x, grid = place_head(volume, model.config.voxel_mm, model.config.shape)
        with torch.inference_mode():
            found = grid.to_scan(model(x))
        yield compare(Path(row["head"]).name, brain_of(found), mask.data > 0, volume.voxel_mm)


def brain_of(distance: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The largest piece of what lies inside, its holes filled."""
    pieces, count = ndimage.label(distance > 0)
    if count:
        sizes = np.bincount(pieces.ravel())[1:]
        pieces = pieces == 1 + int(sizes.argmax())
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(pieces)
    return filled


def compare(
    name: str, found: NDArray[np.bool_], true: NDArray[np.bool_], voxel_mm: Sequence[float]
) -> Case:
    """A found brain and the true one, on a grid of these voxels."""
    ml = float(np.prod(voxel_mm)) / 1000
    total = int(found.sum()) + int(true.sum())
    dice = 2 * int((found & true).sum()) / max(1, total)
    return Case(
        name, dice, hausdorff95(found, true, voxel_mm), ml * int(found.sum()), ml * int(true.sum())
    )


def hausdorff95(a: NDArray[np.bool_], b: NDArray[np.bool_], voxel_mm: Sequence[float]) -> float:
    """95 % quantile of the distances of either surface's voxels from the other; NaN for none."""
    if not a.any() or not b.any():
        return float("nan")
    surfaces = [mask & ~ndimage.binary_erosion(mask) for mask in (a, b)]
    away: list[Any] = []
    for one, other in (surfaces, surfaces[::-1]):
        away.append(ndimage.distance_transform_edt(~other, sampling=tuple(voxel_mm))[one])
    return float(np.quantile(np.concatenate(away), 0.95))


def report(title: str, cases: Sequence[Case], console: Console) -> None:
    dice = np.array([case.dice for case in cases])
    far = np.array([case.hausdorff95_mm for case in cases])
    table = Table("", "mean", "median", "worst 5 %", "worst", title=title)
    for name, values, bad in (("Dice", dice, 0.05), ("Hausdorff 95 %, mm", far, 0.95)):
        worst = np.nanmin(values) if bad < 0.5 else np.nanmax(values)
        shown = (np.nanmean(values), np.nanmedian(values), np.nanquantile(values, bad), worst)
        table.add_row(name, *(f"{value:.3f}" for value in shown))
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
