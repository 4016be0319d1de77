"""A pool of worker processes that screen many scans.

    with WorkerPool(settings, workers=2) as pool:
        for outcome in pool.screen(jobs):
            ...

Each worker keeps a model in memory and holds at most four scans at a time. A worker that dies (for
lack of memory, or by a crash in a library) or that stops answering is replaced. The scans that it
was working on are retried, each of them alone, so that only a scan that is the cause fails. Where
no worker can be started any more, the remaining scans fail, and the run ends as usual.
"""

from __future__ import annotations

import itertools
import queue
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dal_fast.batch.job import Job, Outcome, Task, failed
from dal_fast.batch.ledger import InFlight, Ledger
from dal_fast.batch.limits import check_limits
from dal_fast.batch.worker_process import Inbox, State, WorkerProcess
from dal_fast.context import available_cores
from dal_fast.errors import Code, InputError, error_of
from dal_fast.imaging.temporary import remove_leftovers

WORKER = (sys.executable, "-m", "dal_fast.batch.worker")
_START_ATTEMPTS = 3  # workers in a row that do not start, before no more are tried
_TICK = 0.5  # seconds between looks at the clock
_LONGEST_STEP = 2.0  # seconds that the clock advances between two looks at most
_DOING = {"read": "reading", "compute": "computing", "write": "writing the results of"}


@dataclass(frozen=True)
class _Loss:
    """Why a worker is lost: the code of what fails by it, and a sentence's predicate."""

    code: str
    reason: str


