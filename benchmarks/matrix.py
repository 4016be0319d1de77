"""Every op on every shape, thread count and instruction set: ``python -m benchmarks.matrix``.

    python -m benchmarks.matrix --plot docs/cost-per-voxel.svg
    python -m benchmarks.matrix --ops median3d --no-peers

Ours on every path and the peers take turns, call by call, as in ``benchmarks.run``. Then what the
shapes, threads and paths say of each other: the odd shape against the round one per voxel, two
threads against one, and the most memory that a call needs beside its inputs, in float32 volumes.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import results_file
from benchmarks.peers import Call
from benchmarks.registry import CASES, Case
from benchmarks.results_file import Row
from benchmarks.run import FULL, OURS, rows_of, set_threads
from benchmarks.timing import Machine, Timing, interleaved
from benchmarks.verify import verify
from benchmarks.volumes import Volumes, brain
from dal_fast.context import _C

Shape = tuple[int, int, int]
ODD: Shape = (157, 189, 161)
SHAPES: tuple[Shape, ...] = ((96, 96, 96), ODD, FULL, (256, 256, 256))
LONGEST = 20.0  # seconds that a peer's call may take, by what it took on a smaller volume


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    names = sorted({case.op for case in CASES})
    parser = argparse.ArgumentParser(prog="python -m benchmarks.matrix", description=__doc__)
    parser.add_argument("--ops", nargs="+", choices=names, default=names)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--shapes", nargs="+", type=_shape, default=SHAPES)
    parser.add_argument("--odd", type=_shape, default=ODD, help="shape to set against --round")
    parser.add_argument("--round", type=_shape, default=FULL)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--no-peers", action="store_true", help="ours alone")
    parser.add_argument("--plot", type=Path, help="where to draw the cost per voxel, .svg or .png")
    parser.add_argument("--out", type=Path, default=results_file.FOLDER)
    options = parser.parse_args(arguments)
    shapes: Sequence[Shape] = options.shapes
    cases = [case for case in CASES if case.op in options.ops]
    for name in sorted({name for case in cases for name in case.covers}):
        verify(name)
    console, rows = Console(width=None if sys.stdout.isatty() else 160), []
    isa = _C.current_isa()
    for threads in options.threads:
        of = list(measure(cases, shapes, threads, options.repeats, not options.no_peers, console))
        results_file.write(of, options.out, results_file.machine_name())
        rows += of
    console.print(times(rows))
    console.print(comparisons(cases, options.odd, options.round, 2 * options.repeats))
    _C.set_isa(isa)
    console.print(memory(cases, shapes[0], not options.no_peers))
    if options.plot is not None:
        draw(rows, options.plot)
    return 0


def _shape(text: str) -> Shape:
    d, h, w = (int(n) for n in text.split("x"))
    return d, h, w


def measure(
    cases: Sequence[Case],
    shapes: Sequence[Shape],
    threads: int,
    repeats: int,
    peers: bool,
    console: Console,
) -> Iterator[Row]:
    """Rows of one thread count, from the smallest shape up."""
    set_threads(threads)
    machine, common = Machine.measure(), results_file.provenance()
    slowest: dict[tuple[str, str], float] = {}  # ms a voxel of a peer
    for shape in sorted(shapes, key=math.prod):
        volumes = brain(shape)
        for case in cases:
            console.print(f"{threads} threads, {shape}: {case.name} …", style="dim")
            calls = {f"{OURS} {isa}": ours(case, volumes, isa) for isa in _C.supported_isas()}
            for name, prepare in case.peers.items() if peers else ():
                expected = slowest.get((case.name, name), 0.0) * math.prod(shape) / 1e3
                if expected < LONGEST:
                    calls |= _prepared(name, prepare, volumes)
            times = interleaved(calls, repeats, budget=LONGEST / 2)
            found = {n: t for n, t in times.items() if isinstance(t, Timing)}
            for name, t in found.items():
                slowest[case.name, name] = t.median / math.prod(shape)
            floor = machine.floor_ms(case.bytes * math.prod(shape), case.flops * math.prod(shape))
            yield from _rows(case, shape, found, floor, common)


def ours(case: Case, volumes: Volumes, isa: str) -> Call:
    """Our call on the path of ``isa``."""
    call = case.ours(volumes, "cpu")

    def on_path() -> Any:
        _C.set_isa(isa)
        return call()

    return on_path


def _prepared(name: str, prepare: Any, volumes: Volumes) -> dict[str, Call]:
    try:
        return {name: prepare(volumes)}
    except ImportError:
        return {}


def _rows(
    case: Case, shape: Shape, found: dict[str, Timing], floor: float, common: dict[str, str | int]
) -> Iterator[Row]:
    peers = {name: t for name, t in found.items() if not name.startswith(OURS)}
    for isa in _C.supported_isas():
        results = {OURS: found[f"{OURS} {isa}"], **peers}
        yield from rows_of(case, results, floor, "×".join(map(str, shape)), common | {"isa": isa})


def times(rows: Sequence[Row]) -> Table:
    """Milliseconds of ours by path, the floor, and how many times as long the peers take."""
    isas = list(dict.fromkeys(r.isa for r in rows))
    table = Table(
        "work", "shape", "threads", *(f"{i} ms" for i in isas), "floor", "peers × " + isas[-1]
    )
    for key in dict.fromkeys((r.case, r.shape, r.threads) for r in rows):
        of = [r for r in rows if (r.case, r.shape, r.threads) == key]
        own = {r.isa: r for r in of if r.contender == OURS}
        against = [r for r in of if r.contender != OURS and r.isa == isas[-1]]
        said = [
            f"{r.contender} {r.ratio:.3g}" + (f" (≥ {r.goal})" if r.goal else "") for r in against
        ]
        cells = [f"{own[isa].median_ms:.2f}" for isa in isas]
        table.add_row(key[0], key[1], str(key[2]), *cells, f"{of[0].floor_ms:.2f}", ", ".join(said))
    return table


def comparisons(cases: Sequence[Case], odd: Shape, even: Shape, repeats: int) -> Table:
    """The odd shape over the even one per voxel, and one thread over two: calls taking turns.

    What the machine itself gains by a second thread stands below: no op can gain more.
    """
    isas = _C.supported_isas()
    ratios = ("odd / round per voxel", "1 / 2 threads")
    table = Table("work", *(f"{ratio}, {isa}" for ratio in ratios for isa in isas))
    volumes = {shape: brain(shape) for shape in (odd, even)}
    for case in cases:
        runs = [(isa, s, n) for isa in isas for s, n in ((odd, 2), (even, 2), (even, 1))]
        calls = {str(r): on_threads(ours(case, volumes[r[1]], r[0]), r[2]) for r in runs}
        found = interleaved(calls, repeats, budget=LONGEST)
        ms = {r: t.median for r in runs if isinstance(t := found[str(r)], Timing)}
        share = math.prod(even) / math.prod(odd)
        cells = [share * ms[isa, odd, 2] / ms[isa, even, 2] for isa in isas]
        cells += [ms[isa, even, 1] / ms[isa, even, 2] for isa in isas]
        table.add_row(case.name, *(f"{ratio:.2f}" for ratio in cells))
    one, two = (on_threads(Machine.measure, threads)() for threads in (1, 2))
    gains = {
        "the machine: copying": two.bytes_per_ms / one.bytes_per_ms,
        "the machine: multiply-adds": two.flops_per_ms / one.flops_per_ms,
    }
    for work, gain in gains.items():
        table.add_row(work, *("–" for _ in isas), *(f"{gain:.2f}" for _ in isas))
    return table


def on_threads(call: Call, threads: int) -> Call:
    """The call with torch's thread count set."""

    def counted() -> Any:
        torch.set_num_threads(threads)
        return call()

    return counted


