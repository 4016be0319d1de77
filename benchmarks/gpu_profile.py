"""Runs the stages of the chain and the cases that have a goal once, for a profiler to look at.

    ncu --profile-from-start off --clock-control none --section SpeedOfLight --section Occupancy \\
        python -m benchmarks.gpu_profile [--batch 4]

Everything is loaded and warmed up before the profiler is switched on, so that it sees the kernels
of one call of each case alone, in the order of the cases. A profiler that runs out of time has seen
the stages, which no other benchmark times one by one, first.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import torch

from benchmarks.peers import Call
from benchmarks.registry import CASES
from benchmarks.volumes import Volumes, brain
from dal_fast.models.blocks import SLOPE
from dal_fast.ops import _gpu_stages as gpu
from dal_fast.ops import tfce3d
from dal_fast.ops._row_medians import row_medians

SIDES = (160, 192, 160)


def stages(v: Volumes) -> dict[str, Call]:
    """The kernels of the device's chain that are no ops of their own, by name."""
    x, phi, mask = v.scan, v.healthy, v.mask
    smoothed = torch.ones(len(x), dtype=torch.bool, device=x.device)
    first = torch.randn(len(x), 8, *x.shape[2:], device=x.device)
    half = first.bfloat16().contiguous(memory_format=torch.channels_last_3d)
    gain = torch.ones(8, device=x.device)
    return {
        "highest nearby": lambda: gpu.highest_nearby(phi, mask),
        "box mean": lambda: gpu.box_mean(x, 1),
        "box mean, 3 apart": lambda: gpu.box_mean(x, 3),
        "signed residual": lambda: gpu.signed_residual(x, phi, phi, mask, phi, 1.0, phi, 0.25),
        "cluster heights": lambda: gpu.cluster_heights(x, phi, phi, phi, smoothed, 0.3),
        "norm, float32": lambda: gpu.instance_norm(first, gain, gain, 1e-5, SLOPE),
        "norm, bfloat16": lambda: gpu.instance_norm(half, gain, gain, 1e-5, SLOPE),
        "medians": lambda: row_medians(x.flatten(1)),
        "clusters": lambda: tfce3d(v.anomaly, mask),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_profile", description=__doc__)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--backend", choices=["cuda", "triton"], default="cuda")
    parser.add_argument("--sides", type=int, nargs=3, default=SIDES)
    options = parser.parse_args(arguments)
    depth, height, width = options.sides
    volumes = brain((depth, height, width)).batched(options.batch, "cuda")
    calls = stages(volumes) if options.backend == "cuda" else {}
    for case in CASES:
        if case.gpu_goal is not None:
            calls[case.name] = case.ours(volumes, options.backend)
    for call in calls.values():
        call()
    torch.cuda.synchronize()
    torch.cuda.cudart().cudaProfilerStart()
    for name, call in calls.items():
        print(name, flush=True)
        call()
        torch.cuda.synchronize()
    torch.cuda.cudart().cudaProfilerStop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
