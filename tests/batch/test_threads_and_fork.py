"""One screener of several threads, pools side by side, a fork while an op runs, and the cores."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from phantom import phantom, save
from tiny import tiny_weights

from dal_fast import context
from dal_fast.batch.job import Job, Stages
from dal_fast.batch.pool import WorkerPool
from dal_fast.ops import median3d
from dal_fast.screening.screener import Screener


def test_one_screener_of_several_threads_gives_what_one_thread_gives(tmp_path):
    weights = tiny_weights(tmp_path)
    jobs = []
    for n, axes in enumerate(("RAS", "LPS", "PSR", "LAS")):
        data, affine, _ = phantom(axes, (4.0, 4.0, 4.0 - 0.5 * n), seed=n)
        jobs.append(save(tmp_path / f"sub-{n}_T2w.nii.gz", data, affine))
    stages = Stages(Screener(weights, "torch"))

    def screen(job):
        return stages.write(job, stages.compute(job, stages.read(job))).status

    alone = [Job(scan, tmp_path / "alone") for scan in jobs]
    together = [Job(scan, tmp_path / "together") for scan in jobs]
    assert [screen(job) for job in alone] == ["done"] * 4
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(screen, together)) == ["done"] * 4
    maps = sorted(path.name for path in (tmp_path / "alone").glob("*.nii.gz"))
    assert len(maps) == 16
    for name in maps:
        same = (tmp_path / "alone" / name).read_bytes() == (
            tmp_path / "together" / name
        ).read_bytes()
        assert same, name


ECHO = """
import json, sys
json.loads(sys.stdin.readline())
print(json.dumps({"ready": {}}), flush=True)
for line in sys.stdin:
    job = json.loads(line)
    answer = {"job": job["job"], "outcome": ["done", "", job["scan"]], "peak_bytes": 1}
    print(json.dumps(answer), flush=True)
"""


def test_pools_of_several_threads_keep_their_jobs_apart():
    def screen(name):
        jobs = [Job(Path(f"{name}-{n}"), Path("out")) for n in range(50)]
        with WorkerPool({}, workers=2, command=(sys.executable, "-c", ECHO)) as pool:
            outcomes = list(pool.screen(jobs))
        assert all(str(outcome.scan) == outcome.message for outcome in outcomes)
        return {outcome.scan for outcome in outcomes} == {job.scan for job in jobs}

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(screen, "abcd"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_while_an_op_runs():
    """The child has none of the helping threads; its first op starts them again."""
    volume = torch.rand(1, 1, 40, 48, 40, generator=torch.Generator().manual_seed(0))
    with context.use(threads=1):
        want = median3d(volume, 5)
    stop = threading.Event()

    def work():
        while not stop.is_set():
            median3d(volume, 5)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    with context.use(threads=2):
                        status = 0 if torch.equal(median3d(volume, 5), want) else 2
                finally:
                    os._exit(status)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        worker.join()


CORES = """
import os, sys
if sys.argv[1]:
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
from dal_fast.batch.pool import WorkerPool
print(WorkerPool({}, workers=1)._settings["threads"], "torch" in sys.modules)
from dal_fast.batch.threads import limit_threads
limit_threads()
import torch
print(torch.get_num_threads())
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
@pytest.mark.parametrize(("bound", "variable"), [("yes", "64"), ("", "1")])
def test_the_cores_are_those_that_the_process_may_use(bound, variable):
    """Bound to one core, or told to use one: not the machine's."""
    done = subprocess.run(
        [sys.executable, "-c", CORES, bound], capture_output=True, text=True, check=True,
        env=os.environ | {"OMP_NUM_THREADS": variable}, timeout=100,
    )  # fmt: skip
    assert done.stdout.split() == ["1", "False", "1"]
