"""Times calls on a GPU with events, from a cold L2 cache, and what the GPU can do at best."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from benchmarks.peers import Call
from benchmarks.timing import Timing

MB = 2**20
_UNKNOWN_L2 = 128 * MB  # more than any GPU of today has


class Stopwatch:
    """Milliseconds and peak memory of calls on the current CUDA device."""

    def __init__(self) -> None:
        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        self.name, self.cache_bytes = properties.name, getattr(properties, "L2_cache_size", 0)
        self.cache_bytes = self.cache_bytes or _UNKNOWN_L2
        self._sweep = torch.empty(2 * self.cache_bytes, dtype=torch.uint8, device="cuda")

    def milliseconds(self, call: Call) -> float:
        """One call between two events. Before it the cache is swept; that also lets the host run
        ahead, so that the time between kernels is the GPU's own."""
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self._sweep.zero_()
        start.record()
        call()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end))

    def peak_mb(self, call: Call) -> float:
        """Memory that the call holds beyond what was there before."""
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / MB


@dataclass(frozen=True)
class Gpu:
    """Measured: bytes per ms copied (read + written), float32 FLOP per ms."""

    bytes_per_ms: float
    flops_per_ms: float

    @classmethod
    def measure(cls, watch: Stopwatch, device: str) -> Gpu:
        """The best of ten copies of 1 GB and of ten float32 products of 8192² matrices."""
        source = torch.ones(2**28, device=device)
        target = torch.empty_like(source)
        copy = min(watch.milliseconds(lambda: target.copy_(source)) for _ in range(10))
        allowed = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = False
        matrix = torch.ones(8192, 8192, device=device)
        product = min(watch.milliseconds(lambda: matrix @ matrix) for _ in range(10))
        torch.backends.cuda.matmul.allow_tf32 = allowed
        return cls(2 * source.nbytes / copy, 2 * 8192**3 / product)

    def floor_ms(self, traffic: int, flops: int) -> float:
        """The longer of moving ``traffic`` bytes and computing ``flops``."""
        return max(traffic / self.bytes_per_ms, flops / self.flops_per_ms)


def timing(watch: Stopwatch, call: Call, repeats: int) -> Timing:
    """Three calls to warm up (compilation included), then ``repeats`` measured ones."""
    for _ in range(3):
        watch.milliseconds(call)
    samples = torch.tensor([watch.milliseconds(call) for _ in range(repeats)])
    low, middle, high = samples.quantile(torch.tensor([0.2, 0.5, 0.8])).tolist()
    return Timing(middle, low, high, repeats)
