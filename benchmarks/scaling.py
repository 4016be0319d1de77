"""How time and memory grow with a scan's voxels, the model's voxels, and scans at once.

    python -m benchmarks.scaling DATASET [--plot docs/scaling.svg] [--runtime openvino]

One field of view, 160 x 192 x 160 mm, at 2, 1.5, 1 and 0.75 mm: latency by stage with the model's
own 2 mm, and with the same networks at the scan's voxel size (of no use, but what a finer model
would cost). Then 1 mm scans through pools of 1, 2, ... worker processes that share two threads.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.chain import alone, make_scans, make_weights, pool_pace, run_ours

SIZES = (2.0, 1.5, 1.0, 0.75)
FINEST_MODEL = 1.0
_MERGED = {"brain mask": "read, mask", "read": "read, mask", "model grid": "grids",
           "scan grid": "grids", "score": "score, median", "median": "score, median",
           "regions": "regions, report, files", "write": "regions, report, files"}  # fmt: skip
Stages = dict[str, float]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("dataset", type=Path, help="folder with skull-stripped scans")
    parser.add_argument("--scans", type=int, default=5, help="of every size")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--runtime", default="openvino")
    parser.add_argument("--plot", type=Path, help="where to draw it, .svg or .png")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        sizes = measure_sizes(options.dataset, root, options.scans, options.runtime)
        scans = make_scans(options.dataset, root / "many", 3 * options.scans)
        weights = make_weights(root / "weights.safetensors", 2.0)
        pools = {
            workers: pool_pace(scans, root / "pool", weights, options.runtime, workers)
            for workers in options.workers
        }
    show(sizes, pools)
    if options.plot is not None:
        draw(sizes, pools, options.plot)
    return 0


def measure_sizes(
    dataset: Path, root: Path, count: int, runtime: str
) -> dict[tuple[float, float], tuple[Stages, int]]:
    """Median seconds by stage, and peak memory, by the scan's and the model's voxel size in mm."""
    found = {}
    for scan_mm in SIZES:
        scans = make_scans(dataset, root / f"scans-{scan_mm}", count, voxel_mm=scan_mm)
        for model_mm in sorted({2.0, scan_mm}, reverse=True):
            if model_mm < FINEST_MODEL:
                continue
            name = f"{scan_mm}-{model_mm}"
            weights = make_weights(root / f"{name}.safetensors", model_mm)
            seconds, stages, peak = alone(run_ours, scans, root / name, weights, runtime)
            stages["all"] = median(seconds)
            found[scan_mm, model_mm] = (stages, peak)
    return found


def merged(stages: Stages) -> Stages:
    """Fewer stages, for a picture."""
    sums: Stages = {}
    for name, seconds in stages.items():
        if name != "all":
            sums[_MERGED.get(name, name)] = sums.get(_MERGED.get(name, name), 0) + seconds
    return sums


def show(
    sizes: dict[tuple[float, float], tuple[Stages, int]], pools: dict[int, tuple[float, int]]
) -> None:
    console = Console(width=None if sys.stdout.isatty() else 140)
    names = list(next(iter(sizes.values()))[0])
    table = Table("scan mm", "model mm", *names, "peak GiB", title="median seconds a scan")
    for (scan_mm, model_mm), (stages, peak) in sizes.items():
        cells = [f"{stages[name]:.2f}" for name in names]
        table.add_row(f"{scan_mm:g}", f"{model_mm:g}", *cells, f"{peak / 2**30:.2f}")
    console.print(table)
    table = Table("workers", "volumes a minute", "peak GiB a worker", title="scans of 1 mm")
    for workers, (pace, peak) in pools.items():
        table.add_row(str(workers), f"{pace:.0f}", f"{peak / 2**30:.2f}")
    console.print(table)


def draw(
    sizes: dict[tuple[float, float], tuple[Stages, int]],
    pools: dict[int, tuple[float, int]],
    path: Path,
) -> None:
    import matplotlib

    matplotlib.use("svg" if path.suffix == ".svg" else "agg")
    from matplotlib import pyplot as plt

    plt.rcParams.update({"font.size": 9, "svg.hashsalt": "dal_fast", "svg.fonttype": "none"})
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(8.5, 3.4), width_ratios=(2.4, 1), layout="constrained"
    )
    bars: list[tuple[str, Stages]] = [
        (f"{scan:g} mm\nat {model:g}", merged(stages))
        for (scan, model), (stages, _) in sizes.items()
    ]
    _stack(left, bars)
    left.set_title("seconds a scan: its voxels, at the model's", loc="left", fontsize=9)
    workers = [str(n) for n in pools]
    right.bar(workers, [pace for pace, _ in pools.values()], width=0.6, color="#2b5c8a")
    for at, (pace, peak) in enumerate(pools.values()):
        note = f"{pace:.0f}\n{peak / 2**30:.1f} GiB\neach"
        right.text(at, pace, note, ha="center", va="bottom", fontsize=8)
    right.set_ylim(0, 1.35 * max(pace for pace, _ in pools.values()))
    right.set_title("volumes a minute by workers", loc="left", fontsize=9)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)


def _stack(axes: Any, bars: list[tuple[str, Stages]]) -> None:
    colours = ("#c8d3de", "#8fa9c2", "#2b5c8a", "#d9a441", "#9a9a9a")
    base = [0.0] * len(bars)
    for name, colour in zip(bars[0][1], colours, strict=True):
        heights = [stages[name] for _, stages in bars]
        labels = [label for label, _ in bars]
        axes.bar(labels, heights, bottom=base, width=0.7, color=colour, label=name)
        base = [b + h for b, h in zip(base, heights, strict=True)]
    for at, total in enumerate(base):
        axes.text(at, total, f"{total:.2f}", ha="center", va="bottom", fontsize=8)
    axes.legend(frameon=False, fontsize=8)


if __name__ == "__main__":
    sys.exit(main())
