"""``dal-fast evaluate --protocol uad-imag`` beside what UAD-IMAG's own code does, in one run.

    python -m benchmarks.evaluation [--volumes 100] [--peer 10]

Synthetic brains of 160 x 192 x 160 voxels of 1 mm with lesions and a detector's maps, as compressed
NIfTI; every tenth is a file of its own, the others are links to it. Ours: the whole command, from
reading to the page with its pictures. Theirs, for the first ``--peer`` volumes and in proportion to
their number: nibabel, scipy's median of 4, the Dice at 99 thresholds (as for Disyre and IterMask),
scikit-learn's AP over all voxels pooled. What it does twice, for filtered and unfiltered maps, is
counted once, and its thresholds from healthy scans not at all.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy import ndimage
from sklearn.metrics import average_precision_score

from dal_fast.imaging.nifti import read_volume
from dal_fast.imaging.nifti_output import write_volume

SHAPE, DIFFERENT, THRESHOLDS = (160, 192, 160), 10, np.arange(0.001, 0.1, 0.001) * 5


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation", description=__doc__)
    parser.add_argument("--volumes", type=int, default=100)
    parser.add_argument("--peer", type=int, default=10, help="volumes that theirs is run on")
    options = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 110)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_study(root, options.volumes)
        seconds, peak, ap = alone(run_ours, root, options.volumes)
        theirs, their_peak, their_ap = alone(run_theirs, root, options.peer)
        _, _, same = alone(run_ours, root, options.peer)
    ratio = (theirs / options.peer) / (seconds / options.volumes)
    table = Table("", "volumes", "seconds a volume", "times faster", "peak GiB", "pooled AP")
    table.add_row(
        "UAD-IMAG's way", str(options.peer), f"{theirs / options.peer:.2f}", "1",
        f"{their_peak:.2f}", f"{their_ap:.5f}",
    )  # fmt: skip
    table.add_row(
        "dal-fast evaluate", str(options.volumes), f"{seconds / options.volumes:.3f}",
        f"{ratio:.1f}", f"{peak:.2f}", f"{ap:.5f} (of the first {options.peer}: {same:.5f})",
    )  # fmt: skip
    console.print(table)
    return 0


def alone(run: Callable[[Path, int], float], root: Path, count: int) -> tuple[float, float, float]:
    """Seconds, peak memory in GiB and result of a run in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (run, root, count))


def _measured(
    run: Callable[[Path, int], float], root: Path, count: int
) -> tuple[float, float, float]:
    torch.set_num_threads(2)
    start = time.perf_counter()
    result = run(root, count)
    seconds = time.perf_counter() - start
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, result


def run_ours(root: Path, count: int) -> float:
    """The command; returns the pooled AP."""
    from dal_fast.cli import app

    out = root / f"ours-{count}"
    command = ["evaluate", str(root / "maps"), "--data", str(root / "data" / f"first-{count}.csv")]
    command += ["--protocol", "uad-imag", "--threshold", "0.3", "--out", str(out)]
    app(command, standalone_mode=False)
    summary = json.loads((out / "summary.json").read_text())
    return float(summary["detectors"]["maps"]["totals"]["average_precision_volume"])


def run_theirs(root: Path, count: int) -> float:
    """Median, pooled AP and the loop over thresholds; returns the AP."""
    scores, lesions = [], []
    for number in range(count):
        anat = root / "data" / f"sub-{number:03d}" / "anat"
        scan = nib.load(anat / f"sub-{number:03d}_T2w.nii.gz").get_fdata(dtype=np.float32)
        mask = nib.load(anat / f"sub-{number:03d}_label-lesion_mask.nii.gz").get_fdata() > 0.5
        score = nib.load(root / "maps" / f"sub-{number:03d}_T2w.nii.gz").get_fdata(dtype=np.float32)
        scores.append(ndimage.median_filter(np.where(scan == 0, 0, score), size=(4, 4, 4)))
        lesions.append(mask)
    volumes, labels = np.stack(scores), np.stack(lesions)
    for threshold in THRESHOLDS:
        for volume, label in zip(volumes, labels, strict=True):
            marked = np.where(volume > threshold, 1.0, 0.0)
            2 * (marked * label).sum() / (marked.sum() + label.sum())
    low, high = volumes.min(), volumes.max()
    return float(average_precision_score(labels.ravel(), ((volumes - low) / (high - low)).ravel()))


def write_study(root: Path, volumes: int) -> None:
    """``data/sub-*/anat``, ``maps/`` and the tables of the first ones."""
    (root / "maps").mkdir()
    header = "scan,brain,lesion"
    rows: list[str] = []
    originals: list[dict[str, Path]] = []
    for number in track(range(volumes), "writing volumes", transient=True):
        stem = f"sub-{number:03d}"
        anat = root / "data" / stem / "anat"
        anat.mkdir(parents=True)
        names = {
            "scan": anat / f"{stem}_T2w.nii.gz",
            "brain": anat / f"{stem}_desc-brain_mask.nii.gz",
            "lesion": anat / f"{stem}_label-lesion_mask.nii.gz",
            "map": root / "maps" / f"{stem}_T2w.nii.gz",
        }
        if number < DIFFERENT:
            _write(names, np.random.default_rng(number))
            originals.append(names)
        else:
            for what, path in names.items():
                os.link(originals[number % DIFFERENT][what], path)
        rows.append(",".join(str(names[w].relative_to(root / "data")) for w in header.split(",")))
    for count in range(1, volumes + 1):
        (root / "data" / f"first-{count}.csv").write_text("\n".join([header, *rows[:count]]) + "\n")


def _write(names: dict[str, Path], rng: np.random.Generator) -> None:
    sides = [np.linspace(-1.15, 1.15, n) for n in SHAPE]
    x, y, z = np.meshgrid(*sides, indexing="ij", sparse=True)
    brain = x**2 + y**2 + z**2 < 1
    noise = ndimage.gaussian_filter(rng.normal(size=SHAPE).astype(np.float32), 3)
    lesion = brain & (noise > np.quantile(noise[brain], 0.995))
    texture = ndimage.gaussian_filter(rng.random(SHAPE, dtype=np.float32), 1)
    images = {
        "scan": (1 + texture + lesion) * brain,
        "brain": brain,
        "lesion": lesion,
        "map": (texture - 0.3).clip(0) + 0.15 * lesion,
    }
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    for what, data in images.items():
        kind = np.uint8 if data.dtype == np.bool_ else np.float32
        plain = names[what].with_suffix("")  # .nii
        nib.save(nib.Nifti1Image(data.astype(kind), affine), plain)
        like = read_volume(plain)
        write_volume(names[what], data, like, "uint8" if kind is np.uint8 else "float32")
        plain.unlink()


if __name__ == "__main__":
    sys.exit(main())
