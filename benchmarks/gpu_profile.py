"""Runs the cases that have a goal on a GPU once, for a profiler to look at.

    ncu --profile-from-start off --clock-control none --section SpeedOfLight --section Occupancy \\
        python -m benchmarks.gpu_profile [--batch 4]

Everything is loaded and warmed up before the profiler is switched on, so that it sees the kernels
of one call of each case alone, in the order of the cases.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import torch

from benchmarks.registry import CASES
from benchmarks.volumes import brain

SIDES = (160, 192, 160)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_profile", description=__doc__)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--backend", choices=["cuda", "triton"], default="cuda")
    parser.add_argument("--sides", type=int, nargs=3, default=SIDES)
    options = parser.parse_args(arguments)
    depth, height, width = options.sides
    volumes = brain((depth, height, width)).batched(options.batch, "cuda")
    cases = [case for case in CASES if case.gpu_goal is not None]
    calls = [case.ours(volumes, options.backend) for case in cases]
    for call in calls:
        call()
    torch.cuda.synchronize()
    torch.cuda.cudart().cudaProfilerStart()
    for case, call in zip(cases, calls, strict=True):
        print(case.name, flush=True)
        call()
        torch.cuda.synchronize()
    torch.cuda.cudart().cudaProfilerStop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
