"""Many scans in worker processes: one that fails, dies or hangs costs itself and no other."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from phantom import phantom, save
from tiny import tiny_weights

from dal_fast import DalFastError
from dal_fast.batch.job import STAGES, Job, Outcome, Stages, is_unchanged
from dal_fast.batch.pool import WorkerPool
from dal_fast.batch.worker import Line
from dal_fast.screening.screener import Screener


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return str(tiny_weights(tmp_path_factory.mktemp("weights")))


@pytest.fixture(scope="module")
def screener(weights):
    return Screener(weights, "torch")


def scans(root, count):
    jobs = []
    for n in range(count):
        data, affine, _ = phantom("RAS", seed=n)
        scan = save(root / f"sub-{n:02}_T2w.nii.gz", data, affine)
        jobs.append(Job(scan, root / "out"))
    return jobs


def ends(outcomes):
    return {outcome.scan.name[:6]: outcome.code or outcome.status for outcome in outcomes}


def through(stages, job):
    return stages.write(job, stages.compute(job, stages.read(job)))


def test_stages_end_in_an_outcome_whatever_happens(screener, tmp_path, monkeypatch):
    good, bad = scans(tmp_path, 2)
    monkeypatch.setattr(Screener, "screen_scan", _fragile(Screener.screen_scan, "sub-01_T2w"))
    stages = Stages(screener)
    assert through(stages, good).status == "done"
    outcome = through(stages, bad)
    assert (outcome.code, outcome.message) == ("unexpected", "RuntimeError: something")
    good.scan.unlink()
    assert through(stages, good).code == "file-missing"


def _fragile(honest, name):
    def screen_scan(self, scan):
        if scan.name == name:
            raise RuntimeError("something\nbroke")
        return honest(self, scan)

    return screen_scan


def test_what_is_complete_is_told_by_its_hashes(screener, tmp_path):
    (job,) = scans(tmp_path, 1)
    stages = Stages(screener)
    assert through(stages, job).status == "done"
    assert through(stages, job).status == "kept"
    assert through(Stages(screener, overwrite=True), job).status == "done"
    assert not is_unchanged(job, {**screener.parameters, "median": 5})
    (tmp_path / "elsewhere").mkdir()
    moved = Job(job.scan.rename(tmp_path / "elsewhere" / job.scan.name), job.folder)
    assert is_unchanged(moved, screener.parameters)
    data, affine, _ = phantom("RAS", seed=9)
    mask = data > 0
    save(tmp_path / "sub-00_T2w.nii.gz", data, affine)  # another scan of that name
    assert through(stages, job).status == "done"
    save(tmp_path / "sub-00_desc-brain_mask.nii.gz", mask.astype("float32"), affine)
    assert through(stages, job).status == "done"  # a mask has come
    assert through(stages, job).status == "kept"
    mask[mask.shape[0] // 2 :] = False
    save(tmp_path / "sub-00_desc-brain_mask.nii.gz", mask.astype("float32"), affine)
    assert through(stages, job).status == "done"  # and has changed
    next(tmp_path.glob("out/*pseudohealthy*")).unlink()
    assert through(stages, job).status == "done"


def strike_the_first(crew, jobs, blow):
    """All outcomes, and the pid of a worker that got a signal after the first of them."""
    outcomes = []
    with crew:
        for outcome in crew.screen(jobs):
            outcomes.append(outcome)
            if len(outcomes) == 1:
                struck = crew.pids[0]
                os.kill(struck, blow)
    return outcomes, struck


def test_a_worker_that_is_killed_is_replaced(weights, tmp_path):
    crew = WorkerPool({"weights": weights, "runtime": "torch"}, workers=2)
    outcomes, _ = strike_the_first(crew, scans(tmp_path, 8), signal.SIGKILL)
    found = ends(outcomes)
    assert len(outcomes) == len(found) == 8
    assert set(found.values()) <= {"done", "kept", "worker-died"}
    assert list(found.values()).count("worker-died") <= 1
    assert crew.peak_bytes > 50 << 20


def test_a_worker_that_hangs_is_replaced(weights, tmp_path):
    crew = WorkerPool({"weights": weights, "runtime": "torch"}, patience=10.0)
    outcomes, struck = strike_the_first(crew, scans(tmp_path, 6), signal.SIGSTOP)
    assert len(ends(outcomes)) == len(outcomes) == 6
    assert set(ends(outcomes).values()) <= {"done", "kept", "timed-out"}
    assert struck not in crew.pids
    assert not any(_alive(pid) for pid in (struck, *crew.pids))


def test_a_stage_begins_when_the_one_before_has_ended(tmp_path):
    """Else a scan that waits would seem to hang, and one that hangs to wait."""

    class Slow:
        def read(self, job):
            time.sleep(0.2)

        def compute(self, job, given):
            time.sleep(0.2)

        def write(self, job, given):
            return Outcome(job.scan, job.folder, "done")

    class Notes(list):
        def send(self, **message):
            self.append(message)

    notes, jobs = Notes(), [Job(Path(name), tmp_path) for name in "ab"]
    line = Line(Slow(), notes)
    for number, job in enumerate(jobs):
        line.submit(number, job)
    deadline = time.monotonic() + 30
    while sum("outcome" in note for note in notes) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for number in range(2):
        own = [n for n in notes if n["job"] == number]
        assert [(n["stage"], n["begun"]) for n in own[:-1]] == [
            (stage, begun) for stage in STAGES for begun in (True, False)
        ]
        assert own[-1]["outcome"] == ("done", "", "")


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_settings_are_refused_before_anything_is_done(tmp_path):
    jobs = scans(tmp_path, 1)
    with WorkerPool({"weights": "nowhere"}) as crew:
        for _ in range(2):  # as a Ray node is asked, batch by batch
            with pytest.raises(DalFastError, match="nowhere") as info:
                list(crew.screen(jobs))
            assert info.value.code == "weights-missing"
            assert not crew.pids
    for options in ({"workers": 0}, {"patience": 0.0}):
        with pytest.raises(DalFastError) as info:
            WorkerPool({}, **options)
        assert info.value.code == "value"


# A worker that says it has begun every job it is given, and ends them a little later, in order.
PRETENDER = """
import json, os, signal, sys, threading, time
def send(**m): print(json.dumps(m), flush=True)
json.loads(sys.stdin.readline())
send(ready={})
def work(job):
    name = job["scan"]
    if "deadly" in name: os.kill(os.getpid(), signal.SIGKILL)
    if "leaving" in name: os._exit(3)
    if "endless" in name: time.sleep(1000)
    send(job=job["job"], outcome=["done", "", ""], peak_bytes=1)