def voxels(row: Row) -> int:
    """Of the row's shape."""
    return math.prod(int(n) for n in row.shape.split("×"))


def memory(cases: Sequence[Case], shape: Shape, peers: bool) -> Table:
    """Most memory that a call needs beside its inputs, in float32 volumes (Linux)."""
    volumes, size = brain(shape), "×".join(map(str, shape))
    table = Table(
        "work", "ours", "peers", title=f"peak memory beside the inputs, volumes of {size}"
    )
    for case in cases:
        calls: dict[str, Call] = {OURS: case.ours(volumes, "cpu")}
        for name, prepare in case.peers.items() if peers else ():
            calls |= _prepared(name, prepare, volumes)
        found = {n: peak_bytes(call) / (4 * math.prod(shape)) for n, call in calls.items()}
        others = ", ".join(f"{n} {found[n]:.1f}" for n in found if n != OURS)
        table.add_row(case.name, f"{found[OURS]:.1f}", others)
    return table


def peak_bytes(call: Call) -> int:
    """By which the process's resident memory grows at most during the call, once warm."""
    call()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _status("VmRSS")
    call()
    return max(0, _status("VmHWM") - before)


def _status(field: str) -> int:
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{field}:")[1].split()[0]) * 1024


def draw(rows: Sequence[Row], path: Path) -> None:
    """Nanoseconds a voxel (20th percentile) against the volume's voxels, an op a panel."""
    import matplotlib

    matplotlib.use("svg" if path.suffix == ".svg" else "agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import LogLocator, NullLocator

    plt.rcParams.update({"font.size": 8, "svg.hashsalt": "dal_fast", "svg.fonttype": "none"})
    cases = list(dict.fromkeys(r.case for r in rows))
    columns = min(4, len(cases))
    lines = math.ceil(len(cases) / columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(10, 2.2 * lines), squeeze=False, layout="constrained"
    )
    for axis, case in zip(axes.ravel(), cases, strict=False):
        own = [r for r in rows if r.case == case and r.contender == OURS]
        for i, isa in enumerate(dict.fromkeys(r.isa for r in own)):
            for threads in sorted({r.threads for r in own}):
                of = sorted((r for r in own if (r.isa, r.threads) == (isa, threads)), key=voxels)
                x, y = [voxels(r) for r in of], [1e6 * r.p20_ms / voxels(r) for r in of]
                style = "-o" if threads > 1 else "--o"
                axis.plot(x, y, style, ms=3, lw=1, color=f"C{i}", label=f"{isa}, {threads}")
        axis.set(xscale="log", yscale="log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter("{x:g}")
        axis.set_title(case, loc="left", fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes.ravel()[len(cases) :]:
        axis.set_axis_off()
    names = axes[0, 0].get_legend_handles_labels()
    place = {"loc": "outside upper center", "ncols": len(names[0]), "frameon": False}
    figure.legend(*names, title="path, threads", **place)
    figure.supxlabel("voxels of the volume", fontsize=8)
    figure.supylabel("ns a voxel", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


if __name__ == "__main__":
    sys.exit(main())
