"""The trainer from a folder on disk to a weight file, and its losses."""

import math

import pytest
import torch
from brains import write_dataset
from torch.nn import functional as F

from dal_fast import InputError
from dal_fast.data.synthesis import Recipe
from dal_fast.models import load_weights, read_card
from dal_fast.training import train_tissue
from dal_fast.training.dataset import fit, is_held_out, load_bids
from dal_fast.training.losses import tissue_dice, tissue_loss


def _names(held_out, count):
    names = (f"sub-{i:03d}" for i in range(1000))
    return [name for name in names if is_held_out(name) == held_out][:count]


@pytest.fixture
def dataset(tmp_path):
    return write_dataset(tmp_path / "data", _names(False, 2) + _names(True, 1))


def test_three_steps_end_to_end(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(train_tissue, "CHECKPOINT_STEPS", 2)
    out = tmp_path / "w.safetensors"
    train_tissue.main(dataset, out, minutes=5, steps=3, seed=1)
    card = read_card(out)
    assert card["steps"] == 3
    assert card["seed"] == 1
    assert card["split"] == {"scans": 2, "maps": 0, "held_out": 1}
    assert all(0 <= value <= 1 for value in card["metrics"].values())
    assert load_weights(out).parts == ("tissue",)


def test_a_seed_is_a_training(dataset):
    def losses(seed):
        torch.manual_seed(seed)
        model = train_tissue.DAL(train_tissue.DALConfig(tissue_widths=(4, 8)))
        samples = train_tissue.Samples(load_bids(dataset, False), [], seed, model.stride)
        return [loss for _, _, loss in train_tissue.train(model, samples, steps=3, minutes=5)]

    first = losses(0)
    assert first == losses(0)
    assert first != losses(1)
    assert all(math.isfinite(loss) for loss in first)


def test_training_learns(dataset, monkeypatch):
    """On easy samples, one contrast without disturbance, 40 steps at a high rate suffice."""
    monkeypatch.setattr(train_tissue, "RATE", 1e-2)
    torch.manual_seed(0)
    model = train_tissue.DAL(train_tissue.DALConfig(tissue_widths=(16, 32)))
    samples = train_tissue.Samples(load_bids(dataset, False), [], 0, model.stride)
    samples.recipe = Recipe(
        contrasts=(0.0, 0.0, 1.0, 0.0), lesions=0.0, spread=0.0, thick_slices=0.0,
        bias=(0.0, 0.0), noise=(0.0, 0.02), mask_error=0.0,
    )  # fmt: skip
    losses = [loss for _, _, loss in train_tissue.train(model, samples, steps=40, minutes=5)]
    assert sum(losses[-8:]) < 0.7 * sum(losses[:8])


def test_split_is_fixed_and_about_a_sixth():
    assert not is_held_out("sub-IXI012")
    share = sum(is_held_out(f"sub-{i}") for i in range(3000)) / 3000
    assert share == pytest.approx(1 / 6, abs=0.02)


def test_no_data_is_said(tmp_path):
    with pytest.raises(InputError) as refused:
        load_bids(write_dataset(tmp_path, []), held_out=False)
    assert refused.value.code == "no-data"


def test_fit_cuts_and_fills():
    x = torch.arange(4.0).view(1, 1, 4, 1, 1)
    assert fit(x, (6, 1, 1)).flatten().tolist() == [0, 0, 1, 2, 3, 0]
    assert fit(x, (2, 1, 1)).flatten().tolist() == [1, 2]


def test_loss_is_small_for_the_truth_and_counts_the_lesion():
    g = torch.Generator().manual_seed(0)
    tissue = torch.randint(0, 3, (1, 6, 6, 6), generator=g)
    mask = torch.ones(1, 1, 6, 6, 6, dtype=torch.bool)
    lesion = torch.zeros_like(mask)
    right = 20 * F.one_hot(tissue, 3).movedim(-1, 1).float()
    assert tissue_loss(right, tissue, mask, lesion) < 1e-3
    assert torch.allclose(tissue_dice(right, tissue, mask), torch.ones(1, 3, dtype=torch.float64))
    wrong = right.clone()
    wrong[..., 0, 0, 0] = right[..., 0, 0, 0].roll(1, dims=1)
    lesion[..., 0, 0, 0] = True
    without = tissue_loss(wrong, tissue, mask, torch.zeros_like(mask))
    assert tissue_loss(wrong, tissue, mask, lesion) - without == pytest.approx(10.0, rel=1e-3)


def test_voxels_outside_the_mask_have_no_say():
    tissue = torch.zeros(1, 4, 4, 4, dtype=torch.int64)
    mask = torch.zeros(1, 1, 4, 4, 4, dtype=torch.bool)
    mask[..., :2] = True
    logits = torch.randn(1, 3, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    changed = torch.where(mask, logits, -logits)
    empty = torch.zeros_like(mask)
    assert tissue_loss(logits, tissue, mask, empty) == tissue_loss(changed, tissue, mask, empty)
