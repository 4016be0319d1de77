"""What a whole head costs: seconds of the extraction and of the chain, and peak memory.

    python -m benchmarks.head_time head_T1w.nii.gz [--runs 15] [--threads 2]

The head is cut or padded to 176 x 256 x 256 voxels (right, anterior, superior) of the file's own
size: 1 mm, for the numbers of ``dal_fast/weights/brain.md``. Seconds are medians of the compiled
chain, wall clock and CPU; peak memory is that of one ``dal-fast`` process.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import nibabel
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from dal_fast import context
from dal_fast.imaging.nifti import read_volume
from dal_fast.screening.chain import open_chain
from dal_fast.screening.compiled import CompiledScreener
from dal_fast.screening.scan import load_scan_or_head
from dal_fast.screening.settings import Settings

SIDES = (176, 256, 256)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.head_time", description=__doc__)
    parser.add_argument("head", type=Path, help="a whole head, 1 mm")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / options.head.name
        image = nibabel.as_closest_canonical(nibabel.load(options.head))  # type: ignore
        nibabel.save(fitted(image), path)  # type: ignore[attr-defined]
        del image  # a process that starts counts what this one holds
        commands = ("strip", "screen")
        peaks = [(f"dal-fast {what}", peak(what, path, Path(folder) / what)) for what in commands]
        with context.use(threads=options.threads):
            rows = timed(path, options.runs)
    table = Table("", "seconds", "CPU seconds", title=f"{options.threads} threads")
    for name, wall, cpu in rows:
        table.add_row(name, f"{wall:.3f}", f"{cpu:.3f}")
    console = Console()
    console.print(table)
    for name, mib in peaks:
        console.print(f"{name}: {mib:.0f} MiB at peak")
    return 0


def fitted(image: nibabel.Nifti1Image) -> nibabel.Nifti1Image:
    """A head on :data:`SIDES` voxels around its middle, 0 beyond its field of view."""
    data: NDArray[np.float32] = np.asanyarray(image.dataobj).astype(np.float32)
    for axis, wanted in enumerate(SIDES):
        size = data.shape[axis]
        first = max(0, (size - wanted) // 2)
        data = data.take(range(first, min(size, first + wanted)), axis)
        missing = wanted - data.shape[axis]
        pads = [(missing // 2, missing - missing // 2) if a == axis else (0, 0) for a in range(3)]
        data = np.pad(data, pads)
    return nibabel.Nifti1Image(data, image.affine)  # type: ignore[no-untyped-call]


def timed(path: Path, runs: int) -> list[tuple[str, float, float]]:
    """Name, seconds and CPU seconds of the extraction and of the chain."""
    screener = CompiledScreener(Settings(brain="strip"), open_chain())
    volume = read_volume(path)
    head = load_scan_or_head(path, brain="strip")
    steps: tuple[tuple[str, Callable[[], object]], ...] = (
        ("extraction", lambda: screener.chain.extract(volume)),
        ("extraction and map", lambda: screener.screen_scan(head)),
        ("from the file to the map",
         lambda: screener.screen_scan(load_scan_or_head(path, brain="strip"))),
    )  # fmt: skip
    rows = []
    for name, step in steps:
        step()
        spent = []
        for _ in range(runs):
            start = time.perf_counter(), time.process_time()
            step()
            spent.append((time.perf_counter() - start[0], time.process_time() - start[1]))
        rows.append((name, median(s[0] for s in spent), median(s[1] for s in spent)))
    return rows


def peak(what: str, path: Path, out: Path) -> float:
    """MiB at peak of one process of the command."""
    command = [sys.executable, "-m", "dal_fast.cli", what, str(path), str(out), "--brain", "strip"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return usage.ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
