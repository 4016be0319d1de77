"""Whole-volume screening on a GPU: volumes a second, time by stage, and what bounds them.

    python -m benchmarks.gpu_chain --pack .carry/evidence/brains.zip --out FOLDER [--seconds 100]
        [--voxel-mm 2 1] [--scans 8] [--sick 16] [--workers 1 4 8] [--device cpu --sides 32 40 32]

Real brains of a pack, on a grid of 2 mm as it is and of 1 mm enlarged (what the networks make of
them there is of no use, what it costs is), written as uncompressed NIfTI files. In this order, each
kept in ``chain-<gpu>.csv`` as soon as it is known:

- *compare*: the default model's maps on the GPU against those on the CPU, at 2 mm;
- *resident*: the chain that stays on the device, of a batch in pinned memory: pace from there to
  the maps in host memory, of one batch and of several in a row, whose copies overlap, with
  networks in float32, TF32 and bfloat16, and the time of each stage
  (:mod:`benchmarks.gpu_resident`);
- *equality*: average precision of maps made on the CPU, on the GPU, in TF32 and in bfloat16;
- *one by one*: one screener, one scan after the other: seconds by stage;
- *networks*: the tissue network alone, by batch and precision;
- *floors*: the upload of a scan from pinned memory, and the rate of a large bfloat16 matrix
  product, for the network's FLOP;
- *pool*: from files to written maps by several worker processes that share the GPU;
- *compiled*: the network through ``torch.compile``, where a minute is left.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import nibabel as nib
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import gpu_pack
from benchmarks.chain import make_weights
from benchmarks.gpu_bench import Bench, Table
from benchmarks.gpu_resident import equality, resident
from benchmarks.gpu_timing import AnyStopwatch, HostStopwatch, Stopwatch, timing
from dal_fast.batch.job import Job
from dal_fast.batch.pool import WorkerPool
from dal_fast.models.weights import load_weights
from dal_fast.screening.scan import load_scan
from dal_fast.screening.screener import Screener
from dal_fast.synthesis.brains import Brain, fit

SIDES = (80, 96, 80)  # of a brain at 2 mm
BATCHES = (1, 8)
REPEATS = 10
Network = Callable[[Tensor, Tensor], Tensor]
COMPILING = 50.0  # seconds that torch.compile may take


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; the number of parts that failed."""
    options = _parser().parse_args(arguments)
    end = time.monotonic() + options.seconds
    watch = Stopwatch() if options.device == "cuda" else HostStopwatch()
    table = Table(options.out, watch.name)
    brains = gpu_pack.read(options.pack, max(options.scans, options.sick))
    failures = 0
    with tempfile.TemporaryDirectory() as temporary:
        benches = [
            _prepared(table, watch, options, brains, Path(temporary), mm) for mm in options.voxel_mm
        ]
        for part in (compare, resident, equality, one_by_one, networks, floors):
            for bench in benches:
                failures += _attempt(part, bench, end)
        for workers in options.workers:
            for bench in benches:
                failures += _attempt(lambda b, n=workers: pool(b, n), bench, end)
        if options.device == "cuda":
            failures += _attempt(compiled, benches[0], end - COMPILING)
    return failures


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_chain", description=__doc__)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=100.0, help="no part begins after that")
    parser.add_argument("--voxel-mm", type=float, nargs="+", choices=[2.0, 1.0], default=[2.0, 1.0])
    parser.add_argument("--scans", type=int, default=8)
    parser.add_argument("--sick", type=int, default=gpu_pack.FEW, help="brains of *equality*")
    parser.add_argument("--workers", type=int, nargs="*", default=[8])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--sides", type=int, nargs=3, default=SIDES, help="of a volume at 2 mm")
    return parser


