"""One worker of a pool: a process that screens or strips the scans it is given.

    python -m dal_fast.batch.worker

Messages are lines of JSON. The worker reads its settings, then jobs:
``{"job": 7, "scan": …, "folder": …}``. It answers once with ``{"ready": parameters}`` or
``{"refused": [code, message]}``. It says when a stage of a job begins and ends,
``{"job": 7, "stage": "read", "begun": true}``, and ends each job with
``{"job": 7, "outcome": […], "peak_bytes": …}``. While one scan is computed, the one before is
written, and then the next one is read: two scans are in memory at most. When its input ends, the
pool is gone, and the worker ends at once.
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

from dal_fast.extras import import_lean

if __name__ == "__main__":
    import_lean("nibabel")  # before the modules that need it, and import all that it finds

from dal_fast.batch.job import STAGES, AnyStages, Job, Outcome, Stages, failure
from dal_fast.batch.threads import share_threads
from dal_fast.errors import DalFastError

_SCANS_IN_MEMORY = 2
A = TypeVar("A")
B = TypeVar("B")


class Channel:
    """Sends messages, whole lines from any thread."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def send(self, **message: Any) -> None:
        """Send one message."""
        with self._lock:
            self._stream.write(json.dumps(message) + "\n")
            self._stream.flush()


class Pipeline:
    """The three stages of a worker, each in a thread of its own.

    A scan is read when no more than one other is in memory, and leaves it when its job has ended.

    Args:
        stages: what to do.
        channel: hears when a stage begins and ends, and how each job ended.
    """

    def __init__(self, stages: AnyStages, channel: Channel) -> None:
        self._stages = stages
        self._channel = channel
        self._threads = {stage: ThreadPoolExecutor(1, stage) for stage in STAGES}
        self._room = threading.Semaphore(_SCANS_IN_MEMORY)

    def submit(self, job_id: int, job: Job) -> None:
        """Let a job pass through the stages; its outcome is sent whatever happens in them."""
        s = self._stages
        scan = self._then("read", job_id, lambda: self._admitted(job), s.read)
        work = self._then("compute", job_id, scan.result, lambda scan: s.compute(job, scan))
        end = self._then("write", job_id, work.result, lambda result: s.write(job, result))
        end.add_done_callback(lambda done: self._end(job_id, job, done))

    def _admitted(self, job: Job) -> Job:
        """The job, once there is room for its scan."""
        self._room.acquire()
        return job

    def _then(
        self, stage: str, job_id: int, before: Callable[[], A], call: Callable[[A], B]
    ) -> Future[B]:
        def run() -> B:
            given = before()  # waiting for the stage before is no part of this one
            self._channel.send(job=job_id, stage=stage, begun=True)
            try:
                return call(given)
            finally:
                self._channel.send(job=job_id, stage=stage, begun=False)

        return self._threads[stage].submit(run)

    def _end(self, job_id: int, job: Job, done: Future[Outcome]) -> None:
        error = done.exception()  # such as SystemExit, out of a library
        outcome = done.result() if error is None else failure(job, error)
        ending = (outcome.status, outcome.code, outcome.message)
        self._channel.send(job=job_id, outcome=ending, peak_bytes=peak_bytes())
        self._room.release()


def peak_bytes() -> int:
    """The most memory that this process has held; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def serve(
    messages: IO[str],
    channel: Channel,
    make_stages: Callable[[str, dict[str, Any], bool], AnyStages] | None = None,
) -> None:
    """Work until the input ends.

    Args:
        messages: first ``{"task": of TASKS, "settings": of the screener or extractor,
            "overwrite": bool, "threads": int}``, then a job a line. It works with at most so
            many threads.
        channel: takes the answers.
        make_stages: what the worker does, of a task, its settings, and whether to overwrite; by
            default it screens or strips.
    """
    settings = json.loads(messages.readline())
    try:
        share_threads(settings["threads"])
        stages = (make_stages or _stages)(
            settings["task"], settings["settings"], settings["overwrite"]
        )
        choose_memory()
    except DalFastError as error:
        channel.send(refused=(error.code, error.message))
        return
    channel.send(ready=stages.parameters)
    pipeline = Pipeline(stages, channel)
    for message in map(json.loads, messages):
        pipeline.submit(message["job"], Job(Path(message["scan"]), Path(message["folder"])))


def _stages(task: str, settings: dict[str, Any], overwrite: bool) -> AnyStages:
    """What a worker does with its jobs; loads the model."""
    if task == "strip":
        from dal_fast.batch.strip import StripStages

        return StripStages(**settings, overwrite=overwrite)
    from dal_fast.batch.resident import make_screener

    return Stages(make_screener(settings), overwrite)


def choose_memory() -> None:
    """Torch frees what it needs again at once; the compiled chain has its memory already."""
    from dal_fast.memory import keep_freed_memory, return_freed_volumes

    if "torch" in sys.modules:
        keep_freed_memory()
    else:
        return_freed_volumes()


def main(
    make_stages: Callable[[str, dict[str, Any], bool], AnyStages] | None = None,
) -> None:
    """Serve the process that started this one; see :func:`serve`."""
    from dal_fast.memory import collect_rarely

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the pool decides
    collect_rarely()
    channel = Channel(os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8"))
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever else is printed is no message
    serve(sys.stdin, channel, make_stages)
    os._exit(0)  # nobody waits for what is still at work


if __name__ == "__main__":
    main()
