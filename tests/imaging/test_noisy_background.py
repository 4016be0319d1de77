"""The noise around an MP2RAGE's uniform image is known and taken out; nothing else is touched."""

from pathlib import Path

import numpy as np
import pytest
from head_phantom import head_labels
from heads import head
from mp2rage import uniform_images
from phantom import phantom

from dal_fast.imaging.defects import find_defects
from dal_fast.imaging.nifti import Volume
from dal_fast.imaging.noisy_background import has_noisy_background, quiet_background

BRAIN = (2, 3, 4, 16, 24)


def volume(data):
    return Volume(np.asfortranarray(data, np.float32), np.eye(4), None, Path("x.nii"), "0", 0)


@pytest.fixture(scope="module")
def uniform():
    labels = head_labels()
    return labels, uniform_images(labels)[0]


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1 / 4095, -0.5)])
def test_noise_goes_and_the_head_stays(uniform, scale, shift):
    labels, data = uniform
    scan = volume(data * scale + shift)
    quiet, notes = quiet_background(scan)
    assert [note.code for note in notes] == ["noisy-background"]
    air = labels == 0
    air[:2] = air[-2:] = False
    assert np.mean(quiet.data[air] == 0) > 0.95
    brain = np.isin(labels, BRAIN)
    kept = np.abs(quiet.data - (scan.data - scan.data.min()))[brain] < 0.01 * 4095 * scale
    assert np.mean(kept) > 0.9  # its tissues have sharp edges
    assert quiet.data.shape == scan.data.shape


def test_a_background_of_noise_is_no_inverted_image(uniform):
    labels, data = uniform
    codes = [note.code for note in find_defects(volume(data), np.isin(labels, BRAIN))]
    assert "inverted-intensities" not in codes
    data = np.where(np.isin(labels, BRAIN), data, 4095)
    codes = [note.code for note in find_defects(volume(data), np.isin(labels, BRAIN))]
    assert "inverted-intensities" in codes


OTHERS = {
    "denoised": lambda: uniform_images(head_labels())[1],
    "head": lambda: head()[0],
    "grainy head": lambda: head(noise=60.0)[0],
    "thick slices": lambda: head(voxel_mm=(1.0, 1.0, 5.0))[0],
    "stripped": lambda: phantom("RAS")[0],
    "labels": head_labels,
    "almost empty": lambda: np.pad(np.ones((2, 2, 2)), 30),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_scans_are_left_alone(name):
    scan = volume(OTHERS[name]())
    assert not has_noisy_background(scan)
    assert quiet_background(scan) == (scan, ())
