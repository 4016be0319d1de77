"""The shipped weights on real brains that they were not trained on."""

import pytest
import torch

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
