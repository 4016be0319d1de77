"""The accuracy table: measured on every path, exact where nothing is computed."""

import csv

import pytest

from benchmarks import accuracy
from dal_fast.context import _C


@pytest.fixture(scope="module")
def rows():
    before = _C.current_isa()
    measured = list(accuracy.measure((20, 22, 24), _C.supported_isas()))
    assert _C.current_isa() == before
    return measured


def test_every_op_type_and_path_has_a_row(rows):
    for dtype in accuracy.DTYPES:
        of = [r for r in rows if r.dtype == accuracy._name(dtype) and r.inputs == "brain"]
        assert {r.isa for r in of} == set(_C.supported_isas())
        assert len({r.op for r in of}) == len(accuracy.ARITHMETIC) + 11


def test_what_is_chosen_is_exact(rows):
    chosen = [r for r in rows if r.op not in (*accuracy.ARITHMETIC, accuracy.ENHANCEMENT)]
    assert {r.op for r in chosen if r.worst > 0} <= {"average precision"}
    assert max(r.worst for r in chosen if r.op == "average precision") < 1e-4


def test_enhancement_is_rounded_once(rows):
    of = {(r.dtype, r.isa): r.worst for r in rows if r.op == accuracy.ENHANCEMENT}
    rounding = {"float64": 1e-15, "float32": 2**-24, "float16": 2**-11, "bfloat16": 2**-8}
    assert {dtype for dtype, _ in of} == set(rounding)
    assert all(worst <= rounding[dtype] for (dtype, _), worst in of.items())


def test_hard_inputs_keep_their_digits(rows):
    """Float32 against float64; the naive formula loses everything beside an offset of 1,000."""
    maps = {(r.inputs, r.isa): r for r in rows if r.op == "SSIM map" and r.dtype == "float32"}
    for (inputs, isa), r in maps.items():
        assert r.worst < 2e-4, (inputs, isa)
        assert r.rms < 2e-5, (inputs, isa)
    isa = _C.current_isa()
    assert maps["brain + 1,000", isa].naive > 1
    assert maps["two constants", isa].worst < 1e-6 < maps["two constants", isa].naive
    means = [r.worst for r in rows if r.op == "mean SSIM" and r.dtype == "float32"]
    assert max(means) < 1e-6


def test_command_writes_the_table(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    out = tmp_path / "results" / "accuracy.csv"
    assert accuracy.main(["--quick", "--out", str(out)]) == 0
    assert "median 5³" in capsys.readouterr().out
    with out.open(newline="") as file:
        written = list(csv.DictReader(file))
    assert {r["dtype"] for r in written} == {accuracy._name(d) for d in accuracy.DTYPES}
    assert all(float(r["worst"]) >= float(r["rms"]) * 0.9 for r in written)
