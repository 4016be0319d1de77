"""Inputs that are no ordinary head never end in a map that looks fine."""

import nibabel as nib
import numpy as np
import pytest
from odd_heads import ODD
from phantom import save
from tiny import needs_default_weights

from dal_fast import InputError, Screener

pytestmark = [pytest.mark.shared, pytest.mark.slow, needs_default_weights]


@pytest.fixture(scope="module")
def screener():
    return Screener(runtime="torch")


@pytest.fixture(scope="module")
def ordinary(shared_data):
    """A T1w head in voxels of about 2 mm: data and affine, axes right, anterior, superior."""
    path = shared_data / "ixi-hh-2mm/sub-IXI012/anat/sub-IXI012_T1w.nii.gz"
    image = nib.as_closest_canonical(nib.load(path))
    return np.asanyarray(image.dataobj).astype(np.float32), image.affine


def flags_of(screener, path, data, affine):
    """Codes of the flags, or of the refusal."""
    try:
        result = screener.screen(save(path, data, affine))
    except InputError as refused:
        return {refused.code}
    return {flag.code for flag in result.flags}


def test_there_are_enough_of_them():
    assert len(ODD) >= 24


def test_the_ordinary_head_has_no_doubtful_mask(screener, ordinary, tmp_path):
    flags = flags_of(screener, tmp_path / "sub-01_T1w.nii", *ordinary)
    assert not {"brain-not-found", "brain-mask-uncertain", "brain-mask-shape"} & flags


@pytest.mark.parametrize("name", ODD)
def test_an_odd_head_is_flagged_or_refused(screener, ordinary, tmp_path, name):
    data, affine = ordinary
    odd, its_affine = ODD[name](data.copy(), affine.copy())
    assert flags_of(screener, tmp_path / "sub-01_T1w.nii", odd, its_affine)