def _prepared(
    table: Table,
    watch: AnyStopwatch,
    options: argparse.Namespace,
    brains: list[Brain],
    temporary: Path,
    mm: float,
) -> Bench:
    folder = temporary / f"{mm:g}mm"
    folder.mkdir()
    weights = make_weights(folder / "weights.safetensors", mm)
    scans = [_written(one, folder, mm, options.sides) for one in brains[: options.scans]]
    return Bench(table, watch, options.device, mm, scans, weights, folder, brains[: options.sick])


def _written(one: Brain, folder: Path, mm: float, sides: Sequence[int]) -> Path:
    """The brain's scan as a NIfTI file of one byte a voxel, axes right, anterior, superior."""
    volume = fit(next(iter(one.scans.values())).float(), sides)
    if mm < 2:
        volume = F.interpolate(volume, scale_factor=2 / mm, mode="trilinear")
    data = (volume[0, 0] * 254).round().clamp(0, 255).byte().numpy()
    path = folder / f"{one.name}_T1w.nii"
    nib.save(nib.Nifti1Image(data, np.diag([mm, mm, mm, 1.0])), path)
    return path


def _attempt(part: Callable[[Bench], None], bench: Bench, end: float) -> int:
    """1 when it failed; the others go on."""
    if time.monotonic() > end:
        print(f"no time was left for another part at {bench.mm:g} mm")
        return 0
    try:
        part(bench)
    except Exception as error:
        print(f"failed at {bench.mm:g} mm: {type(error).__name__}: {error}")
        return 1
    return 0


def compare(bench: Bench) -> None:
    """Maps on the device against those on the CPU, of two scans."""
    if bench.mm < 2:
        return  # the same code, and half a minute on the CPU
    here = bench.screener()
    there = Screener(bench.weights, runtime="torch", device="cpu")
    worst, differing = 0.0, 0
    for scan in bench.scans[:2]:
        ours, want = here.screen(scan), there.screen(scan)
        largest = float(np.abs(ours.anomaly.data - want.anomaly.data).max())
        worst = max(worst, largest / float(want.parameters["threshold"]))
        differing += int((ours.anomaly_mask.data != want.anomaly_mask.data).sum())
    add = bench.table.add
    add("compare", bench.mm, "torch", "largest difference", worst, "of the threshold")
    add("compare", bench.mm, "torch", "mask differs in", differing, "voxels of two scans")


def one_by_one(bench: Bench) -> None:
    """Seconds a scan by stage, median over the scans, from the file's pages in memory."""
    screener = bench.screener()
    screener.screen(bench.scans[0])  # warms up
    totals, stages = [], []
    for path in bench.scans:
        start = time.perf_counter()
        scan = load_scan(path)
        read = time.perf_counter()
        result = screener.screen_scan(scan)
        totals.append(time.perf_counter() - read)
        stages.append({**result.timings, "read": read - start})
    add = bench.table.add
    add("one by one", bench.mm, "screener", "pace", 1 / median(totals), "volumes/s")
    for name in stages[0]:
        seconds = median(stage[name] for stage in stages)
        add("one by one", bench.mm, "screener", name, 1e3 * seconds, "ms")


def networks(bench: Bench) -> None:
    """E_A with what it is shown, on resident volumes: float32 without and with TF32, bfloat16."""
    network, image, mask = _network(bench)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(image, mask)
    gflop = counter.get_total_flops() / 1e9
    bench.table.add("networks", bench.mm, "tissue network", "work", gflop, "GFLOP a volume")
    kinds = {"float32": (False, False), "TF32": (True, False), "bfloat16": (True, True)}
    for name, (tf32, half) in kinds.items():
        if half and not bench.has_bf16:
            continue
        for batch in BATCHES:
            _time_network(bench, name, _call(bench, network, image, mask, batch, tf32, half), batch)


def compiled(bench: Bench) -> None:
    """The same in bfloat16, through torch.compile."""
    network, image, mask = _network(bench)
    call = _call(bench, torch.compile(network), image, mask, BATCHES[-1], True, True)
    _time_network(bench, "bfloat16, compiled", call, BATCHES[-1])