for line in sys.stdin:
    job = json.loads(line)
    send(job=job["job"], stage="read", begun=True)
    threading.Timer(0.3 + 0.1 * job["job"] % 4, work, [job]).start()
"""


def pretend(names, **options):
    jobs = [Job(Path(name), Path("out")) for name in names]
    with WorkerPool({}, command=(sys.executable, "-c", PRETENDER), **options) as crew:
        return {o.scan.name: o.code or o.status for o in crew.screen(jobs)}


@pytest.mark.parametrize("workers", [1, 3])
def test_only_the_guilty_scan_fails_when_its_worker_dies(workers):
    names = ["a", "b", "deadly", "c", "d", "leaving", "e", "f", "g"]
    want = dict.fromkeys(names, "done") | dict.fromkeys(("deadly", "leaving"), "worker-died")
    assert pretend(names, workers=workers) == want


def test_only_the_scan_that_hangs_is_given_up():
    start = time.monotonic()
    names = ["a", "endless", "b", "c", "d", "e"]
    want = dict.fromkeys(names, "done") | {"endless": "timed-out"}
    found = pretend(names, patience=3.0)
    assert found == want
    assert time.monotonic() - start < 30


def test_a_worker_that_never_comes_up_is_an_error():
    jobs = [Job(Path("a"), Path("out"))]
    for command, message in (("raise SystemExit(7)", "status 7"), ("input(); input()", "in time")):
        crew = WorkerPool({}, patience=2.0, command=(sys.executable, "-c", command))
        with crew, pytest.raises(DalFastError, match=message) as info:
            list(crew.screen(jobs))
        assert info.value.code == "worker-died"
        assert not crew.pids
