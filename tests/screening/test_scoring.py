"""Anomaly scores: each by its formula, and which sign ``auto`` shows."""

import math
from dataclasses import replace

import pytest
import torch
from brains import probabilities, structures

from dal_fast import DalFastError, ops
from dal_fast.imaging.morphology import dilate
from dal_fast.screening.calibration import (
    Calibration,
    Evidence,
    peak_of,
    score_scan,
    with_surroundings,
)
from dal_fast.screening.scoring import NAMED, anomaly_score

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


def _evidence(means, lesion):
    """What a map is made from, and where the lesion is."""
    x, phi, p, mask, where = _case(means, lesion)
    return Evidence(x, phi, p, mask, p[:, :1]), where


def _near(where):
    """The lesion and what lies within the reach of smoothing and of the structural term."""
    return dilate(where, 7)


@pytest.mark.parametrize("score", NAMED)
@pytest.mark.parametrize("means", [T2W, FLAIR, T1W])
def test_every_score_is_a_map(score, means):
    x, phi, p, mask, _ = _case(means, 0.7)
    got = anomaly_score(x, phi, p, mask, score)
    assert got.shape == x.shape
    assert got.min() >= 0
    assert got.isfinite().all()
    assert (got[~mask] == 0).all()


@pytest.mark.parametrize(("means", "contrast"), [(T2W, "T2w"), (FLAIR, "FLAIR"), (T1W, "T1w")])
@pytest.mark.parametrize(("lesion", "sign"), [(0.98, "bright"), (0.02, "dark")])
def test_auto_finds_lesions_of_either_sign(means, contrast, lesion, sign):
    evidence, where = _evidence(means, lesion)
    anomaly_map = score_scan(evidence, Calibration())
    assert (anomaly_map.contrast, anomaly_map.looks_like) == (contrast, contrast)
    assert (anomaly_map.score, anomaly_map.sign, anomaly_map.median) == ("enhanced", sign, 0)
    got = anomaly_map.data
    assert got.min() >= 0
    assert (got[~evidence.mask] == 0).all()
    assert got[where].mean() > 1
    assert got[~_near(where)].max() < 0.2 * got[where].mean()


def test_the_usual_sign_has_the_benefit_of_the_doubt():
    """Bright and dark alike: bright in a T2w, dark in a T1w; of the other a twelfth stays."""
    for means, sign in ((T2W, "bright"), (T1W, "dark")):
        evidence, _ = _evidence(means, 0.7)
        noise = 0.02 * torch.randn(evidence.x.shape, generator=torch.Generator().manual_seed(0))
        shift = torch.zeros_like(evidence.x)
        shift[..., 21:25, 18:22, 14:18], shift[..., 7:11, 18:22, 14:18] = 0.3, -0.3
        both = replace(evidence, x=evidence.phi + noise + shift)
        anomaly_map = score_scan(both, Calibration())
        assert anomaly_map.sign == sign
        assert all(anomaly_map.data[s * shift > 0].mean() > 0.05 for s in (1, -1))


def test_the_sign_is_the_one_that_stands_out_from_healthy_scans():
    """Where healthy scans show much of the usual sign, the other one is believed sooner."""
    evidence, where = _evidence(T2W, 0.98)
    evidence.x[..., 7:11, 18:22, 14:18] = 0.02
    for level, sign in ((0.0, "bright"), (3.0, "dark")):
        peaks = {"T2w": {"enhanced_positive": (level, 0.2), "enhanced_negative": (0.0, 0.2)}}
        anomaly_map = score_scan(evidence, Calibration(peaks=peaks))
        assert anomaly_map.sign == sign
        assert (anomaly_map.data[where].mean() > 1) == (sign == "bright")


@pytest.mark.parametrize(("score", "sign"), [("positive", "bright"), ("negative", "dark")])
def test_one_sign_can_be_asked_for(score, sign):
    evidence, where = _evidence(T2W, 0.98)
    anomaly_map = score_scan(evidence, Calibration(), f"enhanced_{score}")
    assert anomaly_map.sign == sign
    assert (anomaly_map.data[where].mean() > 1) == (sign == "bright")


