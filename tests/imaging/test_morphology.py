"""Erosion and dilation, as scipy's."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from dal_fast.imaging.morphology import grown, shrunk

SHAPES = [(20, 15, 17), (1, 3, 9), (2, 2, 2), (12, 1, 30)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("voxels", [0, 1, 2, 4, 5, 8])
def test_dilation(shape, voxels):
    mask = np.random.default_rng(0).random(shape) < 0.01
    mask.flat[0] = True
    cube = np.ones((2 * voxels + 1,) * 3)
    found = grown(torch.from_numpy(mask)[None, None], voxels)[0, 0]
    np.testing.assert_array_equal(found, ndimage.binary_dilation(mask, cube))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_erosion(shape, axis):
    mask = np.random.default_rng(0).random(shape) < 0.9
    line = np.ones([3 if a == axis else 1 for a in range(3)])
    found = shrunk(torch.from_numpy(mask)[None, None], axis + 2)[0, 0]
    np.testing.assert_array_equal(found, ndimage.binary_erosion(mask, line))
