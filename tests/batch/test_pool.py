"""Many scans in worker processes: one that fails, dies or hangs costs itself and no other."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from batch.pretender import pretend, pretender
from phantom import phantom, save
from tiny import tiny_weights

from dal_fast import DalFastError
from dal_fast.batch import pool as pool_module
from dal_fast.batch.job import STAGES, Job, Outcome, Stages
from dal_fast.batch.pool import WorkerPool
from dal_fast.batch.worker import Pipeline
from dal_fast.imaging.temporary import temporary_name
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
    assert through(Stages(screener), good).status == "done"
    for error, code, message in (
        (RuntimeError("something\nbroke"), "unexpected", "RuntimeError: something"),
        (MemoryError(), "out-of-memory", "needs more memory than there is"),
        (OSError(5, "Input/output error"), "unexpected", "Input/output error"),
    ):

        def screen_scan(self, scan, error=error):
            raise error

        monkeypatch.setattr(Screener, "screen_scan", screen_scan)
        outcome = through(Stages(screener), bad)
        assert outcome.code == code
        assert message in outcome.message
        assert "\n" not in outcome.message
    good.scan.unlink()
    assert through(Stages(screener), good).code == "file-missing"


def strike_the_first(pool, jobs, blow):
    """All outcomes, and the pid of a worker that got a signal after the first of them."""
    outcomes = []
    with pool:
        for outcome in pool.screen(jobs):
            outcomes.append(outcome)
            if len(outcomes) == 1:
                struck = pool.pids[0]
                os.kill(struck, blow)
    return outcomes, struck


def test_a_worker_that_is_killed_is_replaced_and_costs_no_scan(weights, tmp_path):
    pool = WorkerPool({"weights": weights, "runtime": "torch"}, workers=2)
    outcomes, struck = strike_the_first(pool, scans(tmp_path, 8), signal.SIGKILL)
    found = ends(outcomes)
    assert len(outcomes) == len(found) == 8
    assert set(found.values()) <= {"done", "kept"}
    assert list(found.values()).count("kept") <= 3  # written, and not reported any more
    assert pool.peak_bytes > 50 << 20
    assert not any(p.name.startswith(".") for p in (tmp_path / "out").iterdir())
    assert struck not in pool.pids


def freeze(weights, folder):
    """The outcomes of a pool whose worker is stopped, and pids that nothing may bear afterwards."""
    pool = WorkerPool({"weights": weights, "runtime": "torch"}, patience=10.0)
    outcomes, struck = strike_the_first(pool, scans(folder, 6), signal.SIGSTOP)
    return outcomes, (struck, *pool.pids)


@pytest.fixture(scope="module")
def waits(weights, tmp_path_factory):
    """Pools that lose their patience, as futures: they do so all at once."""
    folder = tmp_path_factory.mktemp("frozen")
    with ThreadPoolExecutor(4) as four:
        yield {
            "frozen worker": four.submit(freeze, weights, folder),
            "endless": four.submit(hang, "endless"),
            "frozen": four.submit(hang, "frozen"),
            "no begin": four.submit(
                pretend, "ab", start="send(ready={}); time.sleep(1000)", patience=2.0
            ),
        }


def test_a_worker_that_is_frozen_is_replaced_and_costs_no_scan(waits):
    outcomes, pids = waits["frozen worker"].result()
    assert len(ends(outcomes)) == len(outcomes) == 6
    assert set(ends(outcomes).values()) <= {"done", "kept"}
    assert not any(_alive(pid) for pid in pids)


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Slow:
    """Stages that take a while."""

    def read(self, job):
        time.sleep(0.2)

    def compute(self, job, scan):
        time.sleep(0.2)

    def write(self, job, result):
        return Outcome(job.scan, job.folder, "done")


class Notes(list):
    """A channel that keeps what is sent."""

    def send(self, **message):
        self.append(message)

    def wait_for_outcomes(self, count):
        deadline = time.monotonic() + 30
        while sum("outcome" in note for note in self) < count:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_stage_begins_when_the_one_before_has_ended(tmp_path):
    """Else a scan that waits would seem to hang, and one that hangs to wait."""
    notes, jobs = Notes(), [Job(Path(name), tmp_path) for name in "ab"]
    pipeline = Pipeline(Slow(), notes)
    for job_id, job in enumerate(jobs):
        pipeline.submit(job_id, job)
    notes.wait_for_outcomes(2)
    for job_id in range(2):
        own = [n for n in notes if n["job"] == job_id]
        assert [(n["stage"], n["begun"]) for n in own[:-1]] == [
            (stage, begun) for stage in STAGES for begun in (True, False)
        ]
        assert own[-1]["outcome"] == ("done", "", "")


def test_two_scans_are_in_memory_at_most(tmp_path):
    """Reading is the fastest stage, and every scan that waits to be computed takes memory."""
    notes = Notes()
    pipeline = Pipeline(Slow(), notes)
    for job_id in range(5):
        pipeline.submit(job_id, Job(Path(str(job_id)), tmp_path))
    notes.wait_for_outcomes(5)
    held = most = 0
    for note in notes:
        held += note.get("stage") == "read" and note["begun"]
        held -= "outcome" in note
        most = max(most, held)
    assert most == 2  # while one is written, the next one is computed


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("end", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_an_exit_out_of_a_stage_is_an_outcome(tmp_path, monkeypatch, stage, end):
    """A library that calls sys.exit costs its own scan; nobody waits for an answer for ever."""

    def leave(self, job, *_):
        if job.scan.name == "bad":
            raise end
        return Outcome(job.scan, job.folder, "done")

    monkeypatch.setattr(Slow, stage, leave)
    notes = Notes()
    pipeline = Pipeline(Slow(), notes)
    for job_id, name in enumerate(("bad", "good")):
        pipeline.submit(job_id, Job(Path(name), tmp_path))
    notes.wait_for_outcomes(2)
    outcomes = {n["job"]: n["outcome"] for n in notes if "outcome" in n}
    assert outcomes[0][:2] == ("failed", "unexpected")
    assert type(end).__name__ in outcomes[0][2]
    assert outcomes[1] == ("done", "", "")


def test_settings_are_refused_before_anything_is_done(tmp_path):
    jobs = scans(tmp_path, 2)
    refusing = pretender('send(refused=["weights-missing", "nowhere"]); sys.exit()')
    for pool in (WorkerPool({"weights": "nowhere"}), WorkerPool({}, workers=2, command=refusing)):
        with pool:
            for _ in range(2):  # as a Ray node is asked, batch by batch
                with pytest.raises(DalFastError, match="nowhere") as info:
                    list(pool.screen(jobs))
                assert info.value.code == "weights-missing"
                assert not pool.pids
    for options in ({"workers": 0}, {"patience": 0.0}):
        with pytest.raises(DalFastError) as info:
            WorkerPool({}, **options)
        assert info.value.code == "value"


@pytest.mark.parametrize("workers", [1, 3])
def test_only_a_scan_that_kills_its_worker_fails(workers):
    names = ["a", "b", "deadly", "c", "d", "leaving", "e", "f", "g"]
    want = dict.fromkeys(names, "done") | dict.fromkeys(("deadly", "leaving"), "worker-died")
    assert pretend(names, workers=workers) == want


def test_the_message_says_how_the_worker_died_and_when():
    jobs = [Job(Path("deadly"), Path("out")), Job(Path("leaving"), Path("out"))]
    with WorkerPool({}, command=pretender()) as pool:
        found = {o.scan.name: o.message for o in pool.screen(jobs)}
    assert found["deadly"] == (
        "the worker was killed by SIGKILL (often for lack of memory) while reading the scan, also "
        "when it was retried alone"
    )
    assert "the worker ended with status 3 while reading" in found["leaving"]


@pytest.mark.parametrize("names", [["a", "once-kill", "b"], ["once-stop", "a", "b"], ["once-kill"]])
def test_a_worker_that_is_lost_by_no_fault_of_its_scans_costs_none(tmp_path, names):
    assert pretend(names, tmp_path, patience=3.0) == dict.fromkeys(names, "done")


def hang(bad):
    """How scans end of which one hangs, and after how many seconds."""
    start = time.monotonic()
    return pretend(["a", "b", "c", bad, "d", "e"], patience=3.0), time.monotonic() - start


@pytest.mark.parametrize("bad", ["endless", "frozen"])
def test_only_the_scan_that_hangs_is_given_up(waits, bad):
    """Of several that are in a stage, the one that is at fault; also when it began last."""
    found, seconds = waits[bad].result()
    assert found == dict.fromkeys("abcde", "done") | {bad: "timed-out"}
    assert seconds < 200  # not the thousand seconds that the scan takes


def test_a_worker_that_stops_between_stages_is_noticed(waits):
    """It was given a job, and never says that it has begun."""
    assert waits["no begin"].result() == {"a": "timed-out", "b": "timed-out"}


@pytest.mark.parametrize(
    ("start", "patience", "message"),
    [
        ("raise SystemExit(7)", 60.0, "the last of 3 ended with status 7"),
        ("time.sleep(1000)", 1.0, "the last of 3 took more than 1 s"),
        ("os.abort()", 60.0, "the last of 3 was killed by SIGABRT"),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_where_no_worker_starts_every_scan_fails(start, patience, message, workers):
    jobs = [Job(Path(name), Path("out")) for name in "abc"]
    with WorkerPool({}, workers=workers, patience=patience, command=pretender(start)) as pool:
        outcomes = list(pool.screen(jobs))
        assert not pool.pids
    assert [(o.scan.name, o.code) for o in outcomes] == [(name, "worker-died") for name in "abc"]
    assert {o.message for o in outcomes} == {f"no worker could be started: {message}"}


def test_a_command_that_is_not_there_fails_every_scan():
    with WorkerPool({}, command=("/nowhere/python",)) as pool:
        (outcome,) = pool.screen([Job(Path("a"), Path("out"))])
    assert outcome.code == "worker-died"
    assert "No such file" in outcome.message


ONLY_THE_FIRST = """
lock = Path(settings["settings"]["folder"], "first")
try:
    lock.touch(exist_ok=False)
