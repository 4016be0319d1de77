"""The shipped weights on brains that they were not trained on."""

import hashlib
import warnings

import numpy as np
import pytest
import safetensors
import torch
from tiny import needs_default_weights

from dal_fast.imaging.normalise import normalise
from dal_fast.models import load_weights, read_card
from dal_fast.synthesis.brains import bids_sources, load_brains
from dal_fast.training.config import read_config, recipe_names
from dal_fast.training.losses import tissue_dice
from dal_fast.weights import DEFAULT

OF_TISSUE = "95e6362dc7de70928ec06aef38278889bcf3f56c72b9656032551c576b67f92d"

STARTING_HERE = [name for name in recipe_names() if read_config(name).init == "default"]


@needs_default_weights
def test_the_tissue_network_is_still_the_one_that_the_card_measured():
    """Whatever is added to the file, such as the head on residual evidence."""
    content = hashlib.sha256()
    with safetensors.safe_open(DEFAULT, framework="np") as file:
        for name in sorted(file.keys()):
            if name.startswith(("tissue.", "evidence.")):
                content.update(name.encode() + file.get_tensor(name).tobytes())
    assert content.hexdigest() == OF_TISSUE


@needs_default_weights
@pytest.mark.parametrize("recipe", STARTING_HERE)
def test_recipes_that_start_from_it_let_it_see_as_much(recipe):
    config = load_weights().config
    assert read_config(recipe).model.input_ceiling == config.input_ceiling


@pytest.mark.shared
def test_tissue_of_held_out_brains(shared_data):
    """Dice near what the card says, so that a broken file or a changed scale shows."""
    model = load_weights()
    claimed = read_card()["metrics"]["dice_real_T1w"]
    for brain in load_brains(bids_sources(shared_data / "ixi-hh-2mm", held_out=True)[:2]):
        mask = brain.structures > 0
        x, _, _ = normalise(brain.scans["T1w"].float(), mask)
        tissue = (brain.structures[:, 0].long() // 256 - 1).clamp_min(0)
        with torch.inference_mode():
            logits = model(x, mask).tissue_logits
        assert tissue_dice(logits, tissue, mask).mean().item() > claimed - 0.1


@pytest.fixture(scope="module")
def template():
    """MNI152, an average of 152 people, which nilearn brings along: scan, mask and tissue."""
    datasets = pytest.importorskip("nilearn.datasets")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nilearn's own deprecations
        brain = datasets.load_mni152_brain_mask(resolution=2).get_fdata() > 0.5
        scan = datasets.load_mni152_template(resolution=2).get_fdata() * brain
        grey = datasets.load_mni152_gm_template(resolution=2).get_fdata()
        white = datasets.load_mni152_wm_template(resolution=2).get_fdata()
    fluid = np.clip(1 - grey - white, 0, 1)
    tissue = torch.from_numpy(np.stack([fluid, grey, white]).argmax(0))[None]
    scan = torch.from_numpy(scan.astype(np.float32))[None, None]
    return scan, torch.from_numpy(brain)[None, None], tissue


@needs_default_weights
def test_tissue_of_the_template(template):
    scan, mask, tissue = template
    x, _, _ = normalise(scan, mask)
    with torch.inference_mode():
        logits = load_weights()(x, mask).tissue_logits
    fluid_dice, grey_dice, white_dice = tissue_dice(logits, tissue, mask)[0].tolist()
    assert fluid_dice > 0.5
    assert grey_dice > 0.7
    assert white_dice > 0.7


@needs_default_weights
def test_the_head_finds_a_dark_lesion_in_the_template(template):
    """A ball of 9 mL in white matter that is half as bright."""
    scan, mask, _ = template
    at = torch.stack(torch.meshgrid(*map(torch.arange, scan.shape[2:]), indexing="ij"))
    lesion = ((at - torch.tensor([32, 60, 48]).view(3, 1, 1, 1)).square().sum(0) < 6.5**2) & mask
    x, _, _ = normalise(torch.where(lesion, 0.5 * scan, scan), mask)
    with torch.inference_mode():
        evidence = load_weights()(x, mask).evidence
    assert evidence is not None
    assert evidence[lesion].mean() > 5 * evidence[mask & ~lesion].mean()
