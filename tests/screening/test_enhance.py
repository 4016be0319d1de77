"""The enhanced score by its formula, written out anew."""

import pytest
import torch
from brains import SPACE, probabilities, structures
from torch.nn import functional as F

from dal_fast import ops, reference
from dal_fast.models.residuals import usual_spread
from dal_fast.screening.enhance import (
    WINDOWS,
    enhanced,
    root_of_product,
    structural_difference,
)

MEANS = (0.1, 0.6, 0.5)


def _case(lesion=0.25, space=SPACE):
    maps = structures(space)
    p, mask = probabilities(maps), maps > 0
    phi = torch.einsum("k,nkdhw->ndhw", torch.tensor(MEANS), p)[:, None]
    noise = torch.randn(phi.shape, generator=torch.Generator().manual_seed(0))
    x = (phi + 0.03 * noise).clamp(0.01, 1) * mask
    where = torch.zeros_like(mask)
    d, h, w = (s // 8 for s in space)
    where[..., 5 * d : 6 * d + 1, 3 * h + 1 : 5 * h - 2, 3 * w : 5 * w - 1] = True
    x = (x + lesion * (where & mask)).clamp_max(1)
    return x, phi, p, mask, where & mask


def test_structure_is_one_minus_ssim_over_four_windows():
    x, phi, p, mask, _ = _case()
    fluid = p[:, :1]
    maps = [
        1 - ops.ssim3d(x, phi, window=side, kind="uniform", reduction="none") for side in WINDOWS
    ]
    gated = sum(m.clamp_min(0) for m in maps) / 4 * (1 - fluid) * mask
    want = F.avg_pool3d(gated, 9, 1, 4) * mask
    torch.testing.assert_close(structural_difference(x, phi, fluid, mask), want)


@pytest.mark.parametrize(("sign", "smoothed"), [(1.0, True), (-1.0, True), (1.0, False)])
def test_enhanced_is_the_root_of_tfce(sign, smoothed):
    x, phi, p, mask, _ = _case(space=(16, 20, 16))  # the reference is slow
    fluid, spread = p[:, :1], usual_spread(x, phi, p, mask)
    structure = torch.rand(x.shape, generator=torch.Generator().manual_seed(1))
    highest = F.max_pool3d((sign * phi).masked_fill(~mask, -9), 3, 1, 1)
    residual = (sign * (x - phi)).clamp_min(0) + (sign * x - highest).clamp_min(0)
    residual = residual / 2 * (1 - fluid) * mask / spread
    smooth = F.avg_pool3d(F.avg_pool3d(residual, 3, 1, 1), 3, 1, 1)
    rooted = (residual * smooth + (smooth / 20) ** 2).sqrt() - smooth / 20
    mixed = (rooted if smoothed else residual) * (0.3 + structure)
    want = reference.tfce3d(mixed.double(), mask, 0.5, 1.0, 26).sqrt()
    got = enhanced(x, phi, fluid, mask, spread, structure, sign, smoothed)
    torch.testing.assert_close(got, want.float(), rtol=1e-4, atol=1e-4)


def test_rounding_of_a_residual_moves_no_height():
    """Where x equals phi in the midst of what stands out."""
    smooth = torch.tensor([0.0, 0.02, 1.2, 5.0])
    none = root_of_product(torch.zeros(4), smooth)
    assert (none == 0).all()
    rounding = 5e-4 * (smooth > 0)
    assert (root_of_product(rounding, smooth) <= 10 * rounding).all()
    torch.testing.assert_close(root_of_product(smooth, smooth), smooth, rtol=0.05, atol=0)


def test_extent_counts_where_height_is_equal():
    """The larger of two lesions of one intensity is higher in the map, and both stand out."""
    x, phi, p, mask, large = _case(0.0)
    small = torch.zeros_like(mask)
    small[..., 6:9, 16:19, 12:15] = True
    x = (x + 0.2 * (large | small)).clamp_max(1)
    spread, flat = usual_spread(x, phi, p, mask), torch.full_like(x, 0.7)
    got = enhanced(x, phi, p[:, :1], mask, spread, flat, 1.0, True)
    rest = mask & ~F.max_pool3d((large | small).float(), 5, 1, 2).bool()
    assert got[large].max() > 1.5 * got[small].max()
    assert got[small].max() > 1.5 * got[rest].max()


def test_evidence_of_the_head_weighs_the_residual():
    x, phi, p, mask, where = _case()
    spread, flat = usual_spread(x, phi, p, mask), torch.full_like(x, 0.7)
    plain = enhanced(x, phi, p[:, :1], mask, spread, flat, 1.0, True)
    sure = enhanced(x, phi, p[:, :1], mask, spread, flat, 1.0, True, mask.float())
    torch.testing.assert_close(sure, plain)
    half = enhanced(x, phi, p[:, :1], mask, spread, flat, 1.0, True, torch.where(where, 1.0, 0.01))
    torch.testing.assert_close(half[where].max(), plain[where].max(), rtol=0.05, atol=0)
    rest = mask & ~F.max_pool3d(where.float(), 5, 1, 2).bool()
    assert half[rest].max() < 0.2 * plain[rest].max()


def test_a_volume_thinner_than_the_windows():
    x = torch.rand(1, 1, 1, 7, 9, generator=torch.Generator().manual_seed(0))
    mask, nothing = torch.ones_like(x, dtype=torch.bool), torch.zeros_like(x)
    structure = structural_difference(x, nothing, nothing, mask)
    got = enhanced(x, nothing, nothing, mask, torch.ones_like(x), structure, 1.0, True)
    assert structure.isfinite().all()
    assert got.isfinite().all()
