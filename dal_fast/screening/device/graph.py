"""One CUDA graph a bucket: hundreds of small launches become one."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dal_fast.screening.device.chain import Outputs
from dal_fast.screening.device.plan import Bucket, Inputs

MOST = 8  # graphs that are kept, each with memory of its own
Chain = Callable[[Bucket, Inputs], Outputs]

_launching = threading.Lock()
"""Of the process: torch's allocator takes one recording at a time, and frees nothing meanwhile; the
precision of convolutions, which the chain sets, is the process's, too."""


@dataclass(frozen=True, eq=False)
class _Recorded:
    graph: Any
    inputs: Inputs
    outputs: Outputs


class Graphs:
    """Runs the chain by replaying it, from the second time on that a bucket comes.

    To record costs another run and as much memory as the chain takes. Scans whose bucket does not
    come again, such as those of a study with a field of view for each, are launched kernel by
    kernel.
    """

    def __init__(self) -> None:
        self._seen: set[tuple[Bucket, int]] = set()
        self._recorded: OrderedDict[tuple[Bucket, int], _Recorded] = OrderedDict()
        self._side: Any = None

    def run(self, chain: Chain, bucket: Bucket, inputs: Inputs) -> Outputs:
        """Outputs that hold until the next run of the same bucket and number of scans.

        Args:
            chain: that is run; the same for every call.
            bucket: of the scans.
            inputs: of them, on a GPU.
        """
        key = bucket, len(inputs.scan)
        if key not in self._seen:
            self._seen.add(key)
            return self._with_room(chain, bucket, inputs)
        if key not in self._recorded:
            self._recorded[key] = self._with_room(self._record, chain, bucket, inputs)
            if len(self._recorded) > MOST:
                self._recorded.popitem(last=False)
        self._recorded.move_to_end(key)
        recorded = self._recorded[key]
        for held, given in zip(leaves(recorded.inputs), leaves(inputs), strict=True):
            held.copy_(given, non_blocking=True)
        recorded.graph.replay()
        return recorded.outputs

    def _with_room(self, launch: Callable[..., Any], *arguments: Any) -> Any:
        """What ``launch`` returns; where memory does not suffice, the graphs give theirs back."""
        with _launching:
            try:
                return launch(*arguments)
            except torch.OutOfMemoryError:
                if not self._recorded:
                    raise
            torch.cuda.synchronize()  # they may be running
            self._recorded.clear()
            torch.cuda.empty_cache()
            return launch(*arguments)

    def _record(self, chain: Chain, bucket: Bucket, inputs: Inputs) -> _Recorded:
        """Launches the chain kernel by kernel, to load and choose algorithms, and records it."""
        if self._side is None:
            self._side = torch.cuda.Stream(inputs.scan.device)  # type: ignore[no-untyped-call]
        side, computing = self._side, torch.cuda.current_stream(inputs.scan.device)
        side.wait_stream(computing)
        with torch.cuda.stream(side):
            chain(bucket, inputs)
        computing.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # on a stream of this GPU: torch's own belongs to whichever was the current one at first;
        # other threads may ask for pinned memory meanwhile, which would spoil a global capture
        with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
            outputs = chain(bucket, inputs)
        return _Recorded(graph, inputs, outputs)


def leaves(parts: Any) -> list[Tensor]:
    """The tensors of nested tuples, in order."""
    if isinstance(parts, Tensor):
        return [parts]
    return [leaf for part in parts for leaf in leaves(part)]
