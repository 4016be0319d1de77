"""The chain that stays on the device: pace, time by stage, and whether its maps are as good.

Parts of :mod:`benchmarks.gpu_chain`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import nibabel as nib
import numpy as np
import torch
from torch import Generator

from benchmarks.gpu_bench import Bench
from benchmarks.gpu_timing import timing
from dal_fast.ops import VoxelMetrics
from dal_fast.ops._image_stages import by_torch
from dal_fast.screening.device import DeviceChain, chain
from dal_fast.screening.device.plan import Plan, stack, tree
from dal_fast.screening.device.precision import Precision
from dal_fast.screening.device.regions import find_regions
from dal_fast.screening.device.runner import BATCH
from dal_fast.screening.runtimes.precision import full_precision
from dal_fast.screening.scan import load_scan
from dal_fast.screening.screener import Screener
from dal_fast.synthesis.brains import fit
from dal_fast.synthesis.recipe import VariedRecipe
from dal_fast.synthesis.synthesiser import Synthesiser

REPEATS = 10
IN_A_ROW = 4  # batches that are run one after the other
PRECISIONS: dict[str, Precision] = {
    "float32": "float32", "networks in TF32": "tf32", "networks in bfloat16": "bfloat16",
}  # fmt: skip


def _precisions(bench: Bench) -> dict[str, Precision]:
    """Those that the device multiplies in."""
    return {name: p for name, p in PRECISIONS.items() if bench.has_bf16 or p != "bfloat16"}


def resident(bench: Bench) -> None:
    """Batches of scans that are read and planned: from pinned memory to maps in host memory."""
    for name, precision in _precisions(bench).items():
        ours = bench.screener(precision).chain
        assert ours is not None
        plans = [ours.plan(load_scan(scan), "T1w") for scan in bench.scans]
        groups: dict[Any, list[Plan]] = {}
        for plan in plans:
            groups.setdefault(plan.bucket, []).append(plan)
        largest = max(groups.values(), key=len)
        size = min(BATCH, len(bench.scans))
        batch = (size * largest)[:size]  # of one shape
        _time_batch(bench, ours, batch, name)
        if bench.device == "cuda" or precision == "float32":  # once is enough for a rehearsal
            _time_stages(bench, ours, batch, name)


def _time_batch(bench: Bench, ours: DeviceChain, batch: list[Plan], name: str) -> None:
    """One batch by itself, whose copies nothing hides, and several in a row, where they overlap."""
    contender = f"{name}, batch {len(batch)}"
    ms = timing(bench.watch, lambda: ours.run(batch), REPEATS).median / len(batch)
    bench.table.add("resident", bench.mm, contender, "pace, one batch", 1e3 / ms, "volumes/s")
    _time_row(bench, ours, batch * IN_A_ROW, contender)
    inputs = tree(lambda t: t.to(bench.device), stack([plan.inputs for plan in batch]))
    bucket = batch[0].bucket
    ms = timing(bench.watch, lambda: ours.launch(bucket, inputs), REPEATS).median / len(batch)
    bench.table.add("resident", bench.mm, contender, "on the device", ms, "ms a volume")
    peak = bench.watch.peak_mb(lambda: ours.by_kernels(bucket, inputs))  # a graph holds its own
    bench.table.add("resident", bench.mm, contender, "peak", peak, "MB")


def _time_row(bench: Bench, ours: DeviceChain, many: list[Plan], contender: str) -> None:
    """Batches in a row: the first row by itself, as it asks for the memory that all its results
    take, then the median and the slowest of several, and what memory those still asked for."""
    first, pinned = bench.watch.milliseconds(lambda: ours.run(many)), bench.watch.pinned_blocks()
    rows = [
        bench.watch.milliseconds(lambda: ours.run(many))
        for _ in range(5 if bench.device == "cuda" else 1)
    ]
    pinned = bench.watch.pinned_blocks() - pinned
    paces = {"pace": median(rows), "pace, first row": first, "pace, slowest row": max(rows)}
    for measure, ms in paces.items():
        pace = 1e3 * len(many) / ms
        bench.table.add("resident", bench.mm, contender, measure, pace, "volumes/s")
    bench.table.add("resident", bench.mm, contender, "pinned anew", pinned, "blocks")


def _time_stages(bench: Bench, ours: DeviceChain, batch: list[Plan], precision: str) -> None:
    """Each stage by itself, launched kernel by kernel, on what the one before left."""
    inputs = tree(lambda t: t.to(bench.device), stack([plan.inputs for plan in batch]))
    bucket, options = batch[0].bucket, ours.options
    with torch.inference_mode(), full_precision(), by_torch():
        normalised = chain.to_model(bucket, inputs)
        output = chain.predict(ours.model, normalised.image, inputs)
        scored = chain.evaluate(output, normalised, ours.tables, options, inputs)
        anomaly, _ = chain.to_scan(scored.anomaly, output, normalised, bucket, inputs)
        above = anomaly >= options.threshold
        stages: dict[str, Callable[[], Any]] = {
            "model grid": lambda: chain.to_model(bucket, inputs),
            "networks and fits": lambda: chain.predict(ours.model, normalised.image, inputs),
            "score": lambda: chain.evaluate(output, normalised, ours.tables, options, inputs),
            "scan grid": lambda: chain.to_scan(scored.anomaly, output, normalised, bucket, inputs),
            "regions": lambda: find_regions(anomaly, above),
        }
        for name, stage in stages.items():
            ms = timing(bench.watch, stage, REPEATS).median / len(batch)
            bench.table.add("resident", bench.mm, f"{precision}, no graph", name, ms, "ms a volume")


def equality(bench: Bench) -> None:
    """Average precision over brains with painted lesions: CPU, device, and bfloat16."""
    if bench.mm < 2:
        return  # the weights are for 2 mm
    cases = [_sick(bench, number) for number in range(len(bench.brains))]
    screeners = {"CPU": Screener(bench.weights, runtime="torch", device="cpu")}
    screeners |= {name: bench.screener(p) for name, p in _precisions(bench).items()}
    found = {}
    for name, screener in screeners.items():
        metrics = VoxelMetrics()
        for path, lesion, mask in cases:
            scan = load_scan(path, mask)
            anomaly = screener.screen_scan(scan).anomaly.data
            volumes = (anomaly, lesion, scan.mask.data)
            score, target, brain = (torch.from_numpy(v.copy())[None, None] for v in volumes)
            metrics.update(score, target, brain)
        found[name] = metrics.average_precision()
        bench.table.add("equality", bench.mm, name, "average precision", found[name], "")
    for name in list(found)[1:]:
        gap = abs(found[name] - found["CPU"])
        bench.table.add("equality", bench.mm, name, "differs from the CPU's by", gap, "")


def _sick(bench: Bench, number: int) -> tuple[Path, np.ndarray, Path]:
    """A brain of the pack with painted lesions: the scan's file, its lesions, its mask's file."""
    one = bench.brains[number]
    contrast, scan = next(iter(one.scans.items()))
    generator = Generator().manual_seed(number)
    sides = [16 * -(-side // 16) for side in scan.shape[2:]]
    synthesiser = Synthesiser(generator, VariedRecipe().with_lesions(1.0))
    sample = synthesiser.keep(fit(scan, sides).float() / 254, fit(one.structures, sides), contrast)
    paths = [bench.folder / f"sick-{number}_{suffix}.nii" for suffix in (contrast, "mask")]
    affine = np.diag([bench.mm, bench.mm, bench.mm, 1.0])
    for path, volume in zip(paths, (sample.image, sample.mask.to(torch.uint8)), strict=True):
        nib.save(nib.Nifti1Image(volume[0, 0].numpy(), affine), path)
    return paths[0], sample.lesion[0, 0].numpy(), paths[1]
