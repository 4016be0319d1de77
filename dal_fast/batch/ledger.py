"""What becomes of the jobs of a run: pending, in flight, to be retried alone, or ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from dal_fast.batch.job import Job

IN_FLIGHT = 4
"""Most jobs that a worker holds: one being read, one waiting, one computed, one written."""


@dataclass
class InFlight:
    """A job that a worker holds.

    Attributes:
        job: what to screen.
        worker: process number of the worker.
        alone: the job is being retried, and the worker holds no other.
        stage: that the worker works on, ``None`` between stages.
        since: when that began, in seconds of the pool's clock.
    """

    job: Job
    worker: int
    alone: bool
    stage: str | None
    since: float


class Ledger:
    """The only place that knows where each job of a run is.

    When a worker is lost, the jobs that it worked on may have caused it; they are retried alone
    when nothing else is pending. A job whose worker is lost again then has failed.

    Args:
        jobs: with a number that no other job of the pool ever has.
    """

    def __init__(self, jobs: Iterable[tuple[int, Job]]) -> None:
        self._jobs = dict(jobs)
        self._pending = deque(self._jobs)
        self._retry = deque[int]()
        self._in_flight: dict[int, InFlight] = {}

    @property
    def unfinished(self) -> int:
        """How many jobs have not ended."""
        return len(self._jobs)

    def held_by(self, worker: int) -> list[InFlight]:
        """What a worker has in flight."""
        return [held for held in self._in_flight.values() if held.worker == worker]

    def take(self, worker: int, now: float) -> list[tuple[int, Job]]:
        """The jobs that a worker is to begin with now: as many as it has room for, or one alone."""
        held = self.held_by(worker)
        if any(other.alone for other in held):
            return []
        count = min(IN_FLIGHT - len(held), len(self._pending))
        ids = [self._pending.popleft() for _ in range(count)]
        alone = not held and not ids and bool(self._retry)
        if alone:
            ids = [self._retry.popleft()]
        for job_id in ids:
            self._in_flight[job_id] = InFlight(self._jobs[job_id], worker, alone, None, now)
        return [(job_id, self._jobs[job_id]) for job_id in ids]

    def note_stage(self, job_id: int, stage: str | None, now: float) -> None:
        """A stage of a job has begun, or, with ``None``, ended."""
        if job_id in self._in_flight:
            self._in_flight[job_id].stage = stage
            self._in_flight[job_id].since = now

    def end(self, job_id: int) -> Job | None:
        """A job has ended; ``None`` when it is none of this run."""
        if self._in_flight.pop(job_id, None) is None:
            return None
        return self._jobs.pop(job_id)

    def lose(self, worker: int) -> list[InFlight]:
        """Share out what a lost worker held; returns the jobs that have failed for good."""
        held = {i: h for i, h in self._in_flight.items() if h.worker == worker}
        at_work = {i for i, h in held.items() if h.stage is not None} or set(held)
        failed = []
        for job_id, lost in held.items():
            del self._in_flight[job_id]
            if job_id in at_work and lost.alone:
                failed.append(lost)
                del self._jobs[job_id]
        self._retry.extend(i for i in sorted(at_work) if i in self._jobs)
        self._pending.extendleft(sorted(set(held) - at_work, reverse=True))
        return failed

    def give_up(self) -> list[Job]:
        """End all jobs; returns those that had not ended."""
        jobs = list(self._jobs.values())
        for collection in (self._jobs, self._pending, self._retry, self._in_flight):
            collection.clear()
        return jobs
