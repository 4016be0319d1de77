"""How well brains are found: synthetic heads of held-out maps, and real heads with a mask.

    python -m benchmarks.brain_extraction --maps label-maps/ [--each 50] [--weights FILE]
    python -m benchmarks.brain_extraction --heads pairs.csv

``pairs.csv`` has the columns ``head`` and ``mask``, paths of NIfTI files on one grid. A brain is
what :class:`~dal_fast.BrainExtractor` finds, from a synthetic head as from a file. Dice, and the
95 % Hausdorff distance in mm of both surfaces together; on synthetic heads within the field of
view, and by what was drawn: a head counts for its contrast and for each of its defects.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy import ndimage, stats

from dal_fast import BrainExtractor, InputError
from dal_fast.imaging.nifti import Volume, read_volume
from dal_fast.models.brain_net import BrainNetConfig
from dal_fast.synthesis.head_maps import head_maps, load_heads
from dal_fast.synthesis.heads import HeadSample
from dal_fast.training.extraction import head_of, split_heads

FIRST_SEED = 10_000
"""Of synthetic heads: no training has drawn these."""
POOR, FAILED = 0.94, 0.9
"""Dice below which a mask should have a flag, and below which it must have one."""
_FLAG = "brain-mask-uncertain"


@dataclass(frozen=True)
class Case:
    """One head; volumes in mL. Of one whose mask is refused, there is no more than its name.

    Attributes:
        name: of the head.
        drawn: its map, its contrast, its defects.
        dice, hausdorff95_mm, found_ml, true_ml: of the found brain and the true one.
        confidence: see :class:`dal_fast.imaging.mask_origin.MaskQuality`.
        flags: codes of what is doubtful about the mask.
    """

    name: str
    drawn: tuple[str, ...] = ()
    dice: float = float("nan")
    hausdorff95_mm: float = float("nan")
    found_ml: float = float("nan")
    true_ml: float = float("nan")
    confidence: float = float("nan")
    flags: tuple[str, ...] = ("brain-not-found",)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.brain_extraction", description=__doc__
    )
    parser.add_argument("--maps", type=Path, help="folder of label maps of whole heads")
    parser.add_argument("--each", type=int, default=50, help="synthetic heads of every map")
    parser.add_argument("--heads", type=Path, help="table of real heads and masks")
    parser.add_argument("--weights", default="brain", help="of the network")
    options = parser.parse_args(arguments)
    extractor = BrainExtractor(options.weights, "torch", "cpu")
    console = Console(width=110)
    if options.maps:
        cases = list(synthetic(extractor, options.maps, options.each))
        report(f"{len(cases)} synthetic heads", cases, console)
        report_parts(cases, console)
        report_confidence(cases, console)
        for case in sorted(cases, key=lambda case: case.dice)[:12]:
            console.print(
                f"  {case.name}: {case.dice:.3f}, confidence {case.confidence:.2f}: "
                f"{', '.join(case.drawn)} [{', '.join(case.flags)}]",
                highlight=False, markup=False,
            )  # fmt: skip
    if options.heads:
        cases = list(real(extractor, options.heads))
        report(f"{len(cases)} real heads", cases, console)
        for case in cases:
            console.print(
                f"  {case.name}: {case.dice:.4f}, {case.hausdorff95_mm:.1f} mm, "
                f"{case.found_ml:.0f} of {case.true_ml:.0f} mL, confidence {case.confidence:.2f}",
                highlight=False,
            )
    return 0


def synthetic(extractor: BrainExtractor, folder: Path, each: int) -> Iterator[Case]:
    """Heads of held-out maps, drawn as in training."""
    _, held_out = split_heads(load_heads(head_maps(folder)))
    config = BrainNetConfig()
    for number in track(range(each * len(held_out)), "synthetic heads", transient=True):
        head = held_out[number % len(held_out)]
        sample = head_of(config, head, FIRST_SEED + number)
        volume, true = scan_of(sample, config.voxel_mm)
        name, drawn = f"{head.name} {FIRST_SEED + number}", (head.name, *sample.traits[0])
        yield extracted(extractor, name, volume, true, drawn)


def scan_of(sample: HeadSample, voxel_mm: float) -> tuple[Volume, NDArray[np.bool_]]:
    """A synthetic head as a scan of what its field of view covers; and its brain."""
    sides = [torch.nonzero(sample.covered[0, 0].amax(others)).flatten() for others in
             ((1, 2), (0, 2), (0, 1))]  # fmt: skip
    box = tuple(slice(int(side[0]), int(side[-1]) + 1) for side in sides)
    affine = np.diag([voxel_mm] * 3 + [1.0])
    data = np.asfortranarray(sample.image[0, 0].numpy()[box])
    header = nibabel.Nifti1Image(data, affine).header  # type: ignore[no-untyped-call]
    return Volume(data, affine, header, Path("head.nii"), "", 0), (
        sample.distance[0, 0].numpy()[box] > 0
    )


def real(extractor: BrainExtractor, table: Path) -> Iterator[Case]:
    """Heads of a table of pairs."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in track(rows, "real heads", transient=True):
        mask = read_volume(row["mask"]).data > 0
        yield extracted(extractor, Path(row["head"]).name, read_volume(row["head"]), mask)


