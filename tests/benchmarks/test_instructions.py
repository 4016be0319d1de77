"""The gate on instruction counts, with a valgrind that says what the test tells it."""

import csv
import stat

import pytest

from benchmarks import instructions

COMPILER = "g++ 12.2.0"


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Two ops; the counts come from a file beside it."""
    counts = tmp_path / "counts"
    counts.write_text("median 1000\ncanny 2000\n")
    script(tmp_path / "count", f"cut -d' ' -f1 {counts}")
    (tmp_path / "bin").mkdir()
    script(
        tmp_path / "bin" / "valgrind",
        f'n=$(grep "^${{@: -1}} " {counts} | cut -d" " -f2)\necho "==7== Collected : $n" >&2',
    )
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return tmp_path / "count"


def script(path, text):
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def run(program, *words):
    baseline = program.with_name("instructions.csv")
    compiler = ("--compiler", COMPILER)
    return instructions.main([str(program), *compiler, "--baseline", str(baseline), *words])


@pytest.mark.parametrize(
    ("now", "code"), [("1000", 0), ("1050", 0), ("1051", 1), ("500", 0), ("999999", 1)]
)
def test_five_percent_more_fail(program, capsys, now, code):
    assert run(program, "--record") == 0
    program.with_name("counts").write_text(f"median {now}\ncanny 2000\n")
    assert run(program) == code
    said = capsys.readouterr().out
    assert ("above the recorded count: median" in said) == bool(code)


def test_an_op_that_is_gone_fails(program, capsys):
    assert run(program, "--record") == 0
    program.with_name("counts").write_text("canny 2000\n")
    assert run(program) == 1
    assert "recorded, but not counted: median" in capsys.readouterr().out


def test_other_compilers_are_kept_and_not_compared(program, capsys):
    baseline = program.with_name("instructions.csv")
    assert run(program, "--record") == 0
    instructions.write({"median": 1}, "clang 17", baseline)
    assert run(program) == 0
    assert "nothing to compare" not in capsys.readouterr().out
    with baseline.open(newline="") as file:
        assert {row["compiler"] for row in csv.DictReader(file)} == {COMPILER, "clang 17"}


def test_no_count_is_an_error(program):
    program.with_name("counts").write_text("median 0\n")
    with pytest.raises(RuntimeError, match="median: valgrind counted nothing"):
        run(program)


def test_without_valgrind_it_says_so(program, capsys, monkeypatch):
    monkeypatch.setattr(instructions.shutil, "which", lambda name: None)
    assert run(program) == 0
    assert "valgrind is not installed" in capsys.readouterr().out


def test_every_kernel_has_a_recorded_count():
    with instructions.BASELINE.open(newline="") as file:
        ops = {row["op"] for row in csv.DictReader(file)}
    kernels = {"hybrid_score", "l1_ssim_loss", "canny3d", "onehot_ste", "median3d_5"}
    assert ops >= kernels | {"components3d", "remove_small", "tfce3d", "voxel_metrics"}
