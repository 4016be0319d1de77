"""Verify, time and report the kernels on a GPU: ``python -m benchmarks.run --device cuda``, or

    python -m benchmarks.gpu_run --out FOLDER [--seconds 110] [--device cpu --sides 20 24 28]

Every case runs on a batch whose inputs exceed the second-level cache; times are per volume. All of
our kernels come first, then the peers, those that torch.compile has to build last. The rows are
written after each contender, so that a run that is cut short loses nothing. ``--device cpu``
rehearses the program where there is no GPU.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import results_file
from benchmarks.gpu_timing import AnyStopwatch, Gpu, HostStopwatch, Stopwatch, timing
from benchmarks.peers import Call
from benchmarks.registry import CASES, Case
from benchmarks.results_file import GpuRow
from benchmarks.timing import Timing
from benchmarks.verify import verify
from benchmarks.volumes import Volumes, brain
from dal_fast.ops._dispatch import why_not

HEADINGS = (
    "work", "contender", "µs a volume", "p20 to p80", "× ours", "goal", "× roofline", "peak MB",
)  # fmt: skip
_COMPILED = "torch.compile"
Found = dict[str, tuple[Timing, float] | str]
"""By contender: timing of the batch and peak MB, or why there is none."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_run", description=__doc__)
    parser.add_argument("--out", type=Path, default=results_file.FOLDER)
    parser.add_argument("--seconds", type=float, default=math.inf, help="no peer after that")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--sides", type=int, nargs=3, default=[160, 192, 160])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    options = parser.parse_args(arguments)
    obstacle = why_not(options.device, torch.device(options.device))
    if obstacle:
        parser.error(f"--device {options.device}: {obstacle}")
    watch = Stopwatch() if options.device == "cuda" else HostStopwatch()
    depth, height, width = options.sides
    return report(
        CASES, (depth, height, width), options.repeats, options.out,
        Console(width=None if sys.stdout.isatty() else 140), watch, options.device,
        options.seconds,
    )  # fmt: skip


@dataclass
class _Work:
    """A case that is right, and what was found of it so far."""

    case: Case
    calls: dict[str, Call]
    goal_us: float | None
    roofline_us: float
    bound: str
    found: Found = field(default_factory=dict)


def report(
    cases: Sequence[Case],
    shape: tuple[int, int, int],
    repeats: int,
    folder: Path,
    console: Console,
    watch: AnyStopwatch,
    device: str = "cuda",
    seconds: float = math.inf,
) -> int:
    """Run ``cases``, print the table, keep the CSV in ``folder`` up to date; the exit code.

    Args:
        cases: to verify and time.
        shape: of a volume.
        repeats: of each contender, at the most.
        folder: of the CSV.
        console: for the table.
        watch: of the device.
        device: ``"cuda"``, or ``"cpu"`` for a rehearsal.
        seconds: after which no further peer is begun.
    """
    end = time.monotonic() + seconds
    gpu = Gpu.measure(watch, device)
    one = brain(shape)
    batch = 1 + 2 * watch.cache_bytes // one.scan.nbytes
    volumes, common = one.batched(batch, device), results_file.gpu_provenance(watch.name)
    size = "×".join(map(str, shape))
    works, refused = [], []
    for case in cases:
        try:
            calls = _ours(case, volumes, device)
        except Exception as error:  # whatever is wrong with it, it gets no number
            refused.append(f"{case.name}: {type(error).__name__}: {error}")
            continue
        floor, bound = gpu.roofline_ms(case.bytes * one.scan.numel(), case.flops * one.scan.numel())
        goal = None if device == "cpu" else case.gpu_goal
        works.append(_Work(case, calls, goal, 1e3 * floor, bound))
    for work, name in _order(works):
        if name not in work.calls and time.monotonic() > end:
            work.found[name] = "no time was left"
            continue
        console.print(f"{work.case.op}: {work.case.name}, {name} …", style="dim", highlight=False)
        work.found[name] = _measured(work, name, volumes, repeats, watch)
        rows = _rows(work, size, batch, common)
        if rows:
            results_file.write(rows, folder, watch.name)
    table = _table(f"{watch.name}: {batch} volumes of {size} float32, cold cache; " + _rates(gpu))
    for work in works:
        _show(table, work, _rows(work, size, batch, common))
    console.print(table)
    for line in refused:
        console.print(f"refused: {line}", style="red", markup=False)
    return 1 if refused else 0


