"""The weights given to the kernels against the reference's own and against scipy's."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from dal_fast import reference
from dal_fast.reference.canny3d import _gaussian
from dal_fast.taps import canny_weights, ssim_weights


@pytest.mark.parametrize("kind", ["gaussian", "uniform"])
@pytest.mark.parametrize("window", [3, 5, 11, 33])
@pytest.mark.parametrize("sigma", [0.05, 0.5, 1.5, 2.0, 50.0])
def test_ssim_weights_are_the_reference_window(window, sigma, kind):
    half = torch.tensor(ssim_weights(window, sigma, kind), dtype=torch.float64)
    want = reference.window_weights(window, sigma, kind)
    assert len(half) == window // 2 + 1
    torch.testing.assert_close(half, want[window // 2 :], rtol=0, atol=1e-15)
    assert torch.equal(half.float(), want[window // 2 :].float())  # what the kernels compute with
    assert float(half[0] + 2 * half[1:].sum()) == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize("longest", [1, 2, 5, 41])
@pytest.mark.parametrize("sigma", [0.0, 0.1, 0.3, 1.0, 2.6, 30.0])
def test_canny_weights_are_the_reference_gaussian(sigma, longest):
    ours = canny_weights(sigma, longest)
    np.testing.assert_allclose(ours, _gaussian(sigma, longest), rtol=1e-15, atol=0)
    assert ours[0] == 1
    assert min(ours) >= 1e-10


@pytest.mark.parametrize("sigma", [0.8, 1.0, 1.5, 2.6])
def test_canny_weights_are_scipys(sigma):
    impulse = np.zeros(81)
    impulse[40] = 1
    want = ndimage.gaussian_filter1d(impulse, sigma)
    half = np.array(canny_weights(sigma, 160))
    both = np.concatenate([half[:0:-1], half]) / (half[0] + 2 * half[1:].sum())
    radius = len(half) - 1
    np.testing.assert_allclose(both, want[40 - radius : 41 + radius], rtol=1e-7, atol=1e-12)
    assert not want[: 40 - radius].any()
