"""Closed-form recoupling against phantoms whose tissue means and bias field are known."""

import pytest
import torch
from brains import probabilities, structures
from torch.nn import functional as F

from dal_fast.models import closed_form

MEANS = {"T2w": (1.0, 0.55, 0.4), "FLAIR": (0.15, 0.6, 0.5), "T1w": (0.2, 0.5, 0.8)}


def _phantom(means, strength, noise=0.01, space=(40, 48, 40)):
    maps = structures(space)
    p, mask = probabilities(maps), maps > 0
    u = torch.linspace(-1, 1, space[0]).view(1, 1, -1, 1, 1)
    v = torch.linspace(-1, 1, space[1]).view(1, 1, 1, -1, 1)
    bias = 1 + strength * (0.7 * u + 0.5 * v * v - 0.3 * u * v)
    bias = bias / bias.expand_as(mask)[mask].mean()
    clean = torch.einsum("k,nkdhw->ndhw", torch.tensor(means), p)[:, None] * bias
    g = torch.Generator().manual_seed(0)
    scan = (clean + noise * torch.randn(clean.shape, generator=g)).clamp_min(1e-4) * mask
    return scan, p, mask, bias.expand_as(mask), clean


@pytest.mark.parametrize("contrast", MEANS)
@pytest.mark.parametrize("strength", [0.0, 0.2])
def test_known_means_and_bias_are_found(contrast, strength):
    scan, p, mask, bias, clean = _phantom(MEANS[contrast], strength)
    fit = closed_form(scan, p, mask)
    assert torch.allclose(fit.means[0], torch.tensor(MEANS[contrast]), rtol=0.02, atol=0.005)
    assert (fit.bias - bias)[mask].abs().max() < 0.02
    assert (fit.image - clean)[mask].abs().max() < 0.02
    assert (fit.image[~mask] == 0).all()
    assert (fit.bias[~mask] == 1).all()


def test_a_lesion_moves_neither_means_nor_bias():
    scan, p, mask, _, _ = _phantom(MEANS["FLAIR"], 0.15)
    before = closed_form(scan, p, mask)
    sick = scan.clone()
    sick[..., 24:31, 20:28, 16:24] = 1.2
    after = closed_form(sick, p, mask)
    assert torch.allclose(after.means, before.means, rtol=0.02)
    assert (after.image - before.image)[mask].abs().max() < 0.03


@pytest.mark.parametrize("layers", [1, 2])
def test_a_dark_border_that_is_no_brain_does_not_move_the_mean_of_fluid(layers):
    """As in real T2w scans: the mask reaches beyond the brain, and E_A takes the rim for fluid."""
    scan, p, mask, _, _ = _phantom(MEANS["T2w"], 0.0)
    inner = F.max_pool3d((~mask).float(), 2 * layers + 1, 1, layers) == 0
    rim = mask & ~inner
    assert int(rim.sum()) > int((p[:, :1][inner] > 0.5).sum())  # more than of fluid
    scan[rim] = 0.15
    p[:, 0:1][rim], p[:, 1:2][rim], p[:, 2:3][rim] = 1.0, 0.0, 0.0
    fit = closed_form(scan, p, mask)
    assert torch.allclose(fit.means[0], torch.tensor(MEANS["T2w"]), rtol=0.05)


def test_half_of_the_field_of_view_missing():
    scan, p, mask, _, clean = _phantom(MEANS["T2w"], 0.0)
    scan[..., :14] = 0
    fit = closed_form(scan, p, mask)
    inside = mask & (scan > 0)
    assert (fit.image - clean)[inside].abs().max() < 0.03


def test_batch_is_one_by_one_and_deterministic():
    one, p, mask, _, _ = _phantom(MEANS["T1w"], 0.1)
    two, *_ = _phantom(MEANS["FLAIR"], 0.2)
    batch = closed_form(
        torch.cat([one, two]), p.expand(2, -1, -1, -1, -1), mask.expand(2, -1, -1, -1, -1)
    )
    for n, scan in enumerate((one, two)):
        alone = closed_form(scan, p, mask)
        assert torch.equal(batch.image[n : n + 1], alone.image)
        assert torch.equal(batch.means[n : n + 1], alone.means)


def test_tissue_that_is_absent_and_a_brain_of_few_voxels():
    scan, p, mask, _, _ = _phantom(MEANS["T1w"], 0.0)
    p = torch.cat([p[:, :1] * 0, p[:, 1:]], dim=1)
    assert closed_form(scan, p, mask).image.isfinite().all()
    few = torch.zeros_like(mask)
    few[..., 20:22, 20:22, 20:22] = True
    assert closed_form(scan, p, few).image.isfinite().all()


def test_autocast_changes_nothing():
    """Normal equations in half precision would be wrong by far more than a healthy residual."""
    scan, p, mask, _, _ = _phantom(MEANS["T1w"], 0.2)
    want = closed_form(scan, p, mask)
    with torch.autocast("cpu", torch.bfloat16):
        got = closed_form(scan, p, mask)
    for name in ("image", "means", "bias"):
        assert torch.equal(getattr(got, name), getattr(want, name)), name
