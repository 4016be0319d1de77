"""From file to written map: ours against the same chain from stock parts, in one run.

    python -m benchmarks.chain DATASET [--scans 8] [--runtimes torch openvino] [--workers 1 2]
        [--voxel-mm 2] [--inverted]

Skull-stripped scans of DATASET are brought to 160 x 192 x 160 voxels of 1 mm, right, anterior,
superior. One after the other: latency by stage (median and 99th percentile) with everything
resident. Many: volumes a minute of a pool of worker processes, from its first result to its last;
stock parts one after the other with all threads, and as many processes of one thread. The stock
chain writes the images alone; ours also writes the report, its picture and the sidecar.

The default model works at 2 mm. With ``--voxel-mm 1`` the same networks work at 1 mm: what they
make of a scan is of no use there, what it costs is. ``--inverted`` turns the brains' contrast
round, so that fluid is brightest as in a T2w, which is smoothed at three scales instead of one.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import fmean, median
from typing import Any

import nibabel as nib
import numpy as np
import torch
from nibabel.processing import conform
from rich.console import Console
from rich.table import Table

from dal_fast.batch.job import Job, save
from dal_fast.batch.pool import WorkerPool
from dal_fast.imaging.bids import collect_scans, output_name
from dal_fast.models import DAL
from dal_fast.models.weights import load_weights, read_card, save_weights

SHAPE, THREADS = (160, 192, 160), 2
Measured = tuple[list[float], dict[str, float], int]
"""Seconds of each scan, median seconds of each stage, peak memory in bytes."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chain", description=__doc__)
    parser.add_argument("dataset", type=Path, help="folder with skull-stripped scans")
    parser.add_argument("--scans", type=int, default=8)
    parser.add_argument("--runtimes", nargs="+", default=["torch", "openvino"])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--voxel-mm", type=float, choices=[1.0, 2.0], default=2.0)
    parser.add_argument("--inverted", action="store_true", help="bright fluid")
    options = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 140)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        scans = make_scans(
            options.dataset, root / "scans", options.scans, inverted=options.inverted
        )
        weights = make_weights(root / "weights.safetensors", options.voxel_mm)
        stock = alone(run_stock, scans, root / "stock", weights)
        found = {"stock parts": stock}
        for runtime in options.runtimes:
            found[f"ours, {runtime}"] = alone(run_ours, scans, root / runtime, weights, runtime)
        console.print(_latency(found))
        table = Table("", "volumes a minute", "times stock", "peak GiB a worker")
        own = 60 / fmean(stock[0])
        peak = f"{stock[2] / 2**30:.2f}"
        table.add_row("stock parts", f"{own:.1f}", "1", peak)
        pace = stock_pace(scans, root / "stock", weights, THREADS)
        table.add_row(f"stock parts, {THREADS} processes", f"{pace:.1f}", f"{pace / own:.1f}", peak)
        for runtime in options.runtimes:
            for workers in options.workers:
                pace, peak = pool_pace(scans, root / "pool", weights, runtime, workers)
                cells = (f"{pace:.1f}", f"{pace / own:.1f}", f"{peak / 2**30:.2f}")
                table.add_row(f"ours, {runtime}, {workers} workers", *cells)
        console.print(table)
        for runtime in options.runtimes:
            worst = max(difference(scan, root / "stock", root / runtime) for scan in scans)
            console.print(f"{runtime}: largest difference of a map from stock {worst:.2g}")
    return 0


def make_scans(
    dataset: Path, out: Path, count: int, *, inverted: bool = False, voxel_mm: float = 1.0
) -> list[Path]:
    """Brains of a dataset on a grid of ``voxel_mm``, from 0 (air) to 255."""
    out.mkdir()
    paths = []
    shape = tuple(round(side / voxel_mm) for side in SHAPE)
    for scan in collect_scans(dataset)[:count]:
        image = conform(nib.load(scan), shape, (voxel_mm,) * 3, order=1, orientation="RAS")
        data = np.asanyarray(image.dataobj).round().clip(0, 255).astype(np.uint8)
        if inverted:
            data = np.where(data > 0, np.maximum(1, 255 - data), 0).astype(np.uint8)
        paths.append(out / scan.name.replace("_desc-brain", ""))
        nib.save(nib.Nifti1Image(data, image.affine), paths[-1])
    return paths


