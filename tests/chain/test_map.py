"""The compiled stages from the residual to the map against torch in float64."""

from functools import cache

import numpy as np
import pytest
import torch
from chain.volumes import SHAPES, everywhere, noise, random_case, reference_parts
from support import each_isa
from torch.nn.functional import avg_pool3d, pad

from dal_fast import Screener, context
from dal_fast.context import _C
from dal_fast.models.residual_head import abnormal_probability, residual_evidence
from dal_fast.models.residuals import highest_nearby, usual_spread
from dal_fast.ops._checks import address
from dal_fast.screening.calibration import (
    BRIGHT,
    COMBINED,
    DARK,
    STRUCTURE,
    Calibration,
    Evidence,
    score_scan,
)
from dal_fast.screening.enhance import enhanced, structural_difference
from dal_fast.screening.postprocess import anomaly_mask, least_voxels, regions, scan_score
from dal_fast.screening.result import Image
from dal_fast.screening.scan import load_scan
from dal_fast.screening.screener import tissue_labels
from dal_fast.screening.usual_residual import SIDES, pack

CONTRASTS = ("T1w", "T2w", "FLAIR")


SMALLER = [(23, 33, 21), *SHAPES[2:]]


def compared(shape, seed=0):
    """x, phi, p, fluid, mask, and where the scan has signal."""
    x, phi, p, mask = random_case(shape, seed)
    fluid = (p[:, :1] + 0.3 * (noise(mask.shape, 7) > 1) * mask).clamp_max(1)
    return x, phi, p, fluid, mask, mask & (x > 0.1)


@pytest.mark.parametrize("shape", SMALLER, ids=str)
def test_the_residual_evidence(shape):
    given = compared(shape)[:5]
    [got] = everywhere(residual_evidence, *given)
    [exactly] = reference_parts(residual_evidence, *given, double=True)
    assert got.shape == (1, 11, *shape)
    assert (got - exactly).abs().amax((0, 2, 3, 4)).tolist() == pytest.approx([0] * 11, abs=2e-5)


def test_evidence_of_a_batch_and_of_an_empty_mask():
    cases = [compared((17, 33, 21), seed)[:5] for seed in (0, 5)]
    cases[1] = (*cases[1][:4], torch.zeros_like(cases[1][4]))
    both = residual_evidence(*(torch.cat(pair) for pair in zip(*cases, strict=True)))
    assert torch.equal(both[:1], residual_evidence(*cases[0]))
    assert not both[1].any()


def test_the_probability_of_an_abnormal_voxel():
    logit, mask = (
        torch.linspace(-120, 120, 30011).view(1, 1, 1, 1, -1),
        noise((1, 1, 1, 1, 30011), 0) > -1,
    )
    [got] = everywhere(abnormal_probability, logit, mask)
    [exactly] = reference_parts(abnormal_probability, logit, mask, double=True)
    assert (got - exactly).abs().max() < 2e-7
    near = (logit.abs() < 80) & mask
    assert ((got - exactly).abs() / exactly)[near].max() < 4e-7


@pytest.mark.parametrize("shape", SMALLER, ids=str)
def test_the_structural_difference(shape):
    x, phi, _, fluid, _, view = compared(shape)
    [got] = everywhere(structural_difference, x, phi, fluid, view)
    [exactly] = reference_parts(structural_difference, x, phi, fluid, view, double=True)
    assert (got - exactly).abs().max() < 2e-6


def score_case(shape, sign, smoothed, head, usual):
    x, phi, p, fluid, _, view = compared(shape)
    spread, structure = usual_spread(x, phi, p, view), noise(x.shape, 3).abs()
    evidence = noise(x.shape, 4).sigmoid() if head else None
    expected = noise(x.shape, 6).abs() if usual else None
    return x, phi, fluid, view, spread, structure, sign, smoothed, evidence, expected


@cache
def exact_score(*case):
    """By torch in float64, but cluster enhancement, whose reference is slow, by its kernel."""
    doubles = (
        t.double() if isinstance(t, torch.Tensor) and t.is_floating_point() else t
        for t in score_case(*case)
    )
    return enhanced(*doubles)


