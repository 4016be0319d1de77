"""Lesions painted into real scans, on the scans' own grids: what made scans do not show.

    python -m benchmarks.real_scans OUT --scans FILE FILE --masks lesion-masks/

Every other benchmark draws its T2w and FLAIR from a T1w and its labels. Here the scan is real, from
any scanner: a NIfTI file of a healthy head or brain, named by BIDS, so that its contrast is known.
Its brain is found, and in each of ``--draws`` cases a lesion of the contrast's usual sign is added,
outside of fluid: one of the given masks (``*_lesion.nii.gz`` in MNI152 space), or a solid shape of
10 to 60 mL. Its height is .05 to .2, where the brain's median is .5, and its border is blurred by
.6 mm. The painted scan goes the whole way through the default score.

Each case's row is appended to a file in the folder ``OUT``; the same command goes on where it
stopped (:mod:`benchmarks.rows`). Rows that other weights made are refused. Without ``--scans`` the
tables of what is there are printed; ``--before FOLDER`` adds what changed in the cases that another
folder holds, too. A patient's scan is not for choosing a map: lesions that nobody painted count as
mistakes.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import nibabel
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional as F

from benchmarks.acquisition import voxel_metrics
from benchmarks.rows import append_rows, mean_of, read_rows, short, signed, standard_error
from dal_fast.errors import Code, InputError
from dal_fast.imaging.bids import parse_name
from dal_fast.imaging.morphology import bounding_box
from dal_fast.imaging.orientation import voxel_ml
from dal_fast.memory import keep_freed_memory
from dal_fast.models import weights_sha256
from dal_fast.screening.calibration import BRIGHT, USUAL
from dal_fast.screening.scan import Head, Scan, load_scan_or_head
from dal_fast.screening.screener import Screener
from dal_fast.synthesis import fields
from dal_fast.synthesis.fields import uniform
from dal_fast.synthesis.given_masks import read_masks
from dal_fast.synthesis.shapes import solid_shape

SHAPES = ("mask", "solid")
HEIGHTS = (0.05, 0.2)  # in the unit in which the brain's median is 0.5
SOLID_ML = (10.0, 60.0)
BLUR_MM = 0.6
GRID_MM = 2.0  # of solid shapes
SMALLEST_ML = 0.1
# What is no fluid, in units of the brain's median; a segmentation would depend on the weights.
NOT_FLUID = {"T1w": (0.75, math.inf), "T2w": (0.0, 1.3), "FLAIR": (0.7, math.inf)}


@dataclass(frozen=True)
class Row:
    """One painted scan.

    Attributes:
        weights: SHA-256 of the weight file.
        case: unique name.
        scan, contrast, shape, draw: how it was painted.
        ml: volume of the lesion.
        height: what was added, in the unit in which the brain's median is 0.5.
        auto, told: average precision of the default score, and of that for the lesion's sign.
        intensity: the same of plain intensity in the lesion's direction.
        dice: of what the default score marks at its threshold, with the lesion.
    """

    weights: str
    case: str
    scan: str
    contrast: str
    shape: str
    draw: int
    ml: float
    height: float
    auto: float
    told: float
    intensity: float
    dice: float


def paint(
    scan: Scan, contrast: str, shape: str, masks: Sequence[Tensor], generator: Generator
) -> tuple[Scan, NDArray[np.bool_], float]:
    """A scan with a lesion, where it lies ``(I, J, K)``, and the height.

    The lesion is drawn in the axes right, anterior, superior, in the brain's bounding box; of a
    scan whose axes are oblique, in those that are nearest.
    """
    volume, inside = scan.volume, scan.mask.data
    stored = nibabel.io_orientation(volume.affine)
    ras = nibabel.orientations.axcodes2ornt("RAS")
    brain = torch.from_numpy(_turned(inside, nibabel.orientations.ornt_transform(stored, ras)))
    box = bounding_box(brain)
    sides = [side.stop - side.start for side in box]
    if shape == "mask":
        pick = int(torch.randint(len(masks), (), generator=generator))
        at = masks[pick].float()
        at = at.flip(0) if bool(uniform((), 0, 1, generator) < 0.5) else at
    else:
        mm = [volume.voxel_mm[axis] for axis in stored[:, 0].argsort()]
        at = _solid([n * size / GRID_MM for n, size in zip(sides, mm, strict=True)], generator)
    whole = torch.zeros(brain.shape)
    whole[box] = F.interpolate(at[None, None], size=sides, mode="trilinear")[0, 0]
    drawn = _turned(whole.numpy(), nibabel.orientations.ornt_transform(ras, stored))
    median = float(np.median(volume.data[inside]))
    low, high = NOT_FLUID[contrast]
    tissue = inside & (volume.data > low * median) & (volume.data < high * median)
    lesion = (drawn >= 0.5) & tissue
    sigma = torch.tensor([[BLUR_MM / size for size in volume.voxel_mm]])
    soft = fields.blur(torch.from_numpy(lesion)[None, None].float(), sigma)[0, 0].numpy() * inside
    height = float(uniform((), *HEIGHTS, generator))
    data = (volume.data + sign_of(contrast) * height * 2 * median * soft).clip(0)
    painted = replace(scan, volume=replace(volume, data=data.astype(np.float32)))
    return painted, lesion, height


def _turned(data: NDArray[Any], turn: NDArray[np.float64]) -> NDArray[Any]:
    return np.ascontiguousarray(nibabel.apply_orientation(data, turn))


def _solid(sides: Sequence[float], generator: Generator) -> Tensor:
    """A solid shape anywhere in the middle half of a box, ``(D, H, W)`` of ``GRID_MM``."""
    shape = [max(round(side), 8) for side in sides]
    centre = [float(uniform((), 0.25, 0.75, generator)) * side for side in shape]
    volume = float(uniform((), *SOLID_ML, generator)) * 1000 / GRID_MM**3
    found = torch.zeros(shape)
    region = solid_shape(centre, volume, torch.ones(shape, dtype=torch.bool), generator)
    if region is not None:
        found[region.box] = region.cover
    return found


def measure(
    screeners: dict[str, Screener], name: str, scan: Scan, shape: str, draw: int,
    masks: Sequence[Tensor], digest: str,
) -> Row:  # fmt: skip
    """Paint, screen, compare; NaN where nothing was left to paint."""
    contrast = contrast_of(scan)
    number = sum(map(ord, name)) * 1000 + draw
    generator = torch.Generator().manual_seed(2 * number + SHAPES.index(shape))
    painted, lesion, height = paint(scan, contrast, shape, masks, generator)
    ml = float(lesion.sum()) * voxel_ml(scan.volume.affine)
    found = dict.fromkeys(("auto", "told", "intensity", "dice"), math.nan)
    if ml >= SMALLEST_ML:
        results = {key: screener.screen_scan(painted) for key, screener in screeners.items()}
        maps = {key: result.anomaly.data for key, result in results.items()}
        maps["intensity"] = sign_of(contrast) * painted.volume.data
        found = {key: _precision(data, lesion, scan.mask.data) for key, data in maps.items()}
        marked = results["auto"].anomaly_mask.data
        found["dice"] = 2 * float((marked & lesion).sum()) / float(marked.sum() + lesion.sum())
    case = f"{name}-{shape}-{draw}"
    return Row(digest, case, name, contrast, shape, draw, ml, height, **found)


def _precision(
    data: NDArray[np.float32], lesion: NDArray[np.bool_], inside: NDArray[np.bool_]
) -> float:
    parts = (
        torch.from_numpy(np.ascontiguousarray(part))[None, None] for part in (data, lesion, inside)
    )
    return voxel_metrics(*parts).average_precision()


def contrast_of(scan: Scan) -> str:
    """By the file's name.

    Raises:
        InputError: ``value`` where it says none of T1w, T2w and FLAIR.
    """
    contrast = parse_name(scan.volume.path).suffix
    if contrast not in NOT_FLUID:
        raise InputError(Code.VALUE, f"{scan.volume.path} must be named _T1w, _T2w or _FLAIR")
    return contrast


def sign_of(contrast: str) -> int:
    """Of the lesions: 1 for brighter ones, -1 for darker ones."""
    return 1 if USUAL[contrast] == BRIGHT else -1


def tables(rows: Sequence[Row]) -> Iterator[str]:
    """By contrast and shape, and by volume."""
    yield "| AP | n | scans | `auto` (SE) | sign known | intensity | Dice of what is marked |"
    yield "|---" * 7 + "|"
    for name, own in columns(rows):
        autos = [row.auto for row in own]
        cells = [short(mean_of(own, key)) for key in ("told", "intensity", "dice")]
        auto = f"{short(fmean(autos))} ({short(standard_error(autos))})"
        scans = len({row.scan for row in own})
        yield f"| {name} | {len(own)} | {scans} | {auto} | {' | '.join(cells)} |"


def changes(rows: Sequence[Row], before: Sequence[Row]) -> Iterator[str]:
    """``auto`` of the cases that both hold, less it before."""
    old = {row.case: row for row in before if not math.isnan(row.auto)}
    yield "| AP of `auto` | n | before | now | difference (SE) | Dice |"
    yield "|---" * 6 + "|"
    for name, own in columns([row for row in rows if row.case in old]):
        gaps = [row.auto - old[row.case].auto for row in own]
        gap = f"{signed(fmean(gaps))} ({short(standard_error(gaps))})"
        then = [old[row.case] for row in own]
        auto = f"{short(mean_of(then, 'auto'))} | {short(mean_of(own, 'auto'))}"
        dice = f"{short(mean_of(then, 'dice'))} → {short(mean_of(own, 'dice'))}"
        yield f"| {name} | {len(own)} | {auto} | {gap} | {dice} |"


def columns(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Those that were painted, together and by what a table shows them by; none is empty."""
    painted = [row for row in rows if not math.isnan(row.auto)]
    parts = {"all": painted}
    for contrast in NOT_FLUID:
        for shape in SHAPES:
            parts[f"{contrast}, {shape}"] = [
                row for row in painted if (row.contrast, row.shape) == (contrast, shape)
            ]
    for name, (least, most) in {"up to 10 mL": (0, 10), "more": (10, math.inf)}.items():
        parts[name] = [row for row in painted if least <= row.ml < most]
    return ((name, own) for name, own in parts.items() if own)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_scans", description=__doc__)
    parser.add_argument("out", type=Path, help="folder of the rows")
    parser.add_argument("--scans", type=Path, nargs="+", help="healthy heads or brains")
    parser.add_argument("--masks", type=Path, help="folder of lesion masks in MNI152 space")
    parser.add_argument("--weights", default="default")
    parser.add_argument("--draws", type=int, default=6, help="lesions of each shape in each scan")
    parser.add_argument("--before", type=Path, help="folder of rows to compare with")
    options = parser.parse_args(arguments)
    if options.scans:
        if options.masks is None:
            parser.error("--scans needs --masks")
        _append(options)
    rows = read_rows(options.out, Row)
    for line in tables(rows):
        print(line)
    if options.before:
        for line in changes(rows, read_rows(options.before, Row)):
            print(line)
    return 0


def _append(options: argparse.Namespace) -> None:
    keep_freed_memory()
    masks, digest = read_masks(options.masks), weights_sha256(options.weights)
    auto = Screener(options.weights, device="cpu")
    for path in options.scans:
        scan = load_scan_or_head(path)
        scan = auto.find_brain(scan) if isinstance(scan, Head) else scan
        told = Screener(options.weights, device="cpu", score=USUAL[contrast_of(scan)])
        screeners, name = {"auto": auto, "told": told}, path.name.split(".")[0]
        cases = {
            f"{name}-{shape}-{draw}": partial(
                measure, screeners, name, scan, shape, draw, masks, digest
            )
            for draw in range(options.draws)
            for shape in SHAPES
        }
        append_rows(options.out, Row, digest, cases)


if __name__ == "__main__":
    sys.exit(main())
