"""The GPU's benchmark program with a stopwatch of the CPU; and on a GPU where there is one."""

import csv
import dataclasses
import io

import contenders
import pytest
import torch
from rich.console import Console

from benchmarks import gpu_run, run
from benchmarks.gpu_timing import Gpu, HostStopwatch, Stopwatch
from benchmarks.registry import CASES
from benchmarks.verify import CHECKS

SHAPE = (20, 24, 28)


def _reported(cases, folder, monkeypatch, **options):
    monkeypatch.setattr(HostStopwatch, "cache_bytes", 20 * 24 * 28 * 4)
    monkeypatch.setattr(Gpu, "measure", lambda watch, device: Gpu(1e9, 1e10))
    console = Console(file=io.StringIO(), record=True, width=240)
    code = gpu_run.report(cases, SHAPE, 2, folder, console, HostStopwatch(), "cpu", **options)
    return code, console.export_text()


def test_every_case_is_reported_and_written(tmp_path, monkeypatch):
    cases = [dataclasses.replace(case, gpu_peers=contenders.ALL) for case in CASES]
    code, text = _reported(cases, tmp_path, monkeypatch)
    assert code == 0
    assert "3 volumes" in text  # more than the cache, twice
    assert text.count("not installed") == text.count("failed: ZeroDivisionError") == len(cases)
    (path,) = tmp_path.glob("rehearsal.csv")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert {(r["case"], r["contender"]) for r in rows} == {
        (case.name, who) for case in CASES for who in ("dal_fast cpu", "torch")
    }
    for row in rows:
        assert float(row["p20_us"]) <= float(row["median_us"]) <= float(row["p80_us"])
        assert all(row[k] for k in ("batch", "ratio", "floor_us", "gpu", "commit"))
    _reported(cases[:1], tmp_path, monkeypatch)
    assert len(path.read_text().splitlines()) == len(rows) + 1  # replaced, not doubled


def test_when_the_time_is_up_no_peer_is_begun_and_the_table_says_so(tmp_path, monkeypatch):
    code, text = _reported(CASES[:2], tmp_path, monkeypatch, seconds=-1)
    assert code == 0
    assert text.count("no time was left") == sum(len(case.gpu_peers) for case in CASES[:2]) > 5
    (path,) = tmp_path.iterdir()
    assert len(path.read_text().splitlines()) == 1 + 2


def test_an_op_whose_result_is_wrong_is_refused(tmp_path, monkeypatch):
    def wrong(volumes, backend):
        raise AssertionError("5 of 7 voxels differ")

    case = dataclasses.replace(CASES[0], gpu_peers={})
    monkeypatch.setitem(CHECKS, case.covers[0], wrong)
    code, text = _reported([case], tmp_path, monkeypatch)
    assert code == 1
    assert "5 of 7 voxels differ" in text
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_command_says_why(capsys):
    with pytest.raises(SystemExit) as refused:
        run.main(["--device", "cuda"])
    assert refused.value.code == 2
    assert "--device cuda: " in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_stopwatch_on_a_gpu():
    watch = Stopwatch()
    x = torch.ones(2**24, device="cuda")
    assert 0 < watch.milliseconds(lambda: x + 1) < 100
    assert 60 < watch.peak_mb(lambda: x + 1) < 130
