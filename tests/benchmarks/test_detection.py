"""The benchmark of detection: every column has cases, a run goes on, and floors are paired."""

import json
import math
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from brains import subjects, write_dataset
from tiny import tiny_weights

from benchmarks import detection
from benchmarks.detection_cases import Row, jobs, plans
from benchmarks.rows import read_rows
from dal_fast.errors import InputError
from dal_fast.evaluation.validation_samples import DECOY, GENERATORS, HEALTHY, SIGNS


@pytest.fixture
def words(tmp_path):
    """What the command is told but for the folder of the rows: one held-out subject, one mask."""
    data = write_dataset(tmp_path / "data", subjects(0, 1))
    masks = tmp_path / "masks"
    masks.mkdir()
    lesion = np.zeros((182, 218, 182), np.uint8)
    lesion[80:100, 100:120, 80:100] = 1
    affine = np.diag([-1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = 90, -126, -72
    nibabel.save(nibabel.Nifti1Image(lesion, affine), masks / "a_lesion.nii.gz")
    weights = tiny_weights(tmp_path)
    return ["--data", str(data), "--masks", str(masks), "--weights", str(weights), "--skip", "0"]


def _row(**facts):
    floors = {f"{name} {median}": 0.0 for name in detection.FLOORS for median in (0, 3, 5)}
    usual = Row(
        "digest", "case", "shifted", "sub", 0, "FLAIR", "bright", 5.0, 0.0, 0, "bright",
        auto=0.5, told=0.5, floors=floors, dice=0.5, lesions={"1 to 10 mL": [1, 1]},
    )  # fmt: skip
    return replace(usual, **facts)


def test_every_column_is_drawn_by_every_generator():
    names = [job.name("sub") for job in jobs(2, (0, 1))]
    assert len(set(names)) == len(names) == 2 * 2 * sum(len(plans(g, 0)) for g in GENERATORS)
    for generator in GENERATORS:
        kinds = [(plan.contrast, plan.sign) for plan in plans(generator, 1)]
        for contrast in ("T1w", "T2w", "FLAIR"):
            assert all(kinds.count((contrast, sign)) == 3 for sign in SIGNS)
        drawn = {plan.sign for plan in plans(generator, 1)}
        assert (HEALTHY in drawn, DECOY in drawn) == (generator != "masks", generator == "shifted")
        numbers = [plan.number for subject in (0, 1) for plan in plans(generator, subject)]
        assert sorted(numbers) == list(range(len(numbers)))


def test_two_shares_and_a_run_that_was_cut_off_make_the_same_rows(words, tmp_path, monkeypatch):
    flair = [job for job in jobs(1, (0,)) if job.plan.contrast == "FLAIR"]
    some = [flair[n] for n in (0, 1, 8, 14, 15)]
    assert [job.plan.sign for job in some] == [HEALTHY, "bright", "bright", DECOY, "bright"]
    monkeypatch.setattr(detection, "jobs", lambda brains, seeds: some)
    parts, whole = tmp_path / "parts", tmp_path / "whole"
    assert detection.main([str(whole), *words]) == 0
    assert detection.main([str(parts), *words, "--share", "0/2"]) == 0
    path = parts / "rows-0-of-2.jsonl"
    path.write_bytes(path.read_bytes()[:-10])
    assert len(read_rows(parts, Row)) == len(some[::2]) - 1
    assert detection.main([str(parts), *words, "--share", "0/2"]) == 0
    assert detection.main([str(parts), *words, "--share", "1/2"]) == 0
    lines = [line for path in parts.glob("*.jsonl") for line in path.read_text().splitlines()]
    assert sorted(lines) == sorted((whole / "rows-0-of-1.jsonl").read_text().splitlines())
    rows = {json.loads(line)["case"]: json.loads(line) for line in lines}
    assert set(rows) == {job.name(subjects(0, 1)[0]) for job in some}
    for row in rows.values():
        assert math.isnan(row["auto"]) == (row["sign"] not in SIGNS)
        assert math.isnan(row["decoys"]) == (row["sign"] != DECOY)
        assert len(row["floors"]) == (9 if row["sign"] in SIGNS else 0)


def test_rows_of_other_weights_are_refused(words, tmp_path, monkeypatch):
    monkeypatch.setattr(detection, "jobs", lambda brains, seeds: [])
    (tmp_path / "rows-0-of-1.jsonl").write_text(json.dumps(vars(_row())) + "\n")
    with pytest.raises(InputError, match="other weights"):
        detection.main([str(tmp_path), *words])
    with pytest.raises(SystemExit):
        detection.main([str(tmp_path), *words[:2]])


def test_a_floor_is_the_best_that_may_be_used():
    floors = _row().floors | {"intensity 3": 0.1, "two_sided 5": 0.2, "dark_intensity 0": 0.4}
    rows = [_row(sign="dark", floors=floors, seed=n // 2, auto=0.1 * n) for n in range(4)]
    blind, told = (detection.against(rows, told) for told in (False, True))
    assert (blind.floor, blind.value) == ("two_sided 5", pytest.approx(0.2))
    assert (told.floor, told.value) == ("dark_intensity 0", pytest.approx(0.4))
    assert told.difference == pytest.approx(0.15 - 0.4)
    assert told.by_seed == pytest.approx((0.05 - 0.4, 0.25 - 0.4))
    assert told.error == pytest.approx(np.std([0, 0.1, 0.2, 0.3], ddof=1) / 2)
    assert str(told) == "−.250 (.065) [−.350 −.150]"
    t1w = detection.against([replace(row, contrast="T1w") for row in rows], told=False)
    assert t1w.floor == "dark_intensity 0"  # lesions are usually dark there


def test_the_tables_count_columns_and_leave_small_lesions_out(tmp_path, capsys):
    losing = _row().floors | {"intensity 0": 0.7}
    rows = [
        _row(case="a"),
        _row(case="b", ml=20.0, floors=losing, lesions={">= 10 mL": [2, 1]}),
        _row(case="c", ml=0.9, auto=0.0),
        _row(case="d", sign=HEALTHY, ml=0.0, auto=math.nan, above=0.5, floors={}),
        _row(case="e", sign=DECOY, ml=0.0, auto=math.nan, decoys=0.5, floors={}),
    ]
    lines = "".join(json.dumps(vars(row)) + "\n" for row in rows)
    (tmp_path / "rows-0-of-1.jsonl").write_text(lines)
    assert detection.main([str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "is told the sign in 1 of 2 columns of contrast x sign x volume\n" in shown
    assert "| FLAIR bright 1 to 10 mL | 1 | .500 |" in shown
    assert "| FLAIR bright 1 mL and more | 2 | .500 |" in shown
    assert "| `shifted` FLAIR bright | +.500 · +.500 (1) | −.200 · −.200 (1) | – |" in shown
    assert "| 1 of 1 | 1 of 2 | 0 |" in shown
    assert "| FLAIR, `shifted` | 0.50 | 0.50 | 0 | 1 |" in shown
    assert "| `auto` | – | – | .500" in shown


def test_what_changed_is_paired_by_case(tmp_path, capsys):
    healthy = _row(case="c", sign=HEALTHY, ml=0.0, auto=math.nan, above=0.5, floors={})
    for folder, extra, change in (("old", _row(case="x", auto=0.0), 0.0), ("new", healthy, 0.25)):
        rows = [_row(case="a", auto=0.5 + change), _row(case="b", auto=0.25 - change / 4), healthy]
        lines = "".join(json.dumps(vars(row)) + "\n" for row in (*rows, extra))
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "rows-0-of-1.jsonl").write_text(lines)
    assert detection.main([str(tmp_path / "new"), "--before", str(tmp_path / "old")]) == 0
    shown = capsys.readouterr().out
    row = "| FLAIR bright 1 to 10 mL | 2 | .375 → .469 | +.094 (.156) | .500 → .500 |"
    assert row in shown
    assert "| FLAIR healthy, % above | 1 | 0.500 → 0.500 | | |" in shown
