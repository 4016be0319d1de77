"""Times several calls side by side, and what the machine could do at best."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass

import torch

from benchmarks.peers import Call


@dataclass(frozen=True)
class Timing:
    """Milliseconds over ``repeats`` calls."""

    median: float
    p20: float
    p80: float
    repeats: int


def timed(call: Call) -> float:
    """Milliseconds of one call."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def interleaved(calls: dict[str, Call], repeats: int, budget: float) -> dict[str, Timing | str]:
    """Round after round, every call once, so that a busy moment of the machine hits all alike.

    The first, untimed round warms up and says how often a slow call fits into ``budget`` seconds
    (at least once). The volumes of the others push each call's data out of the cache.

    Returns:
        By name: the timing, or why the call failed.
    """
    results: dict[str, Timing | str] = {}
    rounds: dict[str, int] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a peer's deprecations are not ours to report
        for name, call in calls.items():
            try:
                rounds[name] = max(1, min(repeats, int(budget * 1e3 / max(timed(call), 1e-3))))
            except Exception as error:  # a peer may fail in any way; the table says how
                results[name] = f"failed: {type(error).__name__}: {error}"
        times: dict[str, list[float]] = {name: [] for name in rounds}
        for i in range(repeats):
            for name in rounds:
                if i < rounds[name]:
                    times[name].append(timed(calls[name]))
    for name, samples in times.items():
        low, middle, high = torch.tensor(samples).quantile(torch.tensor([0.2, 0.5, 0.8])).tolist()
        results[name] = Timing(middle, low, high, len(samples))
    return results


@dataclass(frozen=True)
class Machine:
    """Measured with torch's threads: bytes per ms copied (read + written), float32 FLOP per ms."""

    bytes_per_ms: float
    flops_per_ms: float

    @classmethod
    def measure(cls) -> Machine:
        """The best of five copies of 64 MB and of five products of 1024² matrices."""
        source, target = torch.ones(1 << 24), torch.empty(1 << 24)
        copy = min(timed(lambda: target.copy_(source)) for _ in range(5))
        matrix = torch.ones(1024, 1024)
        product = min(timed(lambda: matrix @ matrix) for _ in range(5))
        return cls(2 * source.nbytes / copy, 2 * 1024**3 / product)

    def floor_ms(self, traffic: int, flops: int) -> float:
        """The longer of moving ``traffic`` bytes and computing ``flops``."""
        return max(traffic / self.bytes_per_ms, flops / self.flops_per_ms)
