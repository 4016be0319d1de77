"""Where the time goes, kernel by kernel: in the cases that have a goal and the chain's stages.

    python -m benchmarks.gpu_profile times                  # microseconds a volume of every kernel
    ncu --profile-from-start off --clock-control none --section SpeedOfLight --section Occupancy \\
        python -m benchmarks.gpu_profile goals              # counters of the cases that have a goal
    ncu ... python -m benchmarks.gpu_profile stages         # and of the stages

``times`` is torch's own profiler: it takes seconds, and prints each case as soon as it is known.
ncu repeats each kernel for every few counters and prints when the program has ended, so goals and
stages are apart, and the clusters, which launch hundreds of kernels, are in ``times`` alone.
Everything is loaded and warmed up before a profiler is switched on. ``--device cpu`` rehearses
``times`` where there is no GPU, with operators in place of kernels.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.peers import Call
from benchmarks.registry import CASES
from benchmarks.volumes import Volumes, brain
from dal_fast.models.blocks import SLOPE
from dal_fast.ops import _gpu_stages as gpu
from dal_fast.ops import tfce3d
from dal_fast.ops._row_medians import row_medians

SIDES = (160, 192, 160)
BATCH = 6  # volumes; more than the second-level cache holds
REPEATS = 10
SHOWN = 8  # kernels of a call


def goals(v: Volumes, device: str) -> dict[str, Call]:
    """The cases that have a goal, by name."""
    return {case.name: case.ours(v, device) for case in CASES if case.gpu_goal is not None}


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
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_profile", description=__doc__)
    parser.add_argument("what", choices=["times", "goals", "stages"])
    parser.add_argument("--sides", type=int, nargs=3, default=SIDES)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    options = parser.parse_args(arguments)
    depth, height, width = options.sides
    volumes = brain((depth, height, width)).batched(BATCH, options.device)
    calls: dict[str, Call] = {}
    if options.what != "stages":
        calls |= goals(volumes, options.device)
    if options.what != "goals" and options.device == "cuda":
        calls |= stages(volumes)
    if options.what == "times":
        calls["clusters"] = lambda: tfce3d(volumes.anomaly, volumes.mask)
        print_times(calls, options.device)
    else:
        show(calls)
    return 0


def print_times(calls: dict[str, Call], device: str) -> None:
    """A table: each call, and below it its longest kernels; means of several calls."""
    print(f"{'µs a volume':>12} {'launches a call':>16}  kernel")
    for name, call in calls.items():
        times = times_by_kernel(call, device)
        everything = [us for found in times.values() for us in found]
        longest = sorted(times.items(), key=lambda one: -sum(one[1]))[:SHOWN]
        for label, found in [(name, everything), *((f"  {k}", us) for k, us in longest)]:
            us, launches = sum(found) / REPEATS / BATCH, len(found) / REPEATS
            print(f"{us:12.1f} {launches:16.1f}  {label}", flush=True)


def times_by_kernel(call: Call, device: str) -> dict[str, list[float]]:
    """Microseconds of every launch in ``REPEATS`` calls, by kernel; of operators on a CPU."""
    call()
    if device == "cuda":
        torch.cuda.synchronize()  # else kernels of this call may be counted, too
    activity = ProfilerActivity.CUDA if device == "cuda" else ProfilerActivity.CPU
    with profile(activities=[activity]) as seen:
        for _ in range(REPEATS):
            call()
        if device == "cuda":
            torch.cuda.synchronize()
    times: dict[str, list[float]] = defaultdict(list)
    for event in seen.events():
        if event.device_type.name == device.upper():
            times[short(event.name)].append(event.time_range.elapsed_us())
    return times


def short(kernel: str) -> str:
    """A kernel's name without its namespaces, result and parameters."""
    kernel = kernel.replace("(anonymous namespace)::", "")
    kernel = re.sub(r"^void |\b(dal|cuda|at|native|cub)::", "", kernel)
    return kernel.split("(")[0].strip()[:80]


def show(calls: dict[str, Call]) -> None:
    """One call of each to the profiler that the program runs under."""
    for call in calls.values():
        call()
    torch.cuda.synchronize()
    torch.cuda.cudart().cudaProfilerStart()
    for name, call in calls.items():
        print(name, flush=True)
        call()
        torch.cuda.synchronize()
    torch.cuda.cudart().cudaProfilerStop()


if __name__ == "__main__":
    sys.exit(main())
