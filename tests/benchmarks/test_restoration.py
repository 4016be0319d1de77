"""The benchmark of restoration: what is planted is found, a run goes on, and tables judge rows."""

import json
import math
from dataclasses import replace

import pytest
import torch
from brains import subjects, write_dataset

from benchmarks import restoration, restoration_cases
from benchmarks.restoration_cases import Job, KnownRecipe, Row, draw, fields_off, jobs, measure
from benchmarks.rows import Detector, read_rows
from dal_fast.evaluation.validation_samples import DECOY
from dal_fast.models import load_screening_model
from dal_fast.screening.calibration import Calibration
from dal_fast.synthesis.brains import bids_sources, load_brains

SIZE = "10 to 60 mL"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data set of one held-out subject."""
    return write_dataset(tmp_path_factory.mktemp("restored") / "data", subjects(0, 1))


@pytest.fixture(scope="module")
def brain(data):
    return load_brains(bids_sources(data, held_out=True))[0]


@pytest.fixture
def model(weights):
    return load_screening_model(weights)


class Planted(torch.nn.Module):
    """phi keeps half of the scan, and b is what it is told."""

    def __init__(self, model, bias):
        super().__init__()
        self.model, self.bias = model, bias
        self.config, self.space_for = model.config, model.space_for
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x, mask):
        output = self.model(x, mask)
        return output._replace(pseudo_healthy=x.clamp_max(1) / 2, bias=self.bias.expand_as(x))


def _row(**facts):
    usual = Row(
        "digest", "case", "sub", 0, "FLAIR", "bright", SIZE, 0.0, 20.0, 6.0, "FLAIR", "FLAIR",
        height=0.5, moved=0.02, off=0.02, off_twin=0.01, shift=0.02, shift_twin=-0.01,
        precision=0.5, above=0.1, above_twin=0.0,
    )  # fmt: skip
    return replace(usual, **facts)


def test_a_field_changes_nothing_else_and_is_known(model, brain, monkeypatch):
    quiet = {"noise": (0.0, 0.0), "mask_gaps": 0.0}
    monkeypatch.setattr(
        restoration_cases, "KnownRecipe", lambda bias: KnownRecipe(bias=bias, **quiet)
    )
    plain, even = Job(0, 0, "FLAIR", "bright", SIZE, 0.0), Job(0, 0, "FLAIR", "bright", SIZE, 0.4)
    (first, twin, own), (second, _, both) = (draw(model, brain, job) for job in (plain, even))
    assert first.lesion.any()
    assert torch.equal(first.lesion, second.lesion)
    seen = first.mask & (first.image > 0) & (first.image < 1.9) & (second.image < 1.9)
    ratio = (second.image / first.image)[seen].log()
    coil = (both / own)[seen].log()
    assert float(coil.std()) == pytest.approx(0.4, rel=0.1)
    assert float((ratio - coil).std()) < 0.02  # own fields are fitted
    assert (twin.image != first.image)[first.lesion].float().mean() > 0.9
    assert (twin.image == first.image)[seen & ~first.lesion].float().mean() > 0.5


def test_the_twin_of_decoys_has_none_and_all_else(model, brain):
    sample, twin, _ = draw(model, brain, Job(0, 0, "T2w", DECOY, "0", 0.4))
    changed = (sample.image - twin.image).abs()
    assert sample.decoy.any()
    assert not sample.lesion.any()
    elsewhere = changed[sample.mask & ~sample.decoy]
    assert float(elsewhere.median()) == 0
    assert float(changed[sample.decoy].mean()) > 3 * float(elsewhere.mean())


def test_what_is_planted_is_found(model, brain):
    detector = Detector(Planted(model, torch.ones(1)), Calibration(), "digest")
    row = measure(detector, brain, Job(0, 0, "FLAIR", "bright", SIZE, 0.4))
    assert row.height > 0
    assert row.moved / row.height == pytest.approx(0.5)
    assert row.off_twin == row.off > 0.01  # b is 1, and the truth is not
    assert row.shift_twin == row.shift
    assert row.ml > 0
    assert 0 < row.precision <= 1
    assert math.isnan(row.decoys)


def test_the_error_of_a_field_is_found(model):
    truth = torch.rand(1, 1, 8, 8, 8) + 0.5
    lesion = torch.zeros(1, 1, 8, 8, 8, dtype=torch.bool)
    lesion[..., :3] = True
    output = model(truth, torch.ones_like(lesion))
    wrong = output._replace(bias=3 * truth * torch.where(lesion, 0.9, 1.0))
    right = output._replace(bias=0.2 * truth)
    found = fields_off(wrong, right, truth, lesion, ~lesion)
    assert found["shift"] == pytest.approx(math.log(0.9), abs=1e-5)
    assert found["off"] == pytest.approx(-math.log(0.9), abs=1e-5)
    assert found["off_twin"] == pytest.approx(0, abs=1e-5)
    unknown = output._replace(bias=None)
    assert fields_off(unknown, unknown, truth, lesion, ~lesion) == {}


def test_a_run_that_was_cut_off_goes_on(data, weights, tmp_path, monkeypatch, capsys):
    some = [
        job
        for job in jobs(1, (0,))
        if (job.contrast, job.size) in (("FLAIR", SIZE), ("FLAIR", "0"))
    ]
    assert [(job.sign, job.log_sd) for job in some] == [
        ("bright", 0.0), ("bright", 0.4), ("dark", 0.0), ("dark", 0.4), (DECOY, 0.0),
    ]  # fmt: skip
    monkeypatch.setattr(restoration, "jobs", lambda brains, seeds: some)
    words = ["--data", str(data), "--weights", str(weights), "--skip", "0"]
    for out, shares in (("whole", ("0/1",)), ("parts", ("0/2", "0/2", "1/2"))):
        for share in shares:
            assert restoration.main([str(tmp_path / out), *words, "--share", share]) == 0
            path = tmp_path / out / "rows-0-of-2.jsonl"
            if share == "0/2":
                path.write_bytes(path.read_bytes()[:-10])
    whole, parts = (read_rows(tmp_path / out, Row) for out in ("whole", "parts"))
    assert len(whole) == len(some)
    assert {row.case for row in parts} <= {row.case for row in whole}
    assert len({row.ml for row in whole[:2]}) == 1  # the same lesion, with a field and without
    assert [math.isnan(row.decoys) for row in whole] == [True] * 4 + [False]
    assert [math.isnan(row.precision) for row in whole] == [False] * 4 + [True]
    assert "5 scans" in capsys.readouterr().out


def test_the_tables_judge_every_aim(tmp_path, capsys):
    rows = [
        _row(case="a"),
        _row(case="b", log_sd=0.4, precision=0.45, above=0.1, above_twin=0.2, off=0.05),
        _row(case="c", size="60 to 200 mL", height=1.0, moved=0.08, guess="T1w"),
        _row(case="d", size="60 to 200 mL", log_sd=0.4, precision=0.45, percent=20.0),
        _row(case="h", size="other", moved=-0.01, height=0.05),
        _row(case="e", sign="dark", ml=9.0, height=-1.0, moved=-1.0),
        _row(case="f", sign=DECOY, decoys=0.75, decoys_twin=0.72),
        _row(case="g", sign=DECOY, size="1", decoys=0.65, decoys_twin=0.64),
    ]
    lines = "".join(json.dumps(vars(row)) + "\n" for row in rows)
    (tmp_path / "rows-0-of-1.jsonl").write_text(lines)
    assert restoration.main([str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    verdicts = [line.split(": ")[-1] for line in shown.splitlines() if line.startswith("- (")]
    assert verdicts == [
        f"missed, {met} checks met" for met in ("1 of 2", "1 of 2", "1 of 3", "0 of 1", "1 of 2")
    ]
    assert "| FLAIR bright | 3 | .058 (.021) | .040 | +.517 | .067 (.018, n=2) |" in shown
    assert "| FLAIR bright, field 0.4 | 2 | .035 (.015) | .010 | +.025 (.015) |" in shown
    assert "| FLAIR | 2 | .500 → .450 | −.050 (.000) | .050 | .100 → .100 | +.000 (.000) |" in shown
    assert "| FLAIR bright | 4 | 75% (22%) | 100% | 1 T1w |" in shown
    assert "| FLAIR | 2 | .700 (.050) | .680 (.040) | +.020 (.010) |" in shown
    assert "| to .100 | – | – |" in shown  # .05, and of no size that has a column
    assert "| .200 and more | 2, .475 (.025) | 2, .475 (.025) |" in shown


def test_the_share_of_all_together_is_not_decided_by_faint_ones():
    share, error = restoration.ratio([0.1, 0.0, 0.5], [1.0, 1.0, 0.01])
    assert share == pytest.approx(0.6 / 2.01)
    assert error > 0
    assert restoration.ratio([0.1, 0.2], [1.0, 2.0]) == (pytest.approx(0.1), pytest.approx(0))