except FileExistsError:
    BAD
"""


def pretend_first(tmp_path, names, bad, **options):
    """Only the first worker starts; ``bad`` is run by every other one."""
    jobs = [Job(Path(name), tmp_path) for name in names]
    command = pretender(ONLY_THE_FIRST.replace("BAD", bad))
    with WorkerPool({"folder": str(tmp_path)}, command=command, **options) as pool:
        return {o.scan.name: (o.code or o.status, o.message) for o in pool.screen(jobs)}


def test_workers_that_do_not_start_leave_the_work_to_one_that_does(tmp_path):
    names = list("abcdef")
    found = pretend_first(tmp_path, names, "os._exit(9)", workers=3)
    assert {name: status for name, (status, _) in found.items()} == dict.fromkeys(names, "done")


@pytest.mark.parametrize(
    ("bad", "code", "message"),
    [
        ("os._exit(9)", "worker-died", "ended with status 9"),
        ("send(refused=['device-unavailable', 'the GPU is gone']); sys.exit()",
         "device-unavailable", "was refused: the GPU is gone"),
    ],
)  # fmt: skip
def test_a_replacement_that_does_not_start_costs_no_outcome(tmp_path, bad, code, message):
    """The outcomes before the only worker died still arrive; the rest fails."""
    found = pretend_first(tmp_path, ["a", "b", "leaving", "c", "d", "e", "f"], bad)
    assert found["a"][0] == "done"
    assert found["f"] == (code, f"no worker could be started: the last of 3 {message}")
    assert len(found) == 7
    assert {status for status, _ in found.values()} == {"done", code}


def test_a_run_that_is_given_up_leaves_nothing_to_the_next(tmp_path):
    with WorkerPool({}, command=pretender(), workers=2) as pool:
        for outcome in pool.screen([Job(Path(f"old-{n}"), tmp_path) for n in range(6)]):
            assert outcome.scan.name.startswith("old")
            break
        new = [Job(Path(f"new-{n}"), tmp_path) for n in range(6)]
        assert {o.scan.name for o in pool.screen(new)} == {job.scan.name for job in new}
        assert list(pool.screen([])) == []


def test_a_second_run_ends_the_first(tmp_path):
    with WorkerPool({}, command=pretender()) as pool:
        first = pool.screen([Job(Path(f"old-{n}"), tmp_path) for n in range(6)])
        next(first)
        assert [o.scan.name for o in pool.screen([Job(Path("new"), tmp_path)])] == ["new"]
        with pytest.raises(DalFastError, match="begun to screen other jobs"):
            list(first)


def test_time_in_which_nobody_looked_is_not_held_against_a_worker(tmp_path):
    """The reader of the outcomes takes longer than the patience, or the pool itself was stopped."""
    jobs = [Job(Path(name), tmp_path) for name in "abcd"]
    with WorkerPool({}, command=pretender(), patience=3.0) as pool:
        outcomes = []
        for outcome in pool.screen(jobs):
            outcomes.append(outcome)
            if len(outcomes) == 1:
                time.sleep(4)
        pids = pool.pids
    assert ends(outcomes) == dict.fromkeys("abcd", "done")
    assert len(pids) == 1


def test_what_a_lost_worker_was_writing_is_removed(tmp_path):
    """A hidden folder of the worker's own, when it dies on the last scan of a folder."""
    stage = temporary_name(tmp_path).name.split("-")
    start = f"""
stat = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
name = {"-".join(stage[:1])!r} + f"-{{os.getpid()}}-{{stat[19]}}.dal-fast-tmp"
Path({str(tmp_path)!r}, name).mkdir()
"""
    if not Path("/proc/self/stat").exists():
        pytest.skip("start times come from /proc")
    assert pretend(["deadly"], tmp_path, start) == {"deadly": "worker-died"}
    assert list(tmp_path.iterdir()) == []


def test_cores_are_shared_out(monkeypatch):
    monkeypatch.setattr(pool_module, "available_cores", lambda: 6)
    for workers, threads in ((1, 6), (4, 1), (3, 2), (9, 1)):
        assert WorkerPool({}, workers=workers)._settings["threads"] == threads
    assert WorkerPool({}, workers=2, threads=5)._settings["threads"] == 5
