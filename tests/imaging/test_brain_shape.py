"""A brain's shape says how it lies."""

import nibabel as nib
import numpy as np
import pytest
from heads import points_of

from dal_fast.imaging.brain_shape import in_world, odd_mask, unusual_shape

TURNS = {
    "upside down": (lambda m: m[:, :, ::-1], "as if upside down"),
    "turned round": (lambda m: m[:, ::-1], "as if turned round"),
    "turned to the side": (lambda m: np.rot90(m, axes=(0, 1)), "width and length"),
    "lying on the side": (lambda m: np.rot90(m, axes=(0, 2)), "its halves differ"),
    "lying on the back": (lambda m: np.rot90(m, axes=(1, 2)), "height and length"),
    "half of it": (lambda m: m[: m.shape[0] // 2], "width and length"),
}


def brain():
    """An egg, wider behind, flat below, with a stem: the outline of a brain, 2.5 mm."""
    affine = np.diag([2.5, 2.5, 2.5, 1.0])
    affine[:3, 3] = -100, -110, -90
    x, y, z = np.moveaxis(points_of((80, 88, 72), affine), -1, 0)
    width = 64 * (1 - 0.0016 * (y + 15))
    above = (x / width) ** 2 + ((y + 6) / 82) ** 2 + (z / np.where(z > 0, 68, 45)) ** 2 < 1
    below = (x / 46) ** 2 + ((y + 45) / 32) ** 2 + ((z + 42) / 24) ** 2 < 1
    stem = (np.hypot(x, y + 22) < 14) & (z < -20) & (z > -75)
    return above | below | stem


def test_a_brain_is_usual_wherever_it_lies_in_the_volume():
    mask = brain()
    assert unusual_shape(mask) == []
    assert unusual_shape(np.pad(mask, ((9, 0), (0, 7), (3, 0)))) == []
    assert unusual_shape(np.zeros((8, 8, 8), bool)) == []


@pytest.mark.parametrize("turn", TURNS)
def test_a_brain_that_lies_otherwise_is_not(turn):
    change, clause = TURNS[turn]
    assert any(clause in found for found in unusual_shape(change(brain())))


def test_a_ball_is_no_brain():
    points = points_of((40, 40, 40), np.eye(4))
    ball = np.linalg.norm(points - 20, axis=-1) < 15
    assert "its width and length are not a brain's" in unusual_shape(ball)


def turned(degrees):
    a = np.deg2rad(degrees)
    affine = np.diag([2.5, 2.5, 2.5, 1.0])
    affine[1:3, 1:3] = 2.5 * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    return affine


def test_a_header_that_tilts_the_brain_is_noticed():
    assert odd_mask(brain(), turned(0)) == []
    assert odd_mask(brain(), turned(10)) == []
    assert odd_mask(brain(), turned(40)) != []
    assert unusual_shape(brain()) == []  # along the scan's own axes it is none
    assert odd_mask(np.zeros((8, 8, 8), bool), turned(10)) == []


@pytest.mark.parametrize("axes", ["RAS", "LPI", "SAL", "PIR"])
def test_the_order_of_a_files_axes_does_not_matter(axes):
    image = nib.Nifti1Image(brain().astype(np.uint8), turned(0))
    order = nib.orientations.axcodes2ornt(tuple(axes))
    image = image.as_reoriented(
        nib.orientations.ornt_transform(nib.io_orientation(image.affine), order)
    )
    mask = np.asanyarray(image.dataobj) > 0
    one, other = in_world(mask, image.affine), in_world(brain(), turned(0))
    assert np.count_nonzero(one != other) < 0.04 * np.count_nonzero(one)  # ties of the nearest


def test_an_egg_is_rounder_than_a_brain():
    points = points_of((60, 70, 60), turned(0)) - 75
    egg = np.linalg.norm(points / [62, 80, 60], axis=-1) < 1
    assert "it is rounder than a brain" in odd_mask(egg, turned(0))


@pytest.mark.shared
@pytest.mark.parametrize("turn", [None, *TURNS])
def test_real_brains(shared_data, turn):
    paths = sorted(shared_data.glob("ixi-hh-2mm/*/anat/*_desc-brain_T1w.nii.gz"))[::20]
    assert len(paths) >= 9
    for path in paths:
        image = nib.as_closest_canonical(nib.load(path))  # right, anterior, superior
        mask = np.asanyarray(image.dataobj) > 0
        if turn is not None:
            mask = TURNS[turn][0](mask)
        assert bool(unusual_shape(mask)) == (turn is not None), path.name
        assert bool(odd_mask(mask, image.affine)) == (turn is not None), path.name
