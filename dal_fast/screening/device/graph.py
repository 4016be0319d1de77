"""One CUDA graph a bucket: hundreds of small launches become one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dal_fast.screening.device.chain import Outputs
from dal_fast.screening.device.plan import Bucket, Inputs

MOST = 8  # graphs that are kept, each with memory of its own


@dataclass(frozen=True, eq=False)
class _Recorded:
    graph: Any
    inputs: Inputs
    outputs: Outputs


class Graphs:
    """Runs the chain by replaying it.

    Args:
        chain: the function that is recorded.
    """

    def __init__(self, chain: Callable[[Bucket, Inputs], Outputs]) -> None:
        self._chain = chain
        self._recorded: OrderedDict[tuple[Bucket, int], _Recorded] = OrderedDict()

    def run(self, bucket: Bucket, inputs: Inputs) -> Outputs:
        """Outputs that hold until the next run of the same bucket and number of scans.

        The first run launches the chain kernel by kernel, to load and choose algorithms, and then
        records it.
        """
        key = bucket, len(inputs.scan)
        recorded = self._recorded.get(key)
        if recorded is None:
            recorded = self._record(bucket, inputs)
            self._recorded[key] = recorded
            if len(self._recorded) > MOST:
                self._recorded.popitem(last=False)
        self._recorded.move_to_end(key)
        for held, given in zip(leaves(recorded.inputs), leaves(inputs), strict=True):
            held.copy_(given, non_blocking=True)
        recorded.graph.replay()
        return recorded.outputs

    def _record(self, bucket: Bucket, inputs: Inputs) -> _Recorded:
        side: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self._chain(bucket, inputs)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # other threads may ask for pinned memory meanwhile, which would spoil a global capture
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            outputs = self._chain(bucket, inputs)
        return _Recorded(graph, inputs, outputs)


def leaves(parts: Any) -> list[Tensor]:
    """The tensors of nested tuples, in order."""
    if isinstance(parts, Tensor):
        return [parts]
    return [leaf for part in parts for leaf in leaves(part)]
