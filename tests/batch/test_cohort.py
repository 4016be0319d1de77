"""The rank of a score among those of healthy participants."""

import pytest

from dal_fast.batch.cohort import FEWEST, rank_scores
from dal_fast.batch.records import Record


def record(label, score, suffix="T2w", session=""):
    name = f"sub-{label}{session}_{suffix}"
    return Record(name, label, session, suffix, score, 0.0, (), "", "", {}, None)


def test_standing_among_healthy_others():
    people = [record(f"{n:02}", 2.0**n) for n in range(FEWEST + 1)]
    healthy = [r.participant for r in people]
    found = rank_scores([*people, record("x", 2.0**20), record("x", 1.0, "FLAIR")], healthy)
    assert set(found) == {r.name for r in people} | {"sub-x_T2w"}
    assert found["sub-x_T2w"].percentile == 100
    assert found["sub-x_T2w"].n == FEWEST + 1
    # mean and SD of 0 to 5, in powers of two, by hand
    assert found["sub-x_T2w"].z == pytest.approx((20 - 2.5) / 1.8708287)
    # a healthy one is compared with the five others: 1 to 5
    assert found["sub-00_T2w"].z == pytest.approx((0 - 3) / 1.5811388)
    assert found["sub-00_T2w"].percentile == 0
    assert rank_scores(people, healthy[:FEWEST])["sub-05_T2w"].n == 5
    assert "sub-00_T2w" not in rank_scores(people, healthy[:FEWEST])


def test_among_equal_scores_there_is_a_percentile_and_no_z():
    people = [record(f"{n:02}", 0.5) for n in range(FEWEST)]
    found = rank_scores([*people, record("x", 3.0)], [r.participant for r in people])
    assert (str(found["sub-x_T2w"]), found["sub-x_T2w"].z_cell) == ("100 %", "n/a")