CASES = [
    (1.0, False, False, True),
    (1.0, True, True, False),
    (-1.0, False, True, False),
    (-1.0, True, False, True),
]
"""Sign, whether smoothed, with evidence, with a usual residual."""


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("shape", SMALLER, ids=str)
def test_the_enhanced_score(shape, case):
    [got], exactly = everywhere(enhanced, *score_case(shape, *case)), exact_score(shape, *case)
    assert (got - exactly).abs().max() <= 1e-5 * max(1, float(exactly.max()))


ANYWHERE = torch.rand(SIDES, generator=torch.Generator().manual_seed(9))
CALIBRATION = Calibration(
    thresholds={
        c: {"structure": 0.4 + i / 10, BRIGHT: 2.0 + i, DARK: 2.5 - i / 2, COMBINED: 1.7 + i / 3}
        for i, c in enumerate(CONTRASTS)
    },
    peaks={c: {BRIGHT: (0.2, 0.5), DARK: (0.1, 0.02)} for c in CONTRASTS[:2]},
    usual={
        c: {s: pack([3 * ANYWHERE]) for s in (BRIGHT, DARK, STRUCTURE)} for c in ("T1w", "FLAIR")
    },
)


def one_map(evidence, contrast):
    """The compiled anomaly map, and what its signs count."""
    e, shape = evidence, tuple(evidence.x.shape[2:])
    highest, lowest = highest_nearby(e.phi, e.mask), highest_nearby(-e.phi, e.mask)
    spread, out = e.spread(), torch.empty(e.x.shape)
    scan = _C.Compared(
        x=e.x.data_ptr(), phi=e.phi.data_ptr(), fluid=e.fluid.data_ptr(),
        highest=highest.data_ptr(), lowest=lowest.data_ptr(), spread=spread.data_ptr(),
        mask=e.mask.data_ptr(),
    )  # fmt: skip
    levels = CALIBRATION.thresholds[contrast]
    peaks = CALIBRATION.peaks.get(contrast, {})
    usual = {s: CALIBRATION.usual_residual(contrast, s, e.mask) for s in (BRIGHT, DARK, STRUCTURE)}
    bright, dark = (
        _C.SignCalibration(threshold=levels[s], peak=m, peak_sd=sd, usual=address(usual[s]))
        for s in (BRIGHT, DARK)
        for m, sd in (peaks.get(s, (1.5, 0.35)),)
    )
    bits = []
    for threads in (1, 3):
        work = torch.empty(
            _C.cpu.anomaly_map_workspace(shape=shape, where=threads), dtype=torch.uint8
        )
        weights, shown = _C.cpu.anomaly_map(
            scan=scan, evidence=address(e.abnormal), contrast=CONTRASTS.index(contrast),
            thresholds=(levels["structure"], levels[COMBINED]),
            usual_structure=address(usual[STRUCTURE]), bright=bright, dark=dark,
            out=out.data_ptr(), shape=shape, workspace=work.data_ptr(), where=threads,
        )  # fmt: skip
        bits.append((out.clone(), weights, shown))
    assert torch.equal(bits[0][0], bits[1][0])
    assert bits[0][1:] == bits[1][1:]
    return bits[0]


def same_maps(evidence, contrast):
    """The compiled map and torch's in float64: 1e-3 of the threshold, which is 1."""
    got, _, shown = one_map(evidence, contrast)
    doubles = Evidence(
        *(
            t.double() if t is not None and t.is_floating_point() else t
            for t in vars(evidence).values()
        )
    )
    want = score_scan(doubles, CALIBRATION, "enhanced", contrast)
    assert (got - want.data).abs().max() < 1e-3
    assert {1: "bright", -1: "dark"}[shown] == want.sign
    top = scan_score(got, evidence.mask)
    assert top == pytest.approx(scan_score(want.data, evidence.mask), rel=1e-4)
    above, exactly = got >= 1, want.data >= 1
    assert not (above ^ exactly)[(want.data - 1).abs() > 1e-4].any()


