"""The compiled closed form against torch."""

import pytest
import torch
from chain.volumes import MEANS, SHAPES, everywhere, far, phantom, random_case, reference_parts

from dal_fast.imaging.morphology import dilate
from dal_fast.models.recouple import closed_form

TOLERANCE = 1e-5
ENOUGH_FOR_A_FIT = SHAPES[:2]


def check(x, p, mask):
    """phi, means and bias are those of float64 and of torch's float32."""
    got = everywhere(closed_form, x, p, mask)
    exactly = reference_parts(closed_form, x, p, mask, double=True)
    for a, b, c in zip(got, exactly, reference_parts(closed_form, x, p, mask), strict=True):
        assert far(a, b) < TOLERANCE
        assert far(a, c) < TOLERANCE
    return got


@pytest.mark.parametrize("contrast", MEANS)
def test_a_phantom_with_a_field_and_a_lesion(contrast):
    *_, bias = check(*phantom(contrast))
    assert bias.std() > 0.01  # there was something to fit


@pytest.mark.parametrize("shape", ENOUGH_FOR_A_FIT, ids=str)
def test_no_anatomy(shape):
    x, _, p, mask = random_case(shape)
    check(x, p, mask)


@pytest.mark.parametrize("shape", SHAPES[2:], ids=str)
def test_too_few_voxels_for_a_field(shape):
    x, _, p, mask = random_case(shape)
    check(x, p, mask & (x > 0.4))


@pytest.mark.parametrize("layers", [2, 8])
def test_a_dark_border(layers):
    """Peeled off as far as its voxels are dark, and no further than DEEPEST."""
    x, p, mask = phantom("T1w")
    wide = dilate(mask, layers)
    border = wide & ~mask
    random = torch.Generator().manual_seed(2)
    x[border] = 0.1 + 0.2 * torch.rand(int(border.sum()), generator=random)
    p[:, :1][border] = 1.0
    check(x, p, wide)


def test_many_voxels_are_sampled():
    """More than PLENTY: every second voxel counts for a mean, every fourth for the field."""
    check(*phantom("T2w", space=(128, 120, 104)))


def test_a_tissue_that_is_nowhere_certain():
    x, p, mask = phantom("FLAIR")
    check(x, torch.cat([0.7 * p[:, :1], p[:, 1:], 0.3 * p[:, :1]], dim=1), mask)


def test_a_mask_between_the_sampled_planes():
    x = torch.rand(1, 1, 3, 160, 160, generator=torch.Generator().manual_seed(0)) + 0.1
    mask = torch.zeros_like(x, dtype=torch.bool)
    mask[:, :, 1] = True
    p = torch.ones(1, 1, 3, 160, 160) * mask
    image, means, bias = everywhere(closed_form, x, p, mask)
    assert torch.equal(bias, torch.ones_like(x))
    assert image[mask].allclose(means[0, 0])


def test_gradients_keep_torch():
    x, p, mask = phantom("T1w")
    leaf = p.clone().requires_grad_()
    closed_form(x, leaf, mask).image.sum().backward()
    assert leaf.grad.isfinite().all()
