"""Verify, time and report: ``python -m benchmarks.run [--ops canny3d,median3d] [--quick]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import gpu_run, results_file
from benchmarks.gpu_timing import Stopwatch
from benchmarks.peers import Call
from benchmarks.registry import CASES, Case
from benchmarks.results_file import Row, machine_name
from benchmarks.timing import Machine, Timing, interleaved
from benchmarks.verify import verify
from benchmarks.volumes import Volumes, brain
from dal_fast.context import _C
from dal_fast.ops._dispatch import why_not

OURS = "dal_fast"
FULL, QUICK = (160, 192, 160), (96, 96, 96)
BUDGET = 20.0  # seconds for one contender in one case


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 0 when every chosen op was right and timed, 1 when one was refused."""
    names = sorted({case.op for case in CASES})
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--ops", default=",".join(names), help=f"of {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} instead of {FULL} voxels")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    wanted = options.ops.split(",")
    unknown = sorted(set(wanted) - set(names))
    if unknown:
        parser.error(f"no such op: {', '.join(unknown)}; there are {', '.join(names)}")
    if options.repeats < 1 or options.threads < 1:
        parser.error("--repeats and --threads must be at least 1")
    chosen = [case for case in CASES if case.op in wanted]
    shape = QUICK if options.quick else FULL
    set_threads(options.threads)
    if options.device == "cuda":
        return _on_gpu(chosen, shape, options.repeats, parser)
    return report(chosen, shape, options.repeats, results_file.FOLDER, Console())


def _on_gpu(
    cases: Sequence[Case],
    shape: tuple[int, int, int],
    repeats: int,
    parser: argparse.ArgumentParser,
) -> int:
    obstacle = why_not("cuda", torch.device("cuda"))
    if obstacle:
        parser.error(f"--device cuda: {obstacle}")
    return gpu_run.report(cases, shape, repeats, results_file.FOLDER, Console(), Stopwatch())


def set_threads(threads: int) -> None:
    """For torch, our kernels (which follow torch) and SimpleITK."""
    torch.set_num_threads(threads)
    try:
        import SimpleITK as sitk
    except ImportError:
        return
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


def report(
    cases: Sequence[Case],
    shape: tuple[int, int, int],
    repeats: int,
    folder: Path,
    console: Console,
) -> int:
    """Run ``cases``, print the table, write the CSV into ``folder``; the exit code."""
    machine, common, volumes = Machine.measure(), results_file.provenance(), brain(shape)
    size = "×".join(map(str, shape))
    table = Table(title=f"{common['machine']}, {common['isa']}; {size} float32, milliseconds")
    for heading in ("work", "contender", "median", "p20 to p80", "× ours", "goal", "× floor"):
        table.add_column(heading, justify="left" if heading in ("work", "contender") else "right")
    rows, refused = [], []
    for case in cases:
        console.print(f"{case.op}: {case.name} …", style="dim")
        try:
            for name in case.covers:
                verify(name)
            results = measure(case, volumes, repeats)
        except Exception as error:  # whatever is wrong with it, it gets no number
            refused.append(f"{case.name}: {type(error).__name__}: {error}")
            table.add_row(case.name, "refused: its result is wrong, see below", style="red")
            continue
        voxels = volumes.scan.numel()
        floor = machine.floor_ms(case.bytes * voxels, case.flops * voxels)
        rows += rows_of(case, results, floor, size, common)
        _show(table, case, results, floor)
    console.print(table)
    for line in refused:
        console.print(line, style="red", markup=False)
    if rows:
        console.print(f"written: {results_file.write(rows, folder, machine_name())}")
    return 1 if refused else 0


def measure(case: Case, volumes: Volumes, repeats: int) -> dict[str, Timing | str]:
    """Ours first, then the peers; a string says why there is no time."""
    calls: dict[str, Call] = {OURS: case.ours(volumes, "auto")}
    absent: dict[str, Timing | str] = {}
    for name, prepare in case.peers.items():
        try:
            calls[name] = prepare(volumes)
        except ImportError:
            absent[name] = "not installed"
    results = interleaved(calls, repeats, BUDGET)
    if isinstance(results[OURS], str):
        raise RuntimeError(results[OURS])
    return {name: (results | absent)[name] for name in (OURS, *case.peers)}


def rows_of(
    case: Case,
    results: Mapping[str, Timing | str],
    floor: float,
    size: str,
    common: dict[str, str | int],
) -> list[Row]:
    """A row for every contender that was timed; ours is among them."""
    ours = _timing(results[OURS])
    return [
        Row(
            case.op, case.name, size, "float32", name, t.median, t.p20, t.p80, t.repeats,
            t.median / ours.median, _goal(case, name, str(common["isa"])), floor, **common,  # type: ignore[arg-type]
        )
        for name, t in results.items()
        if isinstance(t, Timing)
    ]  # fmt: skip


def _show(table: Table, case: Case, results: dict[str, Timing | str], floor: float) -> None:
    ours = _timing(results[OURS])
    for name, t in results.items():
        label = case.name if name == OURS else ""
        if isinstance(t, str):
            table.add_row(label, name, t)
            continue
        goal, ratio = _goal(case, name, _C.current_isa()), t.median / ours.median
        colour = "green" if goal and ratio >= float(goal) else "red"
        table.add_row(
            label,
            name,
            f"{t.median:.2f}",
            f"{t.p20:.2f} to {t.p80:.2f}",
            f"{ratio:.2f}" if name != OURS else "",
            f"[{colour}]≥ {goal}[/]" if goal else "",
            f"{t.median / floor:.1f}",
        )
    table.add_section()


def _timing(result: Timing | str) -> Timing:
    assert isinstance(result, Timing)
    return result


def _goal(case: Case, contender: str, isa: str) -> str:
    """The ratio to reach against ``contender`` with the instruction set ``isa``, or nothing."""
    if case.goal is None or case.goal.peer != contender:
        return ""
    ratio = case.goal.ratio(isa)
    return "" if ratio is None else f"{ratio:g}"


if __name__ == "__main__":
    sys.exit(main())