def extracted(
    extractor: BrainExtractor,
    name: str,
    volume: Volume,
    true: NDArray[np.bool_],
    drawn: tuple[str, ...] = (),
) -> Case:
    """The brain that is found in a scan beside the true one, on the scan's grid."""
    try:
        found = extractor.extract(volume)
    except InputError:
        return Case(name, drawn)
    assert found.quality is not None
    ml = float(np.prod(volume.voxel_mm)) / 1000
    total = int(found.data.sum()) + int(true.sum())
    return Case(
        name,
        drawn,
        2 * int((found.data & true).sum()) / max(1, total),
        hausdorff95(found.data, true, volume.voxel_mm),
        ml * int(found.data.sum()),
        ml * int(true.sum()),
        found.quality.confidence,
        tuple(note.code for note in found.notes),
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
    found = [case for case in cases if not np.isnan(case.dice)]
    dice = np.array([case.dice for case in found])
    far = np.array([case.hausdorff95_mm for case in found])
    title += f", {len(cases) - len(found)} of them refused"
    table = Table("", "mean", "median", "worst 5 %", "worst", title=title)
    for name, values, bad in (("Dice", dice, 0.05), ("Hausdorff 95 %, mm", far, 0.95)):
        worst = np.nanmin(values) if bad < 0.5 else np.nanmax(values)
        shown = (np.nanmean(values), np.nanmedian(values), np.nanquantile(values, bad), worst)
        table.add_row(name, *(f"{value:.3f}" for value in shown))
    console.print(table)


def report_parts(cases: Sequence[Case], console: Console) -> None:
    """By map, contrast and defect, the most frequent first."""
    parts: dict[str, list[Case]] = {}
    for case in cases:
        for what in case.drawn:
            parts.setdefault(what, []).append(case)
    table = Table("drawn", "n", "Dice", "worst", "HD95, mm", "refused", "uncertain")
    for what, some in sorted(parts.items(), key=lambda part: -len(part[1])):
        found = [case for case in some if not np.isnan(case.dice)]
        dice, far = (np.array([getattr(c, name) for c in found] or [np.nan]) for name in
                     ("dice", "hausdorff95_mm"))  # fmt: skip
        flagged = sum(_FLAG in case.flags for case in some)
        table.add_row(what, str(len(some)), f"{dice.mean():.3f}", f"{dice.min():.3f}",
                      f"{far.mean():.1f}", str(len(some) - len(found)), str(flagged))  # fmt: skip
    console.print(table)


def report_confidence(cases: Sequence[Case], console: Console) -> None:
    """Whether confidence goes with Dice, and what has no flag."""
    found = [case for case in cases if not np.isnan(case.dice)]
    sure = [case for case in found if _FLAG not in case.flags]
    rank = stats.spearmanr([c.confidence for c in found], [c.dice for c in found]).statistic
    console.print(f"confidence and Dice: rank correlation {rank:.2f}, n = {len(found)}")
    console.print(
        f"uncertain: {len(found) - len(sure)} of {len(found)}; mean Dice of these "
        f"{np.mean([c.dice for c in found if c not in sure] or [np.nan]):.3f}, of the others "
        f"{np.mean([c.dice for c in sure]):.3f}, their worst {min(c.dice for c in sure):.3f}"
    )
    for limit in (POOR, FAILED):
        bad = [case for case in found if case.dice < limit]
        missed = sum(case in sure for case in bad)
        console.print(f"Dice below {limit}: {len(bad)}, {missed} of them not called uncertain")


if __name__ == "__main__":
    sys.exit(main())
