"""Samples made ahead by threads, so that a GPU's step does not wait for synthesis.

Drawing a sample asks the device for values many times: where a lesion lies, how large its box is.
Each thread has a stream of its own and waits for that stream alone. A sample is a function of its
step, so the threads change nothing about what is learned.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator

from dal_fast.training.config import TrainConfig
from dal_fast.training.loop import Batches, difficulty

THREADS = 4


@dataclass(frozen=True)
class _Made:
    """A sample, and on a GPU the event after which it may be used."""

    sample: Any
    ready: Any


class Ahead:
    """In the place of ``samples``: the batches of the next steps are made by threads.

    Args:
        samples: that are drawn.
        config: of the training.
        threads: that draw them; so many batches, and one, are made ahead.
    """

    def __init__(self, samples: Batches, config: TrainConfig, threads: int = THREADS) -> None:
        self._samples, self._ahead = samples, threads + 1
        self._difficulty = [
            difficulty(stage, step) for stage in config.stages for step in range(stage.steps)
        ]
        self._pool = ThreadPoolExecutor(threads, "samples")
        self._own = threading.local()
        self._waiting: dict[int, Future[_Made]] = {}
        self._next = 0

    def batch(
        self, step: int, difficulty: float, device: torch.device, rank: int = 0, world: int = 1
    ) -> Any:
        """As of :class:`~dal_fast.training.samples.Samples`; steps are asked for in order."""
        assert difficulty == self._difficulty[step]
        self._next = max(self._next, step)
        while self._next < min(step + self._ahead, len(self._difficulty)):
            made = self._pool.submit(self._make, self._next, device, rank, world)
            self._waiting[self._next] = made
            self._next += 1
        one = self._waiting.pop(step).result()
        if one.ready is not None:
            stream = torch.cuda.current_stream(device)
            stream.wait_event(one.ready)
            for volume in vars(one.sample).values():
                if volume is not None:
                    volume.record_stream(stream)
        return one.sample

    def step_generator(self, step: int, device: torch.device, rank: int) -> Generator:
        """As of :class:`~dal_fast.training.samples.Samples`."""
        return self._samples.step_generator(step, device, rank)

    def close(self) -> None:
        """Give up what was made ahead, and wait for the threads."""
        self._pool.shutdown(cancel_futures=True)

    def _make(self, step: int, device: torch.device, rank: int, world: int) -> _Made:
        def draw() -> Any:
            return self._samples.batch(step, self._difficulty[step], device, rank, world)

        if device.type != "cuda":
            return _Made(draw(), None)
        if not hasattr(self._own, "stream"):
            self._own.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        with torch.cuda.device(device), torch.cuda.stream(self._own.stream):
            sample = draw()
            ready: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]
            ready.record()
            return _Made(sample, ready)