class WorkerPool:
    """Screens jobs in worker processes.

    Args:
        settings: arguments of :class:`dal_fast.screening.screener.Screener`, or, to strip, of
            :class:`dal_fast.batch.strip.StripStages`; JSON-serialisable.
        task: what to do with the scans.
        workers: how many processes.
        threads: of each process; by default the available cores are shared out.
        overwrite: compute again what is complete.
        patience: seconds after which a stage of a scan counts as hung.
        command: that starts a worker.

    Attributes:
        peak_bytes: the most memory that a worker has held.

    Raises:
        InputError: ``value``; on iteration what a screener refuses.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        *,
        task: Task = "screen",
        workers: int = 1,
        threads: int | None = None,
        overwrite: bool = False,
        patience: float = 600.0,
        command: Sequence[str] = WORKER,
    ) -> None:
        check_limits(workers, patience)
        if threads is None:
            threads = max(1, available_cores() // workers)
        self.peak_bytes = 0
        self._settings = {
            "task": task,
            "settings": settings,
            "overwrite": overwrite,
            "threads": threads,
        }
        self._command = command
        self._patience = patience
        self._inbox: Inbox = queue.Queue()
        self._count = workers
        self._workers: dict[int, WorkerProcess] = {}
        self._ids = itertools.count()
        self._clock = _Clock()
        self._ledger: Ledger | None = None
        self._failed_starts: list[_Loss] = []  # since a worker was ready
        self._accepted = False  # a worker has taken the settings

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in list(self._workers.values()):
            self._dismiss(worker)

    def effort(self) -> str:
        """What the run took, in words."""
        return f"peak memory {self.peak_bytes / 2**30:.2f} GiB a worker"

    @property
    def pids(self) -> list[int]:
        """Process numbers of the workers that are running."""
        return list(self._workers)

    def screen(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Screen jobs; the outcome of each of them, in the order in which they end.

        When the iteration is given up, what is in flight is dropped, and the pool can be used
        again. A second iteration ends one that is not over.
        """
        self._drop_run()
        ledger = self._ledger = Ledger(zip(self._ids, jobs, strict=False))
        self._failed_starts.clear()
        self._clock.now()
        try:
            while ledger.unfinished:
                self._start_workers(ledger.unfinished)
                if not self._workers:
                    yield from self._give_up(ledger)
                    return
                for worker in self._workers.values():
                    self._assign(worker, ledger)
                yield from self._next(ledger)
                if self._ledger is not ledger:
                    raise InputError(Code.VALUE, "this pool has begun to screen other jobs")
        finally:
            if self._ledger is ledger:
                self._drop_run()

    def _drop_run(self) -> None:
        """Forget the jobs of a run that is over or was given up, and what they left unfinished."""
        ledger, self._ledger = self._ledger, None
        for worker in list(self._workers.values()):
            if worker.state is State.BUSY:
                self._dismiss(worker)
                if ledger is not None:
                    _clean(ledger, worker)

    def _start_workers(self, most: int) -> None:
        while (
            len(self._workers) < min(self._count, most)
            and len(self._failed_starts) < _START_ATTEMPTS
        ):
            try:
                worker = WorkerProcess(self._command, self._settings, self._inbox)
            except OSError as error:
                self._failed_starts.append(_Loss(Code.WORKER_DIED, f"did not start: {error}"))
            else:
                worker.heard = self._clock.now()
                self._workers[worker.pid] = worker

    def _assign(self, worker: WorkerProcess, ledger: Ledger) -> None:
        if worker.state not in (State.IDLE, State.BUSY):
            return
        now = self._clock.now()
        for job_id, job in ledger.take(worker.pid, now):
            worker.state, worker.heard = State.BUSY, now
            worker.send({"job": job_id, "scan": str(job.scan), "folder": str(job.folder)})

    def _next(self, ledger: Ledger) -> Iterator[Outcome]:
        """Wait for the next message; the outcomes that come by it, or by the lack of one."""
        try:
            worker, message = self._inbox.get(timeout=_TICK)
        except queue.Empty:
            pass
        else:
            if worker.state is not State.DEAD:
                yield from self._handle(worker, message, ledger)
        if self._inbox.empty():  # else there is news of a worker that seems to hang
            for worker in list(self._workers.values()):
                if self._is_overdue(worker, ledger):
                    took = f"took more than {self._patience:g} s"
                    yield from self._on_lost(worker, _Loss(Code.TIMED_OUT, took), ledger)

    def _handle(
        self, worker: WorkerProcess, message: dict[str, Any] | None, ledger: Ledger
    ) -> Iterator[Outcome]:
        now = worker.heard = self._clock.now()
        if message is None:
            yield from self._on_lost(worker, _Loss(Code.WORKER_DIED, worker.how_it_ended()), ledger)
        elif "refused" in message:
            code, reason = message["refused"]
            if not self._accepted:
                self.__exit__()
                raise error_of(code, reason)
            yield from self._on_lost(worker, _Loss(code, f"was refused: {reason}"), ledger)
        elif "ready" in message:
            worker.state, self._accepted = State.IDLE, True
            self._failed_starts.clear()
        elif "outcome" in message:
            self.peak_bytes = max(self.peak_bytes, message["peak_bytes"])
            job = ledger.end(message["job"])
            if not ledger.held_by(worker.pid):
                worker.state = State.IDLE
            if job is not None:
                yield Outcome(job.scan, job.folder, *message["outcome"])
        else:
            ledger.note_stage(message["job"], message["stage"] if message["begun"] else None, now)

    def _is_overdue(self, worker: WorkerProcess, ledger: Ledger) -> bool:
        """Whether a stage of a scan, the start, or the next sign of life takes too long."""
        if worker.state is State.IDLE:
            return False
        begun = [held.since for held in ledger.held_by(worker.pid) if held.stage is not None]
        return self._clock.now() - min(begun, default=worker.heard) > self._patience

    def _on_lost(self, worker: WorkerProcess, loss: _Loss, ledger: Ledger) -> Iterator[Outcome]:
        """A worker has died, hangs, or did not start: end it, and share out what it held."""
        starting = worker.state is State.STARTING
        self._dismiss(worker)
        if starting:
            self._failed_starts.append(loss)
            return
        _clean(ledger, worker)
        for lost in ledger.lose(worker.pid):
            yield failed(lost.job, loss.code, _explain(lost, loss))

    def _give_up(self, ledger: Ledger) -> Iterator[Outcome]:
        """No worker can be started: what has not ended fails."""
        loss = self._failed_starts[-1]
        code = Code.WORKER_DIED if loss.code == Code.TIMED_OUT else loss.code
        message = f"no worker could be started: the last of {_START_ATTEMPTS} {loss.reason}"
        for job in ledger.give_up():
            yield failed(job, code, message)

    def _dismiss(self, worker: WorkerProcess) -> None:
        worker.kill()
        del self._workers[worker.pid]


def _clean(ledger: Ledger, worker: WorkerProcess) -> None:
    """Remove the unfinished files of a worker that has ended."""
    for folder in {held.job.folder for held in ledger.held_by(worker.pid)}:
        remove_leftovers(folder)


class _Clock:
    """Seconds during which somebody looked at the clock.

    The time during which the pool itself was stopped (Ctrl-Z) or its user was busy with an outcome
    is not held against the workers.
    """

    def __init__(self) -> None:
        self._elapsed = 0.0
        self._last = time.monotonic()

    def now(self) -> float:
        moment = time.monotonic()
        self._elapsed += min(moment - self._last, _LONGEST_STEP)
        self._last = moment
        return self._elapsed


def _explain(lost: InFlight, loss: _Loss) -> str:
    doing = _DOING.get(lost.stage or "", "waiting to begin with")
    if loss.code == Code.TIMED_OUT:
        return f"{doing} the scan {loss.reason}, also when it was retried alone"
    return f"the worker {loss.reason} while {doing} the scan, also when it was retried alone"
