"""The assessment of a weight file on synthetic lesions."""

import json

import pytest
import torch
from brains import write_dataset
from tiny import tiny_weights

from dal_fast.evaluation import synthetic
from dal_fast.models import load_weights
from dal_fast.training.dataset import is_held_out, load_bids


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    names = [name for name in (f"sub-{i:03d}" for i in range(100)) if is_held_out(name)][:3]
    return write_dataset(tmp_path_factory.mktemp("assess") / "data", names)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return tiny_weights(tmp_path_factory.mktemp("weights"))


def test_from_weights_to_numbers(dataset, weights, tmp_path, capsys):
    out = tmp_path / "numbers.json"
    synthetic.main(dataset, str(weights), size=0, seed=1, at_most=1, out=out)
    numbers = json.loads(out.read_text())
    assert list(numbers) == ["T2w", "FLAIR", "T1w"]
    for found in numbers.values():
        assert found["brains"]["with lesions"] == 1
        assert set(found["dice"]) == {"CSF", "GM", "WM"}
        assert set(found["average_precision"]) == {*synthetic.NAMES, "intensity"}
        for value in (*found["dice"].values(), *found["average_precision"].values()):
            assert 0 <= value <= 1
        assert set(found["healthy_value"]) == set(found["average_precision"])
    printed = capsys.readouterr().out
    assert "gated_positive" in printed
    assert "tissue Dice" in printed


def test_a_seed_is_an_assessment(dataset, weights):
    model, brains = load_weights(weights).eval(), load_bids(dataset, held_out=True, at_most=1)
    runs = [synthetic.assess(model, brains, "T2w", 3, seed).summary() for seed in (0, 0, 1)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_lesions_change_what_is_measured(dataset, weights):
    """Bright lesions in a FLAIR-like scan are found by plain intensity far above chance."""
    model, brains = load_weights(weights).eval(), load_bids(dataset, held_out=True)
    found = synthetic.assess(model, brains, "FLAIR", 0, 3)
    assert len(found.dice) == len(found.healthy["hybrid"]) == 3
    assert torch.tensor(found.precision["intensity"]).max() > 0.3
