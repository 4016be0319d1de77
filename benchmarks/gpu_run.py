"""Verify, time and report on a GPU: ``python -m benchmarks.run --device cuda``.

Every case runs on a batch whose inputs exceed the second-level cache; times are per volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import results_file
from benchmarks.gpu_timing import Gpu, Stopwatch, timing
from benchmarks.peers import Call
from benchmarks.registry import Case
from benchmarks.results_file import GpuRow
from benchmarks.timing import Timing
from benchmarks.verify import verify
from benchmarks.volumes import Volumes, brain
from dal_fast.ops._dispatch import why_not

HEADINGS = (
    "work",
    "contender",
    "µs a volume",
    "p20 to p80",
    "× ours",
    "goal",
    "× floor",
    "peak MB",
)


def report(
    cases: Sequence[Case],
    shape: tuple[int, int, int],
    repeats: int,
    folder: Path,
    console: Console,
    watch: Stopwatch,
    device: str = "cuda",
) -> int:
    """Run ``cases``, print the table, write the CSV into ``folder``; the exit code."""
    gpu = Gpu.measure(watch, device)
    one = brain(shape)
    batch = 1 + 2 * watch.cache_bytes // one.scan.nbytes
    volumes, common = one.batched(batch, device), results_file.gpu_provenance(watch.name)
    size = "×".join(map(str, shape))
    bandwidth, rate = gpu.bytes_per_ms / 1e9, gpu.flops_per_ms / 1e9
    table = Table(
        title=f"{watch.name}: {batch} volumes of {size} float32, cold cache; "
        f"copy {bandwidth:.2f} TB/s, {rate:.0f} TFLOP/s float32"
    )
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading in HEADINGS[:2] else "right")
    rows: list[GpuRow] = []
    refused = []
    for case in cases:
        console.print(f"{case.op}: {case.name} …", style="dim")
        try:
            calls = _ours(case, volumes, device)
        except Exception as error:  # whatever is wrong with it, it gets no number
            refused.append(f"{case.name}: {type(error).__name__}: {error}")
            table.add_row(case.name, "refused: its result is wrong, see below", style="red")
            continue
        floor = gpu.floor_ms(case.bytes * one.scan.numel(), case.flops * one.scan.numel())
        found = _measured(calls, case, volumes, repeats, watch)
        new = _rows(case, found, 1e3 * floor, size, batch, common)
        rows += new
        _show(table, case, found, new)
    console.print(table)
    for line in refused:
        console.print(line, style="red", markup=False)
    if rows:
        console.print(f"written: {results_file.write(rows, folder, watch.name)}")
    return 1 if refused else 0


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
    calls: dict[str, Call], case: Case, volumes: Volumes, repeats: int, watch: Stopwatch
) -> dict[str, tuple[Timing, float] | str]:
    """By contender: timing of the batch and peak MB, or why there is none."""
    found: dict[str, tuple[Timing, float] | str] = {}
    waiting = {**{name: (lambda _, c=call: c) for name, call in calls.items()}, **case.gpu_peers}
    for name, prepare in waiting.items():
        try:
            call = prepare(volumes)
            found[name] = timing(watch, call, repeats), watch.peak_mb(call)
        except ImportError:
            found[name] = "not installed"
        except Exception as error:  # a peer may fail in any way; the table says how
            found[name] = f"failed: {type(error).__name__}: {str(error).splitlines()[0][:80]}"
    return found


def _rows(
    case: Case,
    found: dict[str, tuple[Timing, float] | str],
    floor: float,
    size: str,
    batch: int,
    common: dict[str, str],
) -> list[GpuRow]:
    timed = {name: result for name, result in found.items() if not isinstance(result, str)}
    ours = next((t.median for name, (t, _) in timed.items() if name.startswith("dal_fast")), 0.0)
    each = 1e3 / batch
    return [
        GpuRow(
            case.op, case.name, size, "float32", batch, name, t.median * each, t.p20 * each,
            t.p80 * each, t.repeats, t.median / ours if ours else 0.0,
            "" if case.gpu_goal is None else f"{case.gpu_goal:g}", floor, peak, **common,
        )
        for name, (t, peak) in timed.items()
    ]  # fmt: skip


def _show(
    table: Table, case: Case, found: dict[str, tuple[Timing, float] | str], rows: list[GpuRow]
) -> None:
    by_name = {row.contender: row for row in rows}
    for i, (name, result) in enumerate(found.items()):
        label = case.name if i == 0 else ""
        if isinstance(result, str):
            table.add_row(label, name, result)
            continue
        row = by_name[name]
        goal = f"≤ {row.goal_us}" if i == 0 and row.goal_us else ""
        table.add_row(
            label, name, f"{row.median_us:.1f}", f"{row.p20_us:.1f} to {row.p80_us:.1f}",
            f"{row.ratio:.2f}" if i else "", goal, f"{row.median_us / row.floor_us:.1f}",
            f"{row.peak_mb:.0f}",
        )  # fmt: skip
    table.add_section()
