"""How large residuals usually are where: the atlas, and what it does to a map."""

import pytest
import torch
from brains import probabilities, structures
from torch.nn import functional as F

from dal_fast.imaging.morphology import bounding_box
from dal_fast.screening.calibration import Calibration, Evidence, sign_maps
from dal_fast.screening.enhance import LEAST_USUAL
from dal_fast.screening.scoring import ENHANCED
from dal_fast.screening.usual_residual import (
    SIDES,
    pack,
    placed_residual,
    unpack,
    usual_residual,
)

BRIGHT, DARK = ENHANCED[1:]


def _residual(seed=0):
    mask = structures() > 0
    noise = torch.rand(mask.shape, generator=torch.Generator().manual_seed(seed))
    return noise * mask, mask


def test_an_atlas_is_the_root_mean_square_of_healthy_brains_left_like_right():
    placed = [placed_residual(*_residual(seed)) for seed in range(3)]
    got = unpack(pack(placed))
    want = torch.stack(placed).square().mean(0).sqrt()
    assert got.shape == SIDES
    assert torch.equal(got, got.flip(0))
    torch.testing.assert_close(got, (want + want.flip(0)) / 2, atol=0.51 / 32, rtol=0)


def test_a_strong_value_says_little_about_its_place():
    residual, mask = _residual()
    strong = placed_residual(torch.where(mask, 100.0, residual), mask)
    assert float(strong.max()) == pytest.approx(4.0)
    assert float(unpack(pack([strong])).max()) == pytest.approx(4.0)


def test_it_is_laid_into_the_brain_s_bounding_box_and_is_0_outside():
    residual, mask = _residual()
    text = pack([placed_residual(residual, mask)])
    got = usual_residual(text, mask)
    assert got.shape == mask.shape
    assert (got[~mask] == 0).all()
    box = (slice(None), slice(None), *bounding_box(mask[0, 0]))
    want = F.interpolate(unpack(text)[None, None], got[box].shape[2:], mode="trilinear")
    torch.testing.assert_close(got[box], want * mask[box])


def test_what_healthy_brains_show_at_a_place_counts_less_there():
    """A lesion counts less by what healthy brains show there, of its own sign only."""
    p, mask = probabilities(structures()), structures() > 0
    phi = torch.einsum("k,nkdhw->ndhw", torch.tensor((0.1, 0.6, 0.5)), p)[:, None]
    x, usual = phi.clone(), torch.zeros_like(phi)
    x[..., 21:25, 18:22, 14:18] += 0.3
    usual[..., 14:18] = 3.0
    atlas = F.interpolate(
        usual[(slice(None), slice(None), *bounding_box(mask[0, 0]))], SIDES, mode="trilinear"
    )[0, 0]
    text = pack([atlas])
    evidence = Evidence(x, phi, p, mask, p[:, :1])
    structure = torch.zeros_like(x)
    plain = sign_maps(evidence, structure, Calibration(), "FLAIR")
    one_sided = Calibration(usual={"FLAIR": {BRIGHT: text}})
    weighed = sign_maps(evidence, structure, one_sided, "FLAIR")
    assert torch.equal(plain[DARK], weighed[DARK])  # of the other sign nothing is known
    lesion = (slice(None), slice(None), slice(21, 25), slice(18, 22), slice(14, 18))
    there = usual_residual(text, mask)[lesion].mean()
    factor = float(weighed[BRIGHT][lesion].mean() / plain[BRIGHT][lesion].mean())
    assert factor == pytest.approx(float(1 / (LEAST_USUAL + there)), rel=0.2)