def make_weights(path: Path, voxel_mm: float) -> str:
    """The default weights for a grid of ``voxel_mm``: a file, or their name for their own grid.

    Under their name the compiled chain serves them, without torch.
    """
    default = load_weights()
    if voxel_mm == default.config.voxel_mm:
        return "default"
    config = default.config.model_copy(update={"voxel_mm": voxel_mm})
    model = DAL(config, default.parts)
    model.load_state_dict(default.state_dict())
    save_weights(path, model, read_card(), default.parts)
    return str(path)


def alone(run: Callable[..., Measured], *arguments: Any) -> Measured:
    """In a process of its own, so that its memory is its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(run, *arguments).result()


def run_stock(scans: list[Path], out: Path, weights: str, threads: int = THREADS) -> Measured:
    from benchmarks.stock_chain import screen
    from dal_fast.screening.calibration import Calibration

    torch.set_num_threads(threads)
    model = load_weights(weights)
    healthy = Calibration.model_validate(read_card(weights)["healthy"])
    seconds = []
    for scan in (scans[0], *scans):  # the first warms up
        start = time.perf_counter()
        anomaly = screen(scan, out, model, healthy)
        seconds.append(time.perf_counter() - start)
        np.save(out / f"{scan.name}.npy", anomaly)
    return seconds[1:], {}, _peak()


def stock_pace(scans: list[Path], out: Path, weights: str, processes: int) -> float:
    """Volumes a minute of several processes of one thread."""
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        shares = [pool.submit(run_stock, scans, out / str(n), weights, 1) for n in range(processes)]
        return sum(60 / fmean(share.result()[0]) for share in shares)


def run_ours(scans: list[Path], out: Path, weights: str, runtime: str) -> Measured:
    from dal_fast import context
    from dal_fast.batch.resident import make_screener
    from dal_fast.batch.worker import choose_memory
    from dal_fast.screening.scan import load_scan

    context.set_threads(THREADS)
    screener = make_screener({"weights": weights, "runtime": runtime})
    choose_memory()
    seconds, stages = [], []
    for path in (scans[0], *scans):
        start = time.perf_counter()
        scan = load_scan(path)
        result = screener.screen_scan(scan)
        computed = time.perf_counter()
        save(scan, result, out)
        seconds.append(time.perf_counter() - start)
        stages.append({**result.timings, "write": time.perf_counter() - computed})
    names = stages[0]
    return seconds[1:], {n: median(s[n] for s in stages[1:]) for n in names}, _peak()


def pool_pace(
    scans: list[Path], out: Path, weights: str, runtime: str, workers: int
) -> tuple[float, int]:
    """Volumes a minute, and peak memory of a worker."""
    jobs = [Job(scan, out) for scan in scans]
    times = []
    settings = {"weights": weights, "runtime": runtime}
    threads = max(1, THREADS // workers)  # 0 would mean torch's own number
    with WorkerPool(settings, workers=workers, threads=threads, overwrite=True) as workers_pool:
        for outcome in workers_pool.screen(jobs):
            times.append(time.perf_counter())
            if outcome.status != "done":
                raise SystemExit(f"{outcome.scan}: {outcome.message}")
        first = min(workers, len(times) - 1) - 1  # every worker has started
        return 60 * (len(times) - 1 - first) / (times[-1] - times[first]), workers_pool.peak_bytes


def difference(scan: Path, stock: Path, ours: Path) -> float:
    """Largest, of two anomaly maps; healthy voxels are below 1."""
    map_ = np.asanyarray(nib.load(ours / output_name(scan, "anomaly")).dataobj)
    return float(np.abs(map_ - np.load(stock / f"{scan.name}.npy")).max())


def _latency(found: dict[str, Measured]) -> Table:
    stages = next(stages for _, stages, _ in reversed(found.values()))
    table = Table("seconds a scan", "p50", "p99", *stages, "peak GiB")
    for name, (seconds, own, peak) in found.items():
        cells = [f"{own[stage]:.2f}" if own else "" for stage in stages]
        total = [f"{value:.2f}" for value in np.percentile(seconds, [50, 99])]
        table.add_row(name, *total, *cells, f"{peak / 2**30:.2f}")
    return table


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    sys.exit(main())
