"""Brain extraction is trained: losses, samples, and a training to the end, left and resumed."""

import csv
import math

import head_phantom
import pytest
import torch
from interruption import Left, leave_after

from dal_fast import DalFastError
from dal_fast.models import load_brain_net, read_card
from dal_fast.synthesis.head_maps import head_maps, load_heads
from dal_fast.synthesis.heads import HeadSample
from dal_fast.training import train
from dal_fast.training.config import TrainConfig, read_config
from dal_fast.training.extraction import (
    HeadSamples,
    distance_loss,
    overlap_loss,
    split_heads,
)

MODEL = {"kind": "brain", "shape": (16, 32, 32), "voxel_mm": 2.5, "widths": (4, 8)}
STAGE = {
    "name": "extraction", "trains": ("extractor",), "steps": 3,
    "losses": {"distance": 1.0, "overlap": 0.5},
}  # fmt: skip


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    return head_phantom.write_maps(tmp_path_factory.mktemp("maps"), 5)


def _config(**changes):
    settings = {"model": MODEL, "stages": (STAGE,), "samples": {"brains": 2}, "validate_every": 2}
    return TrainConfig.model_validate({**settings, **changes})


def _run(config, maps, out, data=None, **progress):
    fabric = train.make_fabric("cpu", 1, config)
    return train.run(config, data, out, fabric, maps, train.Progress(**progress))


def test_the_losses_are_least_at_the_truth():
    target = torch.linspace(-10, 10, 64).view(1, 1, 4, 4, 4)
    for loss in (distance_loss, overlap_loss):
        assert float(loss(target, target, 10.0)) == pytest.approx(0, abs=1e-6)
        values = [float(loss(target + shift, target, 10.0)) for shift in (0.5, 1, 2, 4)]
        assert values == sorted(values)
        assert values[0] > 0


def test_beyond_the_reach_on_the_right_side_is_no_error():
    target = torch.tensor([10.0, -10.0]).view(1, 1, 1, 1, 2)
    assert float(distance_loss(1.5 * target, target, 10.0)) == 0
    assert float(distance_loss(-1.5 * target, target, 10.0)) > 2


def test_an_error_at_the_border_weighs_four_times():
    far, near = (torch.full((1, 1, 1, 1, 1), v) for v in (-9.999, 0.0))
    ratio = distance_loss(near + 1, near, 10.0) / distance_loss(far + 1, far, 10.0)
    assert float(ratio) == pytest.approx(4 / (1 + 3 * math.exp(-9.999 / 3)), rel=1e-4)


def test_processes_share_the_heads_of_a_step(maps):
    heads = load_heads(head_maps(maps))
    used, held_out = split_heads(heads)
    assert [h.name for h in held_out] == ["sub-04"]
    assert len(used) == 4
    samples = HeadSamples(used, _config().model, 2, seed=1)
    cpu = torch.device("cpu")
    whole = samples.batch(7, 1.0, cpu)
    parts = [samples.batch(7, 1.0, cpu, rank, 2) for rank in range(2)]
    assert torch.equal(whole.image, torch.cat([part.image for part in parts]))
    assert torch.equal(whole.distance, torch.cat([part.distance for part in parts]))
    assert not torch.equal(whole.image, samples.batch(8, 1.0, cpu).image)


def test_a_share_of_the_heads_is_shrunken(maps, monkeypatch):
    paths = head_maps(maps)
    used, _ = split_heads(load_heads(paths))
    shrunken = load_heads(split_heads(paths)[0], shrunken=True)
    drawn = []
    monkeypatch.setattr(
        "dal_fast.training.extraction.head_of", lambda _, head, __: drawn.append(head.name)
    )
    monkeypatch.setattr("dal_fast.training.extraction.join_heads", lambda _: synthetic)
    synthetic = HeadSample(*torch.zeros(3, 1), traits=((),))
    samples = HeadSamples(used, _config().model, 1, 1, shrunken)
    for step in range(300):
        samples.batch(step, 1.0, torch.device("cpu"))
    assert len(set(drawn)) == 8
    assert 0.25 < sum(name.endswith("-shrunken") for name in drawn) / 300 < 0.42


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_training_to_the_end(maps, tmp_path, precision):
    weights = _run(_config(precision=precision), maps, tmp_path)
    assert load_brain_net(weights).config.shape == (16, 32, 32)
    card = read_card(weights)
    assert card["split"] == {"maps": 4, "held_out": 1}
    assert set(card["metrics"]) == {"dice", "dice_worst_tenth", "error_mm"}
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    assert [row["step"] for row in rows] == ["1", "2", "3"]
    assert all(math.isfinite(float(row["total"])) for row in rows)
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 2


def test_it_learns(maps, tmp_path):
    totals = []
    stage = {**STAGE, "steps": 40, "rate": 1e-2}
    config = _config(stages=(stage,), validate_every=1000)
    _run(config, maps, tmp_path, step=lambda step, *_: totals.append(step.losses["total"]))
    assert sum(totals[-8:]) < 0.8 * sum(totals[:8])


def test_interrupted_the_end_is_the_same(maps, tmp_path):
    config = _config(checkpoint_every=1)
    whole = load_brain_net(_run(config, maps, tmp_path / "whole")).state_dict()

    with pytest.raises(Left):
        _run(config, maps, tmp_path / "left", step=leave_after(2))
    again = load_brain_net(_run(config, maps, tmp_path / "left")).state_dict()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_it_continues_from_weights(maps, tmp_path):
    first = _run(_config(), maps, tmp_path / "first")
    still = {**STAGE, "steps": 1, "rate": 1e-12}
    second = _run(_config(stages=(still,), init=str(first)), maps, tmp_path / "second")
    a, b = (load_brain_net(path).state_dict() for path in (first, second))
    assert all(torch.allclose(a[name], b[name], atol=1e-3) for name in a)


def test_what_is_missing_is_named(maps, tmp_path):
    with pytest.raises(DalFastError, match="--maps") as caught:
        _run(_config(), None, tmp_path)
    assert caught.value.code == "value"
    with pytest.raises(DalFastError, match="--data") as caught:
        _run(read_config("finetune"), maps, tmp_path)
    assert caught.value.code == "value"


def test_the_recipe_is_the_shipped_network():
    config = read_config("strip")
    assert config.model.kind == "brain"
    assert config.model.shape == (80, 96, 96)
    assert config.precision == "bf16-mixed"