def _network(bench: Bench) -> tuple[Network, Tensor, Tensor]:
    """E_A, and a scan and its mask, ``(1, 1, D, H, W)``."""
    model = load_weights(bench.weights).eval()
    model.to(bench.device, memory_format=torch.channels_last_3d)
    scan = torch.from_numpy(np.asarray(nib.load(bench.scans[0]).dataobj, np.float32))
    image = fit(scan[None, None] / 254, model.space_for(scan.shape)).to(bench.device)
    return model.tissue_logits, image, image > 0


def _call(
    bench: Bench, network: Network, image: Tensor, mask: Tensor, batch: int, tf32: bool, half: bool
) -> Callable[[], Tensor]:
    x = image.expand(batch, -1, -1, -1, -1).contiguous(memory_format=torch.channels_last_3d)
    m = mask.expand(batch, -1, -1, -1, -1).contiguous()

    def call() -> Tensor:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
        with (
            torch.inference_mode(),
            torch.autocast(bench.device, torch.bfloat16, enabled=half),
        ):
            return network(x, m)

    return call


def _time_network(bench: Bench, name: str, call: Callable[[], Tensor], batch: int) -> None:
    ms = timing(bench.watch, call, REPEATS).median / batch
    bench.table.add("networks", bench.mm, f"{name}, batch {batch}", "time", ms, "ms a volume")
    peak = bench.watch.peak_mb(call)
    bench.table.add("networks", bench.mm, f"{name}, batch {batch}", "peak", peak, "MB")


def floors(bench: Bench) -> None:
    """What a volume costs at least: its upload and, see ``networks``, the network's FLOP."""
    size = nib.load(bench.scans[0]).shape
    host = torch.empty(size, pin_memory=bench.device == "cuda")
    target = torch.empty(size, device=bench.device)
    ms = timing(bench.watch, lambda: target.copy_(host, non_blocking=True), REPEATS).median
    bench.table.add("floors", bench.mm, "upload, float32, pinned", "time", ms, "ms a volume")
    side = 8192 if bench.device == "cuda" else 512
    matrix = torch.randn(side, side, device=bench.device, dtype=torch.bfloat16)
    ms = timing(bench.watch, lambda: matrix @ matrix, REPEATS).median
    bench.table.add("floors", bench.mm, "bfloat16 product", "rate", 2e-9 * side**3 / ms, "TFLOP/s")


def pool(bench: Bench, workers: int) -> None:
    """From files to written maps, by worker processes that share the device; the pace from the
    first result of the last worker on."""
    threads = max(1, len(os.sched_getaffinity(0)) // workers)
    settings = {"weights": str(bench.weights), "runtime": "torch", "device": bench.device}
    jobs = [Job(scan, bench.folder / "out") for scan in _copies(bench.scans, 4 * workers)]
    times = []
    with WorkerPool(settings, workers=workers, threads=threads, overwrite=True) as worker_pool:
        for outcome in worker_pool.screen(jobs):
            times.append(time.perf_counter())
            if outcome.status != "done":
                raise RuntimeError(f"{outcome.scan}: {outcome.message}")
        peak = worker_pool.peak_bytes
    pace = (len(times) - workers) / (times[-1] - times[workers - 1])
    bench.table.add("pool", bench.mm, f"{workers} workers", "pace", pace, "volumes/s")
    bench.table.add("pool", bench.mm, f"{workers} workers", "memory", peak / 2**30, "GiB a worker")


def _copies(scans: list[Path], count: int) -> list[Path]:
    """``count`` files of different names, so that each has outputs of its own."""
    paths = []
    for n in range(count):
        scan = scans[n % len(scans)]
        path = scan.with_name(scan.name.replace("_T1w", f"_run-{n:02d}_T1w"))
        if not path.exists():
            os.link(scan, path)
        paths.append(path)
    return paths


if __name__ == "__main__":
    sys.exit(main())
