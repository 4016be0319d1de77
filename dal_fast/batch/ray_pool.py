"""Many machines: a Ray cluster, each machine of which has a worker pool of its own.

Ray Data shares the jobs out in small batches and sends a machine's batch to another when the
machine is lost; on each machine a :class:`dal_fast.batch.pool.WorkerPool` of one worker process
keeps a model, and replaces the process when a scan kills or hangs it. Scans and outputs must lie
where every machine sees them under the same path, and dal_fast must be installed on each.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dal_fast.batch.job import Job, Outcome
from dal_fast.batch.ledger import IN_FLIGHT
from dal_fast.batch.limits import check_limits
from dal_fast.batch.pool import WorkerPool
from dal_fast.batch.ray_cluster import ray_cluster
from dal_fast.errors import Code, DalFastError, RuntimeUnavailable, error_of
from dal_fast.imaging.text import counted
from dal_fast.weights import PACKAGED

_BATCH = 4 * IN_FLIGHT  # most jobs that a machine takes at once


class RayPool:
    """As :class:`dal_fast.batch.pool.WorkerPool`, on a Ray cluster.

    The cluster is that of :func:`dal_fast.batch.ray_cluster.ray_cluster`: the one that there is, or
    one of this machine alone.

    Args:
        settings: of :class:`dal_fast.screening.screener.Screener`, JSON-ready.
        workers: how many in the whole cluster; its cores and GPUs are shared out among them.
        overwrite: compute again what is complete.
        patience: seconds after which a stage of a scan counts as hung.

    Attributes:
        peak_bytes: the most memory that a worker has held.
        machines: Ray's names of those that have done something.

    Raises:
        RuntimeUnavailable: ``ray-unavailable``.
        InputError: ``value``; on iteration what a screener refuses.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        *,
        workers: int = 1,
        overwrite: bool = False,
        patience: float = 600.0,
    ) -> None:
        if find_spec("ray") is None or find_spec("pyarrow") is None:
            raise RuntimeUnavailable(
                Code.RAY_UNAVAILABLE, "Ray Data is not installed: pip install 'dal_fast[ray]'"
            )
        check_limits(workers, patience)
        self.peak_bytes = 0
        self.machines: set[str] = set()
        self._workers = workers
        self._device = settings.get("device", "auto")
        weights = settings.get("weights", "default")
        if weights not in PACKAGED:  # Ray's workers have a working directory of their own
            settings = {**settings, "weights": str(Path(weights).absolute())}
        self._cluster = ExitStack()
        self._options = {"settings": settings, "overwrite": overwrite, "patience": patience}

    def __enter__(self) -> RayPool:
        self._cluster.enter_context(ray_cluster())
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        import_module("ray.data").DataContext.get_current().enable_progress_bars = False
        return self

    def __exit__(self, *_: object) -> None:
        self._cluster.close()

    def effort(self) -> str:
        """What the run took, in words."""
        machines = counted(len(self.machines), "machine")
        return f"{machines}, peak memory {self.peak_bytes / 2**30:.2f} GiB a worker"

    def screen(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Screen jobs; the outcome of each of them, in the order in which they end."""
        workers = min(self._workers, len(jobs))
        size = max(1, min(_BATCH, len(jobs) // (2 * workers)))
        rows = [{"number": number, "job": _encoded(job)} for number, job in enumerate(jobs)]
        share = _share(workers, self._device)
        blocks = -(-len(rows) // size)
        items = import_module("ray.data").from_items(rows, override_num_blocks=blocks)
        outcomes = items.map_batches(
            _Machine,
            fn_constructor_kwargs={**self._options, "threads": max(1, int(share["num_cpus"]))},
            batch_size=size,
            concurrency=workers,
            **share,
        )
        for row in outcomes.iter_rows():
            if row["status"] == "refused":
                raise error_of(row["code"], json.loads(row["message"]))
            self.machines.add(row["machine"])
            self.peak_bytes = max(self.peak_bytes, row["peak_bytes"])
            job, message = jobs[row["number"]], json.loads(row["message"])
            yield Outcome(job.scan, job.folder, row["status"], row["code"], message)


class _Machine:
    """What Ray keeps on a machine: a pool of one process."""

    def __init__(self, **options: Any) -> None:
        self._pool = WorkerPool(**options)
        self._name = import_module("ray").get_runtime_context().get_node_id()

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, list[Any]]]:
        jobs = [_decoded(job) for job in batch["job"]]
        numbers = dict(zip(jobs, map(int, batch["number"]), strict=True))
        try:
            for outcome in self._pool.screen(jobs):
                number = numbers[Job(outcome.scan, outcome.folder)]
                yield self._row(number, outcome.status, outcome.code, outcome.message)
        except DalFastError as error:  # Ray would wrap it in its own
            yield self._row(-1, "refused", error.code, error.message)

    def _row(self, number: int, status: str, code: str, message: str) -> dict[str, list[Any]]:
        return {
            "number": [number],
            "status": [status],
            "code": [str(code)],
            "message": [json.dumps(message)],
            "machine": [self._name],
            "peak_bytes": [self._pool.peak_bytes],
        }


def _encoded(job: Job) -> str:
    """A job in ASCII, as Arrow takes no file name that is not UTF-8."""
    return json.dumps([str(job.scan.absolute()), str(job.folder.absolute())])


def _decoded(job: Any) -> Job:
    scan, folder = json.loads(str(job))
    return Job(Path(scan), Path(folder))


def _share(workers: int, device: str) -> dict[str, float]:
    """The cores of one worker and, where there are any and they may be used, its GPUs."""
    nodes = [node["Resources"] for node in import_module("ray").nodes() if node["Alive"]]
    cores = [int(node["CPU"]) for node in nodes if node.get("CPU")]
    cpus = min(sum(cores) / workers, min(cores, default=1))
    gpus = sum(node.get("GPU", 0) for node in nodes)
    share = {"num_cpus": int(cpus) if cpus > 1 else cpus}
    if gpus and device != "cpu":
        share["num_gpus"] = min(1.0, gpus / workers)
    return share
