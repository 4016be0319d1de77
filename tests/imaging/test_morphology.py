"""Erosion, dilation and components as scipy's; bounding boxes of arrays and of tensors."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from dal_fast.imaging.morphology import (
    bounding_box,
    dilate,
    erode,
    erode_along,
    largest_component_filled,
    outermost_voxels,
)

SHAPES = [(20, 15, 17), (1, 3, 9), (2, 2, 2), (12, 1, 30)]


def tensor(mask):
    return torch.from_numpy(mask)[None, None]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("voxels", [0, 1, 2, 4, 5, 8])
def test_dilation(shape, voxels):
    mask = np.random.default_rng(0).random(shape) < 0.01
    mask.flat[0] = True
    cube = np.ones((2 * voxels + 1,) * 3)
    np.testing.assert_array_equal(
        dilate(tensor(mask), voxels)[0, 0], ndimage.binary_dilation(mask, cube)
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_erosion_along_an_axis(shape, axis):
    mask = np.random.default_rng(0).random(shape) < 0.9
    line = np.ones([3 if a == axis else 1 for a in range(3)])
    np.testing.assert_array_equal(
        erode_along(tensor(mask), axis + 2)[0, 0], ndimage.binary_erosion(mask, line)
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("voxels", [0, 1, 2])
def test_erosion(shape, voxels):
    mask = np.random.default_rng(0).random(shape) < 0.98
    cube = np.ones((2 * voxels + 1,) * 3)
    np.testing.assert_array_equal(
        erode(tensor(mask), voxels)[0, 0], ndimage.binary_erosion(mask, cube)
    )


@pytest.mark.parametrize("margin", [0, 1, 3])
@pytest.mark.parametrize("order", ["C", "F"])
def test_bounding_box_is_scipys(order, margin):
    rng = np.random.default_rng(0)
    for _ in range(30):
        mask = np.asarray(rng.random((9, 12, 7)) < 0.01, order=order)
        mask[tuple(rng.integers(0, (9, 12, 7)))] = True
        (tight,) = ndimage.find_objects(mask.astype(int))
        want = tuple(
            slice(max(0, side.start - margin), min(size, side.stop + margin))
            for side, size in zip(tight, mask.shape, strict=True)
        )
        assert bounding_box(mask, margin) == want
        assert bounding_box(torch.from_numpy(mask), margin) == want
    empty = np.zeros((3, 4, 5), bool, order=order)
    assert bounding_box(empty, margin) == (slice(0, 0),) * 3
    assert bounding_box(torch.from_numpy(empty), margin) == (slice(0, 0),) * 3


def test_outermost_voxels_are_the_extremes_in_any_direction():
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = rng.random((9, 12, 7)) < 0.05
        mask[4, 5, 3] = True
        voxels, directions = outermost_voxels(mask), rng.normal(size=(3, 50))
        assert mask[tuple(voxels.T)].all()
        want = (np.argwhere(mask) @ directions).max(0)
        np.testing.assert_allclose((voxels @ directions).max(0), want)
    assert outermost_voxels(np.zeros((3, 4, 5), bool)).shape == (0, 3)


def test_largest_component_filled_is_scipys():
    rng = np.random.default_rng(0)
    for _ in range(30):
        noise = ndimage.gaussian_filter(rng.normal(size=(20, 23, 17)), 1)
        mask = noise > rng.uniform(-0.1, 0.3)
        labels, _ = ndimage.label(mask)
        sizes = np.bincount(labels.ravel())[1:]
        largest = np.flatnonzero(sizes == sizes.max()) + 1
        got = largest_component_filled(mask)
        assert any(np.array_equal(got, ndimage.binary_fill_holes(labels == n)) for n in largest)
    one = np.zeros((5, 6, 7), bool)
    one[4, 0, 6] = True
    np.testing.assert_array_equal(largest_component_filled(one), one)
    assert largest_component_filled(np.ones((3, 4, 5), bool)).all()
