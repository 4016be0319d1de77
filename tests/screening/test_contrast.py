"""Which contrast a scan has: who knows it, and what it looks like."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from brains import probabilities, structures

from dal_fast import DalFastError
from dal_fast.imaging.mask import BrainMask
from dal_fast.imaging.nifti import Volume
from dal_fast.screening.contrast import check_contrast, guess_contrast, known_contrast
from dal_fast.screening.scan import Scan

MEANS = {"T2w": (0.9, 0.5, 0.4), "FLAIR": (0.1, 0.55, 0.5), "T1w": (0.2, 0.45, 0.6)}


def _scan(name):
    data = np.zeros((4, 4, 4), np.float32)
    volume = Volume(data, np.eye(4), None, Path(name), "", 0)
    return Scan(name, volume, BrainMask(data > -1, None, None), {})


def test_who_knows_the_contrast():
    scan = _scan("sub-01_acq-x_T2w.nii.gz")
    by_header = replace(scan, contrast="T1w")
    assert known_contrast(by_header, "FLAIR").name == "FLAIR"
    assert known_contrast(by_header, "FLAIR").source == "option"
    assert known_contrast(by_header, None).name == "T2w"
    assert known_contrast(by_header, None).source == "file name"
    nameless = replace(_scan("brain.nii.gz"), contrast="T1w")
    assert known_contrast(nameless, None).name == "T1w"
    assert known_contrast(nameless, None).source == "header"
    not_bids = _scan("head of a patient_FLAIR.nii.gz")
    assert known_contrast(not_bids, None).name == "FLAIR"
    assert known_contrast(not_bids, None).source == "file name"
    assert known_contrast(replace(not_bids, contrast="T1w"), None).source == "header"
    for name in ("brain.nii.gz", "FLAIR_brain.nii.gz", "sub-01_PDw.nii.gz", "sub-01_T1map.nii.gz"):
        assert known_contrast(_scan(name), None) is None


def test_an_unknown_contrast_is_refused():
    assert check_contrast(None) is None
    assert check_contrast("FLAIR") == "FLAIR"
    with pytest.raises(DalFastError, match="T1w, T2w, FLAIR") as refused:
        check_contrast("flair")
    assert refused.value.code == "value"


@pytest.mark.parametrize("contrast", MEANS)
@pytest.mark.parametrize("lesion", [0.02, 0.98])
def test_a_large_lesion_does_not_change_the_guess(contrast, lesion):
    maps = structures()
    p, mask = probabilities(maps), maps > 0
    phi = torch.einsum("k,nkdhw->ndhw", torch.tensor(MEANS[contrast]), p)[:, None]
    x = phi.clone()
    where = torch.zeros_like(mask)
    where[..., 18:30, 10:26, 8:26] = True
    where &= mask & (p[:, :1] < 0.5)  # fluid stays fluid
    assert where.sum() > 0.15 * mask.sum()
    x[where] = lesion
    assert guess_contrast(x, phi, p, p[:, :1], mask) == contrast


def test_without_certain_tissue_there_is_a_guess():
    maps = structures()
    p, mask = probabilities(maps), maps > 0
    phi = torch.einsum("k,nkdhw->ndhw", torch.tensor(MEANS["T1w"]), p)[:, None]
    vague = (0.1 + 0.6 * p) * mask
    assert guess_contrast(phi, phi, vague, vague[:, :1], mask) == "T1w"
