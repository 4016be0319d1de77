"""From a score map to one number, a mask and its regions."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from dal_fast import DalFastError
from dal_fast.screening import postprocess
from dal_fast.screening.result import Image

AFFINE = np.array([[0, 2.0, 0, -30], [2.0, 0, 0, -40], [0, 0, -2.0, 50], [0, 0, 0, 1]])


def test_score_is_the_mean_of_the_highest_thousandth():
    rng = np.random.default_rng(0)
    values = rng.random((20, 30, 25)).astype(np.float32)
    mask = rng.random(values.shape) < 0.5
    inside = np.sort(values[mask])[::-1]
    expected = inside[: int(np.ceil(0.001 * inside.size))].mean(dtype=np.float64)
    volume, where = torch.from_numpy(values)[None, None], torch.from_numpy(mask)[None, None]
    assert postprocess.scan_score(volume, where) == pytest.approx(expected, rel=1e-6)
    assert postprocess.scan_score(volume * where + 5 * ~where, where) == pytest.approx(expected)
    assert postprocess.scan_score(volume, torch.zeros_like(where)) == 0


@pytest.mark.parametrize("size", [0, 3, 5])
def test_smoothing_is_the_median_inside_the_mask(size):
    values = torch.from_numpy(np.random.default_rng(1).random((1, 1, 12, 13, 14))).float()
    mask = torch.ones_like(values, dtype=torch.bool)
    out = postprocess.smooth(values, mask, size)
    want = ndimage.median_filter(values[0, 0].numpy(), size or 1, mode="reflect")
    assert np.array_equal(out[0, 0].numpy(), want)
    assert postprocess.smooth(values, ~mask, size).abs().max() == 0


def test_scales_keep_lesions_of_any_size():
    mask = torch.ones(1, 1, 24, 24, 24, dtype=torch.bool)
    noise = torch.rand(mask.shape, generator=torch.Generator().manual_seed(0))
    values = 0.5 * noise
    values[..., 4, 4, 4] = 4.0  # one voxel
    values[..., 12:18, 12:18, 12:18] = 2.0
    out = postprocess.smooth(values, mask, postprocess.SCALES)
    assert out[..., 4, 4, 4].item() == 2.0  # half of it
    assert (out[..., 13:17, 13:17, 13:17] == 2.0).all()
    assert out[..., 20:, :, :].max() < 0.5
    each = [w * postprocess.smooth(values, mask, s) for s, w in {5: 1.0, 3: 0.7, 0: 0.5}.items()]
    assert torch.equal(out, torch.stack(each).amax(0))


def test_mask_drops_specks_and_regions_describe_the_rest():
    values = np.zeros((40, 40, 40), np.float32)
    values[4:8, 4:8, 4:8] = 0.3  # 64 voxels of 8 mm³: 0.512 mL
    values[5, 6, 7] = 0.9
    values[20:24, 20:24, 20:22] = 0.5  # 0.256 mL
    values[30:32, 30:32, 30] = 2.0  # a speck of 0.032 mL
    image = Image(values, AFFINE)
    mask = postprocess.anomaly_mask(image, 0.25)
    assert mask.sum() == 64 + 32
    first, second = postprocess.regions(image, mask)
    assert first.volume_ml == pytest.approx(0.512)
    assert first.peak == pytest.approx(0.9)
    assert first.mean == pytest.approx((63 * 0.3 + 0.9) / 64, rel=1e-6)
    assert first.centre == pytest.approx(tuple(AFFINE[:3, :3] @ [5, 6, 7] + AFFINE[:3, 3]))
    assert second.volume_ml == pytest.approx(0.256)
    assert second.mean == pytest.approx(0.5)
    assert postprocess.regions(image, np.zeros_like(mask)) == []


def test_refusals():
    one = torch.zeros(1, 1, 4, 4, 4)
    with pytest.raises(DalFastError, match="one of") as caught:
        postprocess.smooth(one, one > 0, 4)
    assert caught.value.code == "value"
    for bad in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(DalFastError, match="positive"):
            postprocess.check_threshold(bad)