def test_a_scan_that_differs_throughout_stands_out_less_than_a_spot():
    """Both maps have the same highest values; one of them is high everywhere."""
    mask = torch.ones(1, 1, 20, 20, 20, dtype=torch.bool)
    spot = torch.full(mask.shape, 0.1)
    spot[..., 4:7, 4:7, 4:7] = 3
    throughout = spot.clamp_min(2)
    assert peak_of(spot, mask) > peak_of(throughout, mask) + 1
    rms = float(throughout.double().square().mean().sqrt())
    assert peak_of(throughout, mask) == pytest.approx(math.log(3) - 0.7 * math.log(rms))
    assert peak_of(2 * spot, mask) - peak_of(spot, mask) == pytest.approx(0.3 * math.log(2))
    assert math.isfinite(peak_of(torch.zeros_like(spot), mask))
    assert math.isfinite(peak_of(torch.zeros_like(spot), ~mask))


def test_what_lies_in_the_midst_of_an_abnormal_rim_counts():
    """A rim of 5^3 around a quiet core: the core is filled, the rim and a spot far off stay."""
    shown = torch.zeros(1, 1, 15, 15, 15)
    shown[..., 5:10, 5:10, 5:10] = 4
    shown[..., 7, 7, 7] = 0.1
    shown[..., 14, 14, 14] = 1
    mask = torch.ones_like(shown, dtype=torch.bool)
    mask[..., 5, 7, 7] = False
    got = with_surroundings(shown, mask)[0, 0]
    assert float(got[7, 7, 7]) == pytest.approx((124 * 4 + 0.1) / 9**3)
    assert got[5, 5, 5] == 4
    assert got[14, 14, 14] == 1
    assert float(got[0, 0, 7]) == pytest.approx((124 * 4 + 0.1) / 27**3)
    assert got[5, 7, 7] == 0


def test_a_contrast_that_is_known_decides():
    evidence, _ = _evidence(T2W, 0.98)
    anomaly_map = score_scan(evidence, Calibration(), contrast="FLAIR")
    assert (anomaly_map.contrast, anomaly_map.looks_like) == ("FLAIR", "T2w")


def test_a_map_is_in_units_of_its_healthy_level():
    evidence, _ = _evidence(FLAIR, 0.98)
    plain = score_scan(evidence, Calibration())
    levels = {"FLAIR": {"enhanced": 2.0, "enhanced_positive": 4.0, "enhanced_negative": 4.0}}
    got = score_scan(evidence, Calibration(thresholds=levels))
    torch.testing.assert_close(got.data, plain.data / 8)
    assert got.threshold == plain.threshold == 1


def test_a_named_score_is_itself():
    evidence, _ = _evidence(T2W, 0.85)
    x, phi, p, mask = evidence.x, evidence.phi, evidence.p, evidence.mask
    for name, sign in (("hybrid", "both"), ("gated_positive", "bright"), ("negative", "dark")):
        levels = Calibration(thresholds={"T2w": {name: 0.3}})
        anomaly_map = score_scan(evidence, levels, name)
        assert (anomaly_map.score, anomaly_map.sign, anomaly_map.threshold) == (name, sign, 0.3)
        assert anomaly_map.median == "scales"
        assert torch.equal(anomaly_map.data, anomaly_score(x, phi, p, mask, name))


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
    by_place = anomaly_score(bright, phi, p, mask, "gated_positive", torch.full_like(x, 0.5))
    plain = anomaly_score(bright, phi, p, mask, "tolerant_positive")
    assert torch.allclose(by_place, 0.5 * plain)


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
    with pytest.raises(DalFastError) as refused:
        anomaly_score(x, phi, p, mask, "best")
    assert refused.value.code == "value"
    with pytest.raises(DalFastError, match="enhanced_positive"):
        score_scan(_evidence(T2W, 0.5)[0], Calibration(), "best")
