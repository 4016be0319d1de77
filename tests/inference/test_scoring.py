"""Anomaly scores: each by its formula, and what ``auto`` chooses."""

import pytest
import torch
from brains import probabilities, structures

from dal_fast import InputError, ops
from dal_fast.inference.scoring import SCORES, anomaly_score, choose_score, contrast_of

T2W, FLAIR, T1W = (0.9, 0.5, 0.4), (0.1, 0.6, 0.5), (0.2, 0.5, 0.8)


def _case(means, lesion):
    """Scan with a lesion of the given intensity, its healthy truth, tissue, mask, lesion."""
    maps = structures()
    p, mask = probabilities(maps), maps > 0
    phi = torch.einsum("k,nkdhw->ndhw", torch.tensor(means), p)[:, None]
    x, where = phi.clone(), torch.zeros_like(mask)
    where[..., 21:25, 18:22, 14:18] = True
    x[where] = lesion
    return x, phi, p, mask, where


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("means", [T2W, FLAIR, T1W])
def test_every_score_is_a_map(score, means):
    x, phi, p, mask, _ = _case(means, 0.7)
    got = anomaly_score(x, phi, p, mask, score)
    assert got.shape == x.shape
    assert got.min() >= 0
    assert got.isfinite().all()
    assert (got[~mask] == 0).all()


@pytest.mark.parametrize(
    ("means", "lesion", "contrast", "choice"),
    [
        (T2W, 0.85, "T2w", "standard_positive"),
        (FLAIR, 0.95, "FLAIR", "blended_positive"),
        (T1W, 0.3, "T1w", "standard_negative"),
    ],
)
def test_auto_finds_the_lesion_of_each_contrast(means, lesion, contrast, choice):
    x, phi, p, mask, where = _case(means, lesion)
    assert contrast_of(x, p, mask) == contrast
    assert choose_score(contrast) == choice
    got = anomaly_score(x, phi, p, mask)
    assert torch.equal(got, anomaly_score(x, phi, p, mask, choice))
    assert got[where].mean() > 0.1
    assert (
        got[~where].max() < 0.2 * got[where].mean()
    )  # grey in a FLAIR is brighter than its median


def test_auto_chooses_for_each_scan_of_a_batch():
    cases = [_case(T2W, 0.85), _case(T1W, 0.3)]
    batch = [torch.cat(volumes) for volumes in zip(*cases, strict=True)]
    got = anomaly_score(*batch[:4])
    alone = [anomaly_score(*case[:4]) for case in cases]
    assert torch.equal(got, torch.cat(alone))


def test_signs_add_up_and_hybrid_is_the_op():
    x, phi, p, mask, _ = _case(T2W, 0.85)
    x = x + 0.05 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    both = anomaly_score(x, phi, p, mask, "absolute")
    up, down = (anomaly_score(x, phi, p, mask, s) for s in ("positive", "negative"))
    assert torch.allclose(both, up + down)
    hybrid = anomaly_score(x, phi, p, mask, "hybrid")
    assert torch.equal(hybrid, ops.hybrid_score(x, phi) * mask)


def test_a_boundary_off_by_one_voxel_is_tolerated():
    _, phi, p, mask, _ = _case(T2W, 0.4)
    moved = phi.roll(1, dims=2)
    inner = torch.zeros_like(mask)
    inner[..., 4:-4, 4:-4, 4:-4] = True
    inner &= mask & mask.roll(1, dims=2) & mask.roll(-1, dims=2)
    for sign in ("positive", "negative"):
        plain = anomaly_score(moved, phi, p, mask, sign)[inner]
        tolerant = anomaly_score(moved, phi, p, mask, f"tolerant_{sign}")[inner]
        assert plain.max() > 0.05
        assert tolerant.max() == pytest.approx(0, abs=1e-6)
        assert (tolerant <= plain).all()


def test_fluid_is_gated():
    x, phi, p, mask, _ = _case(FLAIR, 0.5)
    bright = x + 0.2
    gated = anomaly_score(bright, phi, p, mask, "gated_positive")
    assert (gated[p[:, :1] == 1] == 0).all()


def test_standard_is_in_units_of_the_tissues_spread():
    x, phi, p, mask, where = _case(T2W, 0.9)
    noise = 0.05 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    grey, white = (p[:, k : k + 1] == 1 for k in (1, 2))
    x = torch.where(where, x, x + noise * (grey + 3.0 * white))
    got = anomaly_score(x, phi, p, mask, "standard_positive")
    plain = anomaly_score(x, phi, p, mask, "gated_positive")
    for tissue, spread in ((grey, 0.05), (white, 0.15)):
        there = tissue & (plain > 0)
        ratio = plain[there] / got[there]
        assert ratio.mean() == pytest.approx(spread, rel=0.1)
        assert ratio.std() < 1e-5
    # a scan without noise has a least spread, and nothing is divided by 0
    clean = anomaly_score(*_case(T2W, 0.9)[:4], "standard_positive")
    assert clean.max() <= 0.5 / 0.02 + 1e-3


def test_blended_leans_on_the_intensity():
    x, phi, p, mask, _ = _case(FLAIR, 0.95)
    blended = anomaly_score(x + 0.2, phi, p, mask, "blended_positive")
    standard = anomaly_score(x + 0.2, phi, p, mask, "standard_positive")
    brain = (p[:, :1] == 0) & (standard > 0)
    assert (blended[brain] >= standard[brain]).all()  # none is darker than the brain's median
    grey = brain & (p[:, 1:2] == 1)  # 0.1 brighter than it, a quarter of which is leant on
    torch.testing.assert_close(blended[grey], 1.125 * standard[grey], rtol=1e-4, atol=0)


def test_unknown_score_is_refused():
    x, phi, p, mask, _ = _case(T2W, 0.5)
    with pytest.raises(InputError) as refused:
        anomaly_score(x, phi, p, mask, "best")
    assert refused.value.code == "value"
