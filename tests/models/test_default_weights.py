"""The shipped weights on brains that they were not trained on."""

import warnings

import numpy as np
import pytest
import torch
from tiny import needs_default_weights

from dal_fast.imaging.normalise import normalise
from dal_fast.models import load_weights, read_card
from dal_fast.synthesis.brains import bids_sources, load_brains
from dal_fast.training.losses import tissue_dice


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


@needs_default_weights
def test_tissue_of_the_template():
    """MNI152, an average of 152 people, which nilearn brings along with its tissue maps."""
    datasets = pytest.importorskip("nilearn.datasets")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nilearn's own deprecations
        brain = datasets.load_mni152_brain_mask(resolution=2).get_fdata() > 0.5
        scan = datasets.load_mni152_template(resolution=2).get_fdata() * brain
        grey = datasets.load_mni152_gm_template(resolution=2).get_fdata()
        white = datasets.load_mni152_wm_template(resolution=2).get_fdata()
    fluid = np.clip(1 - grey - white, 0, 1)
    tissue = torch.from_numpy(np.stack([fluid, grey, white]).argmax(0))[None]
    mask = torch.from_numpy(brain)[None, None]
    x, _, _ = normalise(torch.from_numpy(scan.astype(np.float32))[None, None], mask)
    with torch.inference_mode():
        logits = load_weights()(x, mask).tissue_logits
    fluid_dice, grey_dice, white_dice = tissue_dice(logits, tissue, mask)[0].tolist()
    assert fluid_dice > 0.5
    assert grey_dice > 0.7
    assert white_dice > 0.7
