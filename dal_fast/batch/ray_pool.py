"""Many machines: a Ray cluster whose nodes screen through crews of their own.

Ray Data shares the jobs out in small batches and sends a machine's batch to another when the
machine is lost; on each machine a :class:`dal_fast.batch.pool.WorkerPool` of one worker process
keeps a model, and replaces the process when a scan kills or hangs it. Scans and outputs must lie
where every machine sees them under the same path, and dal_fast must be installed on each.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dal_fast.batch.job import Job, Outcome
from dal_fast.batch.pool import IN_FLIGHT, WorkerPool
from dal_fast.errors import Code, DalFastError, InputError, RuntimeUnavailable, error_of

_BATCH = 4 * IN_FLIGHT  # most jobs that a machine takes at once


class RayPool:
    """As :class:`dal_fast.batch.pool.WorkerPool`, on a Ray cluster.

    The cluster is the one that ``RAY_ADDRESS`` names or that this machine belongs to; without one
    Ray starts a cluster of this machine alone.

    Args:
        settings: of :class:`dal_fast.screening.screener.Screener`, JSON-ready.
        workers: how many in the whole cluster; its cores and GPUs are shared out among them.
        overwrite: compute again what is complete.
        patience: seconds after which a stage of a scan counts as hung.

    Attributes:
        peak_bytes: the most memory that a worker has held.
        machines: Ray's names of those that have done something.

    Raises:
        InputError: ``ray-unavailable``, ``value``; on iteration what a screener refuses.
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
        if workers < 1:
            raise InputError(Code.VALUE, f"there must be at least one worker, not {workers}")
        self.peak_bytes = 0
        self.machines: set[str] = set()
        self._workers = workers
        self._device = settings.get("device", "auto")
        weights = settings.get("weights", "default")
        if weights != "default":  # Ray's workers have a working directory of their own
            settings = {**settings, "weights": str(Path(weights).absolute())}
        self._crew = {"settings": settings, "overwrite": overwrite, "patience": patience}

    def __enter__(self) -> RayPool:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves a hospital unasked
        ray, data = import_module("ray"), import_module("ray.data")
        ray.init(ignore_reinit_error=True, log_to_driver=False, logging_level=logging.ERROR)
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        data.DataContext.get_current().enable_progress_bars = False
        return self

    def __exit__(self, *_: object) -> None:
        import_module("ray").shutdown()

    def effort(self) -> str:
        """What it took, in words."""
        machines = f"{len(self.machines)} machine{'s' * (len(self.machines) != 1)}"
        return f"{machines}, peak memory {self.peak_bytes / 2**30:.2f} GiB a worker"

    def screen(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """The outcome of every job, in the order in which they end; to be read to the last."""
        workers = min(self._workers, len(jobs))
        size = max(1, min(_BATCH, len(jobs) // (2 * workers)))
        rows = [{"scan": str(j.scan.absolute()), "folder": str(j.folder.absolute())} for j in jobs]
        own = {row["scan"]: job for row, job in zip(rows, jobs, strict=True)}
        share = _share(workers, self._device)
        blocks = -(-len(rows) // size)
        items = import_module("ray.data").from_items(rows, override_num_blocks=blocks)
        outcomes = items.map_batches(
            _Machine,
            fn_constructor_kwargs={**self._crew, "threads": max(1, int(share["num_cpus"]))},
            batch_size=size,
            concurrency=workers,
            **share,
        )
        for row in outcomes.iter_rows():
            if row["status"] == "refused":
                raise error_of(row["code"], row["message"])
            self.machines.add(row["machine"])
            self.peak_bytes = max(self.peak_bytes, row["peak_bytes"])
            job = own[row["scan"]]
            yield Outcome(job.scan, job.folder, row["status"], row["code"], row["message"])


class _Machine:
    """What Ray keeps on a node: a crew of one process."""

    def __init__(self, **crew: Any) -> None:
        self._crew = WorkerPool(**crew)
        self._name = import_module("ray").get_runtime_context().get_node_id()

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, list[Any]]]:
        jobs = [
            Job(Path(str(scan)), Path(str(folder)))
            for scan, folder in zip(batch["scan"], batch["folder"], strict=True)
        ]
        try:
            for outcome in self._crew.screen(jobs):
                yield self._row(str(outcome.scan), outcome.status, outcome.code, outcome.message)
        except DalFastError as error:  # Ray would wrap it in its own
            yield self._row("", "refused", error.code, error.message)

    def _row(self, scan: str, status: str, code: str, message: str) -> dict[str, list[Any]]:
        return {
            "scan": [scan],
            "status": [status],
            "code": [code],
            "message": [message],
            "machine": [self._name],
            "peak_bytes": [self._crew.peak_bytes],
        }


def _share(workers: int, device: str) -> dict[str, float]:
    """Cores, and where there are and may be used, GPUs of one worker."""
    nodes = [node["Resources"] for node in import_module("ray").nodes() if node["Alive"]]
    cores = [int(node["CPU"]) for node in nodes if node.get("CPU")]
    cpus = min(sum(cores) / workers, min(cores, default=1))
    gpus = sum(node.get("GPU", 0) for node in nodes)
    share = {"num_cpus": int(cpus) if cpus > 1 else cpus}
    if gpus and device != "cpu":
        share["num_gpus"] = min(1.0, gpus / workers)
    return share
