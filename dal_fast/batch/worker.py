"""One worker of a crew: a process that screens the scans it is told to.

    python -m dal_fast.batch.worker

Messages are lines of JSON. It reads its orders, then jobs: ``{"job": 7, "scan": …, "folder": …}``.
It answers with ``{"ready": parameters}`` or ``{"refused": [code, message]}`` once, says when a
stage of a job begins and ends, ``{"job": 7, "stage": "read", "begun": true}``, and ends each one
with ``{"job": 7, "outcome": […], "peak_bytes": …}``. While one scan is computed, the next is read
and the last is written. When its input ends, its crew is gone, and so is it, at once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, TypeVar

from dal_fast.batch.job import STAGES, Job, Outcome, Stages
from dal_fast.errors import DalFastError

A = TypeVar("A")
B = TypeVar("B")


class Post:
    """Sends messages, whole lines from any thread."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def send(self, **message: Any) -> None:
        with self._lock:
            self._stream.write(json.dumps(message) + "\n")
            self._stream.flush()


class Line:
    """The three stages of one worker, each in a thread of its own."""

    def __init__(self, stages: Stages, post: Post) -> None:
        self._stages = stages
        self._post = post
        self._threads = {stage: ThreadPoolExecutor(1, stage) for stage in STAGES}

    def submit(self, number: int, job: Job) -> None:
        """Let a job run through; its end is posted."""
        s = self._stages
        case = self._then("read", number, lambda: job, s.read)
        work = self._then("compute", number, case.result, lambda given: s.compute(job, given))
        end = self._then("write", number, work.result, lambda given: s.write(job, given))
        end.add_done_callback(lambda done: self._end(number, done.result()))

    def _then(
        self, stage: str, number: int, before: Callable[[], A], call: Callable[[A], B]
    ) -> Future[B]:
        def run() -> B:
            given = before()  # waiting for the stage before is no part of this one
            self._post.send(job=number, stage=stage, begun=True)
            try:
                return call(given)
            finally:
                self._post.send(job=number, stage=stage, begun=False)

        return self._threads[stage].submit(run)

    def _end(self, number: int, outcome: Outcome) -> None:
        told = (outcome.status, outcome.code, outcome.message)
        self._post.send(job=number, outcome=told, peak_bytes=peak_bytes())


def peak_bytes() -> int:
    """The most memory that this process has held; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def serve(orders: IO[str], post: Post) -> None:
    """Work until the input ends.

    Args:
        orders: first ``{"settings": of the screener, "overwrite": bool, "threads": int or null}``,
            then a job a line.
        post: takes the answers.
    """
    order = json.loads(orders.readline())
    try:
        import torch

        from dal_fast.screening.screener import Screener

        if order["threads"]:
            torch.set_num_threads(order["threads"])
        screener = Screener(**order["settings"])
    except DalFastError as error:
        post.send(refused=(error.code, error.message))
        return
    post.send(ready=screener.parameters)
    line = Line(Stages(screener, order["overwrite"]), post)
    for message in map(json.loads, orders):
        line.submit(message["job"], Job(Path(message["scan"]), Path(message["folder"])))


def main() -> None:
    from dal_fast.memory import keep_freed_memory

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # its crew decides
    keep_freed_memory()
    post = Post(os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8"))
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever else is printed is no message
    serve(sys.stdin, post)
    os._exit(0)  # whatever is still at work has nobody to answer to


if __name__ == "__main__":
    main()
