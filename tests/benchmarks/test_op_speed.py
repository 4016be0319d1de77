"""Speed of every op on a small brain (``--benchmark-enable``), and the benchmark program itself.

Without that option each op still runs once and must return what its reference returns.
"""

import csv
import dataclasses
import io

import contenders
import pytest
from rich.console import Console

from benchmarks import results_file, run
from benchmarks.registry import CASES
from benchmarks.verify import CHECKS, verify
from benchmarks.volumes import brain
from dal_fast import ops

SHAPE = (20, 24, 28)


@pytest.fixture(scope="module")
def volumes():
    return brain(SHAPE)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_speed(benchmark, case, volumes):
    benchmark.group = case.op
    benchmark(case.ours(volumes, "auto"))


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_result(name):
    verify(name)


def test_the_registry_names_every_public_op():
    covered = {name for case in CASES for name in case.covers}
    assert covered == set(CHECKS) == {name for name in ops.__all__ if name != "LEVELS"}
    assert {case.goal.peer for case in CASES if case.goal} <= {p for c in CASES for p in c.peers}


def test_inputs_are_the_same_every_time_and_look_like_a_brain(volumes):
    again = brain(SHAPE)
    for field in dataclasses.fields(volumes):
        assert getattr(volumes, field.name).equal(getattr(again, field.name))
    assert 0.2 < volumes.mask.float().mean() < 0.6
    assert volumes.lesion.any()
    for level in ops.LEVELS:
        assert (volumes.anatomy == level).float().mean() > 0.02


def _reported(cases, folder):
    console = Console(file=io.StringIO(), record=True, width=200)
    code = run.report(cases, SHAPE, 2, folder, console)
    return code, console.export_text()


def _rows(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_every_case_is_reported_and_written(tmp_path):
    cases = [dataclasses.replace(case, peers=contenders.ALL) for case in CASES]
    code, text = _reported(cases, tmp_path)
    assert code == 0
    assert text.count("not installed") == len(cases)
    assert text.count("failed: ZeroDivisionError") == len(cases)
    (path,) = tmp_path.glob("*.csv")
    rows = _rows(path)
    assert {(r["case"], r["contender"]) for r in rows} == {
        (case.name, who) for case in CASES for who in ("dal_fast", "torch")
    }
    assert len(rows) == 2 * len(CASES)
    for row in rows:
        assert float(row["p20_ms"]) <= float(row["median_ms"]) <= float(row["p80_ms"])
        assert float(row["ratio"]) > 0
        assert float(row["floor_ms"]) > 0
        assert all(row[k] for k in ("isa", "threads", "machine", "torch", "commit", "date"))
    _reported(cases[:1], tmp_path)
    assert len(_rows(path)) == len(rows)  # replaced, not doubled


def test_an_op_whose_result_is_wrong_is_refused(tmp_path, monkeypatch):
    def wrong(volumes, backend):
        raise AssertionError("5 of 7 voxels differ")

    case = dataclasses.replace(CASES[0], peers={})
    monkeypatch.setitem(CHECKS, case.covers[0], wrong)
    code, text = _reported([case], tmp_path)
    assert code == 1
    assert "5 of 7 voxels differ" in text
    assert not list(tmp_path.iterdir())


def test_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "QUICK", SHAPE)
    monkeypatch.setattr(results_file, "FOLDER", tmp_path)
    assert run.main(["--quick", "--ops", "onehot", "--repeats", "1", "--threads", "2"]) == 0
    assert "one-hot" in capsys.readouterr().out
    assert list(tmp_path.glob("*.csv"))
    with pytest.raises(SystemExit) as refused:
        run.main(["--ops", "nonsense"])
    assert refused.value.code == 2
    assert "no such op: nonsense" in capsys.readouterr().err
