"""The pictures of the scaling benchmark say what was measured."""

import pytest

from benchmarks.scaling import draw, merged

STAGES = {
    "read": 0.02, "brain mask": 0.03, "model grid": 0.04, "network": 0.3, "score": 0.04,
    "median": 0.01, "scan grid": 0.05, "regions": 0.03, "write": 0.2, "all": 0.72,
}  # fmt: skip


def test_merged_stages_lose_no_time():
    found = merged(STAGES)
    assert len(found) == 5
    assert found["network"] == 0.3
    assert sum(found.values()) == pytest.approx(STAGES["all"])


def test_the_plot_holds_every_bar(tmp_path):
    pytest.importorskip("matplotlib")
    sizes = {(1.0, 2.0): (STAGES, 2**30), (1.0, 1.0): (STAGES, 2**31)}
    for name in ("one.svg", "two.svg"):
        draw(sizes, {1: (80.0, 2**30), 2: (120.0, 2**30)}, tmp_path / name)
    text = (tmp_path / "one.svg").read_text()
    for word in ("at 2", "0.72", "network", "120", "1.0 GiB"):
        assert word in text
    assert text == (tmp_path / "two.svg").read_text()
