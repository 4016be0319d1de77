"""Instructions of every CPU kernel: ``python -m benchmarks.instructions PROGRAM [--record]``.

Wall time is too noisy to notice a kernel that became a tenth slower; instructions are not.
valgrind's callgrind counts those of one call on a small volume (one thread, AVX2); a count more
than 5 % above the recorded one fails. Counts depend on the compiler, so they are compared with
those of the same one only. ``--record`` writes them after a change that is worth its price.
"""

from __future__ import annotations

import argparse
import csv
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

BASELINE = Path(__file__).parent / "results" / "instructions.csv"
TOLERANCE = 0.05


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 1 when an op needs too many instructions."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument("program", type=Path, help="count_instructions, built by CMake")
    parser.add_argument("--compiler", required=True, help="name and version it was built by")
    parser.add_argument("--record", action="store_true", help=f"write {BASELINE.name}")
    parser.add_argument("--baseline", type=Path, default=BASELINE)
    options = parser.parse_args(arguments)
    if shutil.which("valgrind") is None:
        print("valgrind is not installed: instructions were not counted")
        return 0
    counts = count_all(options.program)
    if options.record:
        write(counts, options.compiler, options.baseline)
        print(f"written: {options.baseline}")
        return 0
    return compare(counts, read(options.baseline, options.compiler), options.compiler)


def count_all(program: Path) -> dict[str, int]:
    """By op."""
    listed = subprocess.run([program], capture_output=True, text=True, check=True)
    return {op: count(program, op) for op in listed.stdout.split()}


def count(program: Path, op: str) -> int:
    """Instructions of one call."""
    words = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    words += ["--toggle-collect=measured", str(program), op]
    run = subprocess.run(words, capture_output=True, text=True)
    found = re.search(r"Collected : (\d+)", run.stderr)
    if run.returncode or not found or found[1] == "0":
        raise RuntimeError(f"{op}: valgrind counted nothing:\n{run.stderr}")
    return int(found[1])


def compare(counts: dict[str, int], before: dict[str, int], compiler: str) -> int:
    """Print every op's count beside the recorded one; the exit code."""
    if not before:
        print(f"no counts are recorded for {compiler}: nothing to compare with")
    worse = []
    for op, now in counts.items():
        old = before.get(op)
        change = "not recorded" if old is None else f"{now / old - 1:+.1%}"
        print(f"{op:16} {now:>12,}  {change}")
        if old is not None and now > old * (1 + TOLERANCE):
            worse.append(op)
    gone = sorted(before.keys() - counts.keys())
    if gone:
        print(f"recorded, but not counted: {', '.join(gone)}")
    if worse:
        print(f"more than {TOLERANCE:.0%} above the recorded count: {', '.join(worse)}")
    return 1 if worse or gone else 0


def read(path: Path, compiler: str) -> dict[str, int]:
    """The recorded counts of ``compiler``."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {r["op"]: int(r["instructions"]) for r in rows if r["compiler"] == compiler}


def write(counts: dict[str, int], compiler: str, path: Path) -> None:
    """Replace the counts of ``compiler``, keep the others'."""
    rows = []
    if path.exists():
        with path.open(newline="") as file:
            rows = [r for r in csv.DictReader(file) if r["compiler"] != compiler]
    rows += [{"op": o, "compiler": compiler, "instructions": str(n)} for o, n in counts.items()]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["op", "compiler", "instructions"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    sys.exit(main())