def _order(works: list[_Work]) -> Iterator[tuple[_Work, str]]:
    """Ours, then peers, then what torch.compile has to build."""
    for work in works:
        yield from ((work, name) for name in work.calls)
    for compiled in (False, True):
        for work in works:
            names = (n for n in work.case.gpu_peers if (n == _COMPILED) == compiled)
            yield from ((work, name) for name in names)


def _ours(case: Case, volumes: Volumes, device: str) -> dict[str, Call]:
    """The backends that can run here, each verified first."""
    backends = ("cpu",) if device == "cpu" else ("cuda", "triton")
    able = [b for b in backends if not why_not(b, torch.device(device), triton=case.triton)]
    if not able:
        raise RuntimeError(why_not(backends[0], torch.device(device)) or "no backend")
    for backend in able:
        for name in case.covers:
            verify(name, device, backend)
    return {f"dal_fast {b}": case.ours(volumes, b) for b in able}


def _measured(
    work: _Work, name: str, volumes: Volumes, repeats: int, watch: AnyStopwatch
) -> tuple[Timing, float] | str:
    try:
        call = work.calls[name] if name in work.calls else work.case.gpu_peers[name](volumes)
        return timing(watch, call, repeats), watch.peak_mb(call)
    except ImportError:
        return "not installed"
    except Exception as error:  # a contender may fail in any way; the table says how
        return f"failed: {type(error).__name__}: {[*str(error).splitlines(), ''][0][:80]}"


def _rows(work: _Work, size: str, batch: int, common: dict[str, str]) -> list[GpuRow]:
    case = work.case
    timed = {name: result for name, result in work.found.items() if not isinstance(result, str)}
    ours = next((t.median for name, (t, _) in timed.items() if name in work.calls), 0.0)
    each = 1e3 / batch
    return [
        GpuRow(
            case.op, case.name, size, "float32", batch, name, t.median * each, t.p20 * each,
            t.p80 * each, t.repeats, t.median / ours if ours else 0.0,
            "" if work.goal_us is None else f"{work.goal_us:g}", work.roofline_us, peak, **common,
        )
        for name, (t, peak) in timed.items()
    ]  # fmt: skip


def _rates(gpu: Gpu) -> str:
    return (
        f"copy {gpu.bytes_per_ms / 1e9:.2f} TB/s, {gpu.flops_per_ms / 1e9:.0f} TFLOP/s float32; "
        "roofline by B: bytes, F: float32 FLOP"
    )


def _table(title: str) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD)
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading in HEADINGS[:2] else "right")
    return table


def _show(table: Table, work: _Work, rows: list[GpuRow]) -> None:
    by_name = {row.contender: row for row in rows}
    for i, (name, result) in enumerate(work.found.items()):
        label = work.case.name if i == 0 else ""
        if isinstance(result, str):
            table.add_row(label, name, result)
            continue
        row = by_name[name]
        table.add_row(
            label, name, f"{row.median_us:.1f}", f"{row.p20_us:.1f} to {row.p80_us:.1f}",
            f"{row.ratio:.2f}" if i else "", _goal(row) if name in work.calls else "",
            f"{row.median_us / row.floor_us:.1f} {work.bound[0]}", f"{row.peak_mb:.0f}",
        )  # fmt: skip
    table.add_section()


def _goal(row: GpuRow) -> str:
    """The goal, and by how much a time is beyond it."""
    if not row.goal_us:
        return ""
    beyond = row.median_us / float(row.goal_us)
    return f"≤ {row.goal_us}: met" if beyond <= 1 else f"≤ {row.goal_us}: {beyond:.2f} times"


if __name__ == "__main__":
    sys.exit(main())