@each_isa
@pytest.mark.parametrize("contrast", CONTRASTS)
@pytest.mark.parametrize("seed", [0, 5])
def test_the_anomaly_map(isa, contrast, seed, poisoned):
    x, phi, p, fluid, _, view = compared((23, 33, 21), seed)
    abnormal = noise(x.shape, 4).sigmoid() * view if seed else None
    same_maps(Evidence(x, phi, p, view, fluid, abnormal), contrast)


@pytest.mark.parametrize("size", [1, 7, 999, 1000, 1001, 50_000])
def test_the_scan_score(size):
    values = noise((1, 1, 1, 1, size), 2).abs()
    for anomaly in (values, (values * 4).round()):
        for mask in (anomaly > -1, noise(values.shape, 3) > 0, anomaly < -1):
            got, want = (call(scan_score, anomaly, mask) for call in (compiled_once, by_torch))
            assert got == pytest.approx(want, rel=1e-12)


def compiled_once(call, *inputs):
    with context.use(backend="cpu"):
        return call(*inputs)


def by_torch(call, *inputs):
    with context.use(backend="reference"):
        return call(*inputs)


def blobs(shape, seed):
    smooth = noise((1, 1, *shape), seed)
    for _ in range(2):
        smooth = avg_pool3d(pad(smooth, [1] * 6), 3, 1)
    data = (6 * smooth[0, 0]).clamp_min(0).numpy()
    affine = np.array([[0, 0, 1.5, 4], [1.5, 0.1, 0, -9], [0, -1.5, 0, 2], [0, 0, 0, 1.0]])
    return Image(np.asfortranarray(data), affine)


@each_isa
@pytest.mark.parametrize("shape", [(23, 31, 18), (7, 5, 9), (1, 1, 1)], ids=str)
@pytest.mark.parametrize("seed", [0, 1])
def test_mask_and_regions(isa, shape, seed):
    image = blobs(shape, seed)
    found = []
    for call in (compiled_once, by_torch):
        mask = call(anomaly_mask, image, 0.8)
        found.append((mask, call(regions, image, mask)))
    (mask, table), (wanted, want) = found
    assert (mask == wanted).all()
    assert len(table) == len(want) >= 3 * (shape[0] == 23)
    for got, exactly in zip(table, want, strict=True):
        assert (got.peak, got.centre) == (exactly.peak, pytest.approx(exactly.centre, abs=1e-9))
        assert (got.volume_ml, got.mean) == pytest.approx((exactly.volume_ml, exactly.mean))


def test_a_region_of_just_a_tenth_of_a_millilitre_counts():
    """Whatever a determinant's rounding: 50 voxels of 2 mm3, numpy's of which is 2.0000000000000004
    or 1.9999999999999998."""
    data = np.zeros((20, 20, 20), np.float32, order="F")
    data[2:7, 2:7, 2:4] = 2.0
    for sides in ((2, 1, 1), (1, 2, 1), (1, 1, 2), (0.5, 2, 2)):
        image = Image(data, np.diag([*sides, 1.0]))
        for call in (compiled_once, by_torch):
            assert call(anomaly_mask, image, 1.0).sum() == 50
        assert _C.cpu.least_voxels(affine=image.affine.ravel().tolist()) == 50
    sheared = np.array([[0, 0.3, 1.1, 4], [1.0, 0.1, 0, -9], [0, -0.9, 0.2, 2], [0, 0, 0, 1.0]])
    for affine in (sheared, np.diag([0.1, 0.1, 0.1, 1]), np.diag([9.0, 9.0, 9.0, 1])):
        want = least_voxels(affine)
        assert _C.cpu.least_voxels(affine=affine.ravel().tolist()) == want


@each_isa
def test_the_tissue_labels(isa, poisoned):
    p, mask = noise((1, 3, 17, 9, 33), 0).mul(2).round(), noise((1, 1, 17, 9, 33), 1) > 0
    assert (compiled_once(tissue_labels, p, mask) == by_torch(tissue_labels, p, mask)).all()


def test_real_brains(shared_data):
    """A healthy brain by the model that comes with the package."""
    path = min((shared_data / "ixi-hh-2mm").glob("sub-*/anat/*_desc-brain_T1w.nii.gz"))
    screener = Screener(runtime="torch", device="cpu")
    same_maps(screener.predict(screener.prepare(load_scan(path))).evidence, "T1w")
