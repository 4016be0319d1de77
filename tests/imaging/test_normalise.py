"""The brain's median becomes 0.5, and it can be undone."""

import pytest
import torch

from dal_fast import DalFastError
from dal_fast.imaging.normalise import normalise


def brain(seed=0):
    g = torch.Generator().manual_seed(seed)
    image = 300 + 60 * torch.randn(1, 1, 12, 14, 16, generator=g)
    mask = torch.zeros(1, 1, 12, 14, 16, dtype=torch.bool)
    mask[..., 2:-2, 2:-2, 2:-2] = True
    return image, mask


@pytest.mark.parametrize("factor", [1e-4, 1.0, 1e5])
def test_median_is_a_half_whatever_the_scale(factor):
    image, mask = brain()
    out, field_of_view, _ = normalise(image * factor, mask)
    assert torch.equal(field_of_view, mask)
    assert float(out[field_of_view].median()) == pytest.approx(0.5, abs=1e-6)
    assert not out[~field_of_view].any()
    torch.testing.assert_close(out, normalise(image, mask)[0], rtol=0, atol=1e-6)


def test_the_field_of_view_is_where_there_is_signal():
    image, mask = brain()
    image[..., :6, :, :] = 0  # a third or more of the brain was not scanned
    out, field_of_view, _ = normalise(image, mask)
    assert torch.equal(field_of_view, mask & (image > 0))
    assert float(out[field_of_view].median()) == pytest.approx(0.5, abs=1e-6)


def test_bright_and_negative_voxels_are_clipped():
    image, mask = brain()
    image[..., 6, 6, 6], image[..., 7, 7, 7] = 1e6, -50
    out, field_of_view, _ = normalise(image, mask)
    assert (float(out.min()), float(out.max())) == (0, 2)  # four times the median
    assert not field_of_view[..., 7, 7, 7]


def test_a_standardised_scan_keeps_its_dark_tissue():
    image, mask = brain()
    standardised = (image - 300) / 60
    out, field_of_view, normalisation = normalise(standardised, mask)
    assert torch.equal(field_of_view, mask)
    assert float(out[mask].median()) == pytest.approx(0.5, abs=1e-6)
    kept = mask & (out > 0) & (out < 1)
    assert kept.sum() > 0.99 * mask.sum()
    assert normalisation.offset < -2
    torch.testing.assert_close(normalisation.image_to_scan(out)[kept], standardised[kept])


@pytest.mark.parametrize(
    "image",
    [
        torch.zeros(1, 1, 4, 4, 4),
        torch.full((1, 1, 4, 4, 4), -3.0),
        torch.linspace(0, 1e-40, 64).reshape(1, 1, 4, 4, 4),
    ],
    ids=["nothing", "one negative value", "too small for float32"],
)
def test_no_signal(image):
    with pytest.raises(DalFastError) as refused:
        normalise(image, torch.ones(1, 1, 4, 4, 4, dtype=torch.bool))
    assert refused.value.code == "no-signal"
    with pytest.raises(DalFastError):
        normalise(image + 5, torch.zeros(1, 1, 4, 4, 4, dtype=torch.bool))
