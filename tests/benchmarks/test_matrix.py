"""The matrix of shapes, threads and paths, on volumes that cost nothing."""

import csv
import math

import pytest

from benchmarks import matrix
from benchmarks.registry import CASES
from dal_fast.context import _C

SMALL = ((12, 14, 20), (13, 15, 21))


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """Of one run of the command, and where it wrote."""
    folder = tmp_path_factory.mktemp("matrix")
    words = ["--ops", "median3d", "components3d", "--repeats", "2", "--threads", "1", "2"]
    words += ["--shapes", *("x".join(map(str, s)) for s in SMALL), "--no-peers"]
    words += ["--odd", "7x9x21", "--round", "8x8x20"]
    words += ["--out", str(folder), "--plot", str(folder / "docs" / "cost.svg")]
    isa = _C.current_isa()
    assert matrix.main(words) == 0
    assert _C.current_isa() == isa
    return folder


def rows_of(folder):
    found = []
    for path in folder.glob("*.csv"):
        with path.open(newline="") as file:
            found += list(csv.DictReader(file))
    return found


def test_every_shape_thread_count_and_path_is_measured(output):
    cases = [case.name for case in CASES if case.op in ("median3d", "components3d")]
    keys = {(r["case"], r["shape"], r["threads"], r["isa"]) for r in rows_of(output)}
    shapes = ["×".join(map(str, s)) for s in SMALL]
    want = [
        (case, shape, threads, isa)
        for case in cases
        for shape in shapes
        for threads in "12"
        for isa in _C.supported_isas()
    ]
    assert sorted(keys) == sorted(want)
    assert all(float(r["median_ms"]) > 0 for r in rows_of(output))


def test_the_plot_names_every_op(output):
    svg = (output / "docs" / "cost.svg").read_text()
    assert "median 5³" in svg
    assert "components, 26 neighbours" in svg


def test_comparisons_are_per_voxel_and_between_threads(monkeypatch):
    def timed(calls, repeats, budget):
        assert repeats == 3
        ms = {matrix.ODD: 1.2 * math.prod(matrix.ODD), matrix.FULL: math.prod(matrix.FULL)}
        return {
            name: matrix.Timing(t, t, t, repeats)
            for name in calls
            for shape, t in ((s, ms[s] * (1.8 if name.endswith("1)") else 1)) for s in ms)
            if str(shape) in name
        }

    monkeypatch.setattr(matrix, "interleaved", timed)
    monkeypatch.setattr(matrix, "brain", lambda shape: None)
    monkeypatch.setattr(matrix, "ours", lambda case, volumes, isa: None)
    table = matrix.comparisons(CASES[:1], matrix.ODD, matrix.FULL, 3)
    cells = [next(iter(column.cells)) for column in table.columns]
    count = len(_C.supported_isas())
    assert cells == [CASES[0].name, *["1.20"] * count, *["1.80"] * count]


def test_memory_counts_what_a_call_takes():
    megabytes = 64
    kept = []

    def call():
        kept[:] = [b"x" * (megabytes << 20)]

    assert 0.8 * megabytes < matrix.peak_bytes(call) / 2**20 < 1.5 * megabytes
