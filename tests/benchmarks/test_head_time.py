"""The head whose time is taken has the size that the numbers are given for."""

import nibabel as nib
import numpy as np
import pytest

from benchmarks.head_time import SIDES, fitted


@pytest.mark.parametrize("sides", [(256, 256, 256), (90, 300, 12)])
def test_a_head_is_cut_and_padded_around_its_middle(sides):
    data = np.zeros(sides, np.float32)
    data[tuple(n // 2 for n in sides)] = 1
    found = np.asanyarray(fitted(nib.Nifti1Image(data, np.eye(4))).dataobj)
    assert found.shape == SIDES
    assert np.abs(np.argwhere(found)[0] - np.array(SIDES) // 2).max() <= 1
