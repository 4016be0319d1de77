"""The comparison of variants runs end to end, and repeats nothing that is there."""

import csv

import pytest
from brains import write_dataset

from benchmarks import variants
from dal_fast.evaluation.validation_set import make_validation, write_set
from dal_fast.synthesis.brains import bids_sources, is_held_out, load_brains
from dal_fast.training.config import read_config, recipe_names

pytest.importorskip("lightning_fabric")
TINY = {"tissue_widths": (4, 8), "anatomy_widths": (4, 8), "anatomy_channels": 4}


def test_every_recipe_is_compared_or_only_a_start():
    of_dal = {name for name in recipe_names() if read_config(name).model.kind == "dal"}
    assert set(variants.RECIPES) == of_dal - {"finetune", "varied", "teacher", "residual_head"}


def test_a_recipe_takes_the_run_of_its_own_seed(tmp_path):
    config = variants.small(read_config("means"), 3, 7, tmp_path / "default-3.safetensors")
    assert (config.seed, config.steps) == (3, 7)
    assert config.init == str(tmp_path / "default-3.safetensors")
    assert config.model.modality == "means"
    assert variants.small(read_config("published"), 3, 7, tmp_path).init is None


@pytest.mark.long
def test_table_of_two_variants(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(variants, "SMALL", {**variants.SMALL, **TINY})
    names = (f"sub-{i:03d}" for i in range(1000))
    held_out = next(name for name in names if is_held_out(name))
    data = write_dataset(tmp_path / "data", ["sub-000", held_out])
    made = tmp_path / "draw"
    brains = load_brains(bids_sources(data, held_out=True))
    write_set(made, list(make_validation(made, brains, 0)), 0)
    call = [str(made), "--data", str(data), "--out", str(tmp_path / "runs"), "--seeds", "0"]
    call += ["--recipes", "edges", "--steps", "1", "--device", "cpu"]
    assert variants.main(call) == 0
    assert "edges" in capsys.readouterr().out
    with (tmp_path / "runs" / "edges-0" / "draw.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["sign"] for row in rows} == {"bright", "dark"}  # the healthy one set thresholds
    weights = tmp_path / "runs" / "edges-0" / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    assert variants.main(call) == 0
    assert weights.stat().st_mtime_ns == before
