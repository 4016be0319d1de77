"""benchmarks/results/<machine>.csv: one row a case, shape and contender."""

from __future__ import annotations

import csv
import datetime
import platform
import re
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch

from dal_fast.context import _C

FOLDER = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Row:
    """``ratio``: this contender's median over ours; above 1 we are faster. Times in ms."""

    op: str
    case: str
    shape: str
    dtype: str
    contender: str
    median_ms: float
    p20_ms: float
    p80_ms: float
    repeats: int
    ratio: float
    goal: str
    floor_ms: float
    isa: str
    threads: int
    machine: str
    torch: str
    commit: str
    date: str


@dataclass(frozen=True)
class GpuRow:
    """Times in µs a volume of the batch; ``ratio`` as in :class:`Row`; ``peak_mb`` of the batch."""

    op: str
    case: str
    shape: str
    dtype: str
    batch: int
    contender: str
    median_us: float
    p20_us: float
    p80_us: float
    repeats: int
    ratio: float
    goal_us: str
    floor_us: float
    peak_mb: float
    gpu: str
    cuda: str
    torch: str
    commit: str
    date: str


def machine_name() -> str:
    """The processor's name and the number of logical processors."""
    try:
        info = Path("/proc/cpuinfo").read_text()
        name = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    except OSError:
        name = None
    return f"{name[1].strip() if name else platform.machine()}, {torch.get_num_threads()} threads"


def slug(name: str) -> str:
    """``name`` as a file name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def provenance() -> dict[str, str | int]:
    """The columns that are the same for every row of a run."""
    return {
        "isa": _C.current_isa(),
        "threads": torch.get_num_threads(),
        "machine": machine_name(),
        "torch": torch.__version__,
        "commit": _commit(),
        "date": datetime.date.today().isoformat(),
    }


def gpu_provenance(name: str) -> dict[str, str]:
    """The columns that are the same for every row of a run on a GPU."""
    return {
        "gpu": name,
        "cuda": str(torch.version.cuda),
        "torch": torch.__version__,
        "commit": _commit(),
        "date": datetime.date.today().isoformat(),
    }


def write(rows: Sequence[Row | GpuRow], folder: Path, machine: str) -> Path:
    """Replace the rows of the same work on the same machine, keep the others."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{slug(machine)}.csv"
    new = {_key(text): text for text in map(_as_text, rows)}
    old = {}
    if path.exists():
        with path.open(newline="") as file:
            old = {_key(row): row for row in csv.DictReader(file)}
    measured = {key[:-1] for key in new}
    kept = {key: row for key, row in old.items() if key[:-1] not in measured}
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(rows[0])], lineterminator="\n")
        writer.writeheader()
        writer.writerows((kept | new).values())
    return path


def _as_text(row: Row | GpuRow) -> dict[str, str]:
    return {k: f"{v:.4g}" if isinstance(v, float) else str(v) for k, v in asdict(row).items()}


def _key(row: dict[str, str]) -> tuple[str, ...]:
    """What was measured; the contender is the last."""
    what = ("op", "case", "shape", "dtype", "isa", "threads", "batch", "contender")
    return tuple(row[k] for k in what if k in row)


def _commit() -> str:
    def git(*words: str) -> str:
        root = Path(__file__).parents[1]
        run = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True)
        return run.stdout.strip() if run.returncode == 0 else ""

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ":!benchmarks/results")
        return (git("rev-parse", "--short", "HEAD") or "unknown") + ("-changed" if changed else "")
    except OSError:
        return "unknown"
