"""Worker processes that screen many scans, and who looks after them.

    with WorkerPool(settings, workers=2) as crew:
        for outcome in crew.screen(jobs):
            ...

Each worker keeps a model in memory and a few scans in flight, never more. A worker that dies (out
of memory, a crash in a library) or whose scan does not move on is replaced: the scan that it was
at is failed, the others are done by its successor. When a worker dies with several scans in
flight, each of them is tried again alone, so that only the guilty one is failed.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from dal_fast.batch.job import Job, Outcome, failed
from dal_fast.errors import Code, InputError, WorkerError, error_of

IN_FLIGHT = 4  # of one worker: one being read, one waiting, one computed, one written
WORKER = (sys.executable, "-m", "dal_fast.batch.worker")
_TICK = 0.5  # seconds between looks at the clock
_LAST_BREATH = 5.0  # seconds from a worker's last word to its end

Inbox = queue.Queue[tuple["_Worker", dict[str, Any] | None]]


class WorkerPool:
    """Screens jobs in worker processes.

    Args:
        settings: of :class:`dal_fast.screening.screener.Screener`, JSON-ready.
        workers: how many processes.
        threads: of each; default torch's own for one worker, else the cores shared out.
        overwrite: compute again what is complete.
        patience: seconds after which a stage of a scan counts as hung.
        command: that starts a worker.

    Attributes:
        peak_bytes: the most memory that a worker has held.

    Raises:
        InputError: ``value``; on iteration what a screener refuses, or ``worker-died`` when no
            worker comes up.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        *,
        workers: int = 1,
        threads: int | None = None,
        overwrite: bool = False,
        patience: float = 600.0,
        command: Sequence[str] = WORKER,
    ) -> None:
        if workers < 1:
            raise InputError(Code.VALUE, f"there must be at least one worker, not {workers}")
        if not patience > 0:
            raise InputError(Code.VALUE, f"the patience must be positive, not {patience} s")
        if threads is None and workers > 1:
            threads = max(1, (os.cpu_count() or 1) // workers)
        self.peak_bytes = 0
        self._orders = {"settings": settings, "overwrite": overwrite, "threads": threads}
        self._command = command
        self._patience = patience
        self._inbox: Inbox = queue.Queue()
        self._count = workers
        self._workers: list[_Worker] = []

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.kill()

    def effort(self) -> str:
        """What it took, in words."""
        return f"peak memory {self.peak_bytes / 2**30:.2f} GiB a worker"

    @property
    def pids(self) -> list[int]:
        """Of the workers that are alive."""
        return [worker.process.pid for worker in self._workers]

    def screen(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """The outcome of every job, in the order in which they end; to be read to the last."""
        waiting, suspects = deque(range(len(jobs))), deque[int]()
        missing = len(jobs)
        while missing:
            self._fill(min(self._count, missing))
            for worker in self._workers:
                worker.take(jobs, waiting, suspects)
            for outcome in self._next(jobs, waiting, suspects):
                missing -= 1
                yield outcome

    def _fill(self, count: int) -> None:
        while len(self._workers) < count:
            self._workers.append(_Worker(self._command, self._orders, self._inbox))

    def _next(
        self, jobs: Sequence[Job], waiting: deque[int], suspects: deque[int]
    ) -> Iterator[Outcome]:
        """What ended by the next message, or by its absence."""
        with contextlib.suppress(queue.Empty):
            worker, message = self._inbox.get(timeout=_TICK)
            if worker not in self._workers:  # from beyond the grave
                return
            if message is None:
                yield from self._bury(worker, jobs, waiting, suspects)
                return
            if "refused" in message:
                self._dismiss(worker)
                raise error_of(*message["refused"])
            self.peak_bytes = max(self.peak_bytes, message.get("peak_bytes", 0))
            number = worker.note(message)
            if number is not None:
                job, told = jobs[number], message["outcome"]
                yield Outcome(job.scan, job.folder, *told)
        if self._inbox.empty():  # else there is news that may excuse who seems to hang
            for worker in list(self._workers):
                yield from self._check(worker, jobs, waiting)

    def _check(
        self, worker: _Worker, jobs: Sequence[Job], waiting: deque[int]
    ) -> Iterator[Outcome]:
        """Replace a worker that hangs."""
        now = time.monotonic()
        hung = {n for n, (_, since) in worker.at.items() if now - since > self._patience}
        late = not worker.ready and now - worker.born > self._patience
        if not (hung or late):
            return
        self._dismiss(worker)
        if late:
            raise WorkerError(Code.WORKER_DIED, "a worker did not come up in time")
        waiting.extendleft(sorted(worker.given - hung, reverse=True))
        for number in sorted(hung):
            stage = worker.at[number][0]
            message = f"{_DOING[stage]} took more than {self._patience:g} s and was given up"
            yield failed(jobs[number], Code.TIMED_OUT, message)

    def _bury(
        self, worker: _Worker, jobs: Sequence[Job], waiting: deque[int], suspects: deque[int]
    ) -> Iterator[Outcome]:
        """Share out the work of a worker that died."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(_LAST_BREATH)
        self._dismiss(worker)
        cause = _cause(worker.process.returncode)
        if not worker.ready:
            raise WorkerError(Code.WORKER_DIED, f"a worker {cause} before it was ready")
        guilty = set(worker.at) or worker.given
        waiting.extendleft(sorted(worker.given - guilty, reverse=True))
        if len(guilty) > 1:
            suspects.extend(sorted(guilty))
            return
        for number in guilty:
            doing = _DOING[worker.at[number][0]] if worker.at else "on its way"
            yield failed(jobs[number], Code.WORKER_DIED, f"{doing}, a worker {cause}")

    def _dismiss(self, worker: _Worker) -> None:
        worker.kill()
        self._workers.remove(worker)


_DOING = {"read": "reading the scan", "compute": "computing", "write": "writing the results"}


class _Worker:
    """One process, and what it is at."""

    def __init__(self, command: Sequence[str], orders: dict[str, Any], inbox: Inbox) -> None:
        self.ready = False
        self.born = time.monotonic()
        self.given: set[int] = set()
        self.at: dict[int, tuple[str, float]] = {}
        """Jobs in a stage: its name, and since when."""
        self._alone = False
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        self._send(orders)
        threading.Thread(target=self._listen, args=(inbox,), daemon=True).start()

    def take(self, jobs: Sequence[Job], waiting: deque[int], suspects: deque[int]) -> None:
        """As many jobs as there is room for; when none waits, one suspect on its own."""
        self._alone &= bool(self.given)
        if not self.ready or self._alone:
            return
        while waiting and len(self.given) < IN_FLIGHT:
            self._give(waiting.popleft(), jobs)
        if suspects and not self.given:
            self._alone = True
            self._give(suspects.popleft(), jobs)

    def note(self, message: dict[str, Any]) -> int | None:
        """Take notice; the number of the job that has ended, if one has."""
        if "ready" in message:
            self.ready = True
            return None
        number = int(message["job"])
        if "outcome" in message:
            self.given.discard(number)
            self.at.pop(number, None)
            return number
        if message["begun"]:
            self.at[number] = (message["stage"], time.monotonic())
        else:
            self.at.pop(number, None)
        return None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def _give(self, number: int, jobs: Sequence[Job]) -> None:
        self.given.add(number)
        job = jobs[number]
        self._send({"job": number, "scan": str(job.scan), "folder": str(job.folder)})

    def _send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # its end is told by what it no longer says
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()

    def _listen(self, inbox: Inbox) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines, contextlib.suppress(ValueError):  # a line cut short
            for line in lines:
                inbox.put((self, json.loads(line)))
        inbox.put((self, None))


def _cause(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended with status {code}"
    name = signal.Signals(-code).name
    return f"was killed by {name}" + (", often for lack of memory" if name == "SIGKILL" else "")
