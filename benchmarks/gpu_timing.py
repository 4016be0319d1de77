"""Times calls on a GPU with events, from a cold L2 cache, and what the GPU can do at best.

:class:`HostStopwatch` stands in where there is no GPU, so that everything else can be rehearsed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from benchmarks.peers import Call
from benchmarks.timing import Timing, timed

MB = 2**20
_UNKNOWN_L2 = 128 * MB  # more than any GPU of today has
_SLOW = 3000.0  # ms; what takes longer in all is repeated less often, three times at least


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

    def pinned_blocks(self) -> int:
        """Blocks of pinned memory that CUDA has been asked for since the program began."""
        return int(torch.cuda.host_memory_stats()["num_host_alloc"])


class HostStopwatch:
    """Milliseconds of calls on the CPU, for rehearsals; memory is not measured."""

    name, cache_bytes = "rehearsal", 2**16

    def milliseconds(self, call: Call) -> float:
        return timed(call)

    def peak_mb(self, call: Call) -> float:
        call()
        return 0.0

    def pinned_blocks(self) -> int:
        return 0


AnyStopwatch = Stopwatch | HostStopwatch


@dataclass(frozen=True)
class Gpu:
    """Measured: bytes per ms copied (read + written), float32 FLOP per ms."""

    bytes_per_ms: float
    flops_per_ms: float

    @classmethod
    def measure(cls, watch: AnyStopwatch, device: str) -> Gpu:
        """The best of ten copies of 1 GB and of ten float32 products of 8192² matrices; on a CPU
        of a few MB and 512²."""
        words, side = (2**22, 512) if device == "cpu" else (2**28, 8192)
        source = torch.ones(words, device=device)
        target = torch.empty_like(source)
        copy = min(watch.milliseconds(lambda: target.copy_(source)) for _ in range(10))
        allowed = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = False
        matrix = torch.ones(side, side, device=device)
        product = min(watch.milliseconds(lambda: matrix @ matrix) for _ in range(10))
        torch.backends.cuda.matmul.allow_tf32 = allowed
        return cls(2 * source.nbytes / copy, 2 * side**3 / product)

    def roofline_ms(self, traffic: int, flops: int) -> tuple[float, str]:
        """The longer of moving ``traffic`` bytes and computing ``flops``, and which it is."""
        moving, computing = traffic / self.bytes_per_ms, flops / self.flops_per_ms
        return max(moving, computing), "bytes" if moving >= computing else "FLOP"


def timing(watch: AnyStopwatch, call: Call, repeats: int) -> Timing:
    """Three calls to warm up (compilation included), then ``repeats`` measured ones, or fewer of
    a slow call."""
    last = [watch.milliseconds(call) for _ in range(3)][-1]
    repeats = min(repeats, max(3, int(_SLOW / max(last, 1e-3))))
    samples = torch.tensor([watch.milliseconds(call) for _ in range(repeats)])
    low, middle, high = samples.quantile(torch.tensor([0.2, 0.5, 0.8])).tolist()
    return Timing(middle, low, high, repeats)
