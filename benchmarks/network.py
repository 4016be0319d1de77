"""E_A through our OpenVINO runtime, and through OpenVINO's own benchmark of the exported network.

    python -m benchmarks.network [--sides 80 96 80] [--seconds 10]

Both with one request at a time, the same threads and precision; ours counts from and to tensors.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import torch

from dal_fast.models.weights import load_weights
from dal_fast.screening.export import export
from dal_fast.screening.runtimes import make_runtime

THREADS, ROUNDS = 2, 3


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.network", description=__doc__)
    parser.add_argument("--sides", type=int, nargs=3, default=[80, 96, 80])
    parser.add_argument("--seconds", type=float, default=10.0, help="of every measurement")
    options = parser.parse_args(arguments)
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as folder:
        export("default", Path(folder) / "out", "openvino")
        network = Path(folder) / "out" / "tissue" / "network.xml"
        for turn in range(ROUNDS):
            theirs = benchmark_app(network, options.sides, options.seconds)
            ours = our_runtime(options.sides, options.seconds)
            print(
                f"{turn + 1}: benchmark_app {theirs:.1f} ms, ours {ours:.1f} ms, "
                f"{ours / theirs:.3f} times as long"
            )
    return 0


def benchmark_app(network: Path, sides: Sequence[int], seconds: float) -> float:
    """Median latency in milliseconds."""
    words = [
        "benchmark_app", "-m", str(network), "-d", "CPU", "-api", "sync", "-hint", "none",
        "-nstreams", "1", "-pin", "NO",
        "-nthreads", str(THREADS), "-infer_precision", "f32", "-t", str(round(seconds)),
        "-data_shape", f"[1,1,{sides[0]},{sides[1]},{sides[2]}]",
    ]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    found = re.search(r"Median:\s+([\d.]+) ms", done.stdout)
    if found is None:
        raise SystemExit(f"benchmark_app failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return float(found[1])


def our_runtime(sides: Sequence[int], seconds: float) -> float:
    runtime = make_runtime("openvino", load_weights(), "cpu")
    x = torch.rand((1, 1, *sides), generator=torch.Generator().manual_seed(0))
    took: list[float] = []
    with torch.inference_mode():
        runtime.model.tissue(x)  # type: ignore[attr-defined]
        while sum(took) < 1000 * seconds:
            start = time.perf_counter()
            runtime.model.tissue(x)  # type: ignore[attr-defined]
            took.append(1000 * (time.perf_counter() - start))
    return median(took)


if __name__ == "__main__":
    sys.exit(main())
