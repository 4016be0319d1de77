"""A scan through the C interface: the results of Python's, whatever the memory's layout."""

import ctypes as c
from pathlib import Path

import numpy as np
import pytest
from capi import native
from capi.native import ABOVE, BRAIN, HEALTHY, MAP
from support import one_in

from dal_fast import Screener
from dal_fast.imaging.mask import BrainMask
from dal_fast.imaging.nifti import Volume, read_volume
from dal_fast.screening.scan import Head, scan_of

REAL = (
    "ixi-hh-2mm/sub-IXI096/anat/sub-IXI096_desc-brain_T1w",
    "mslub/sub-mslub07/anat/sub-mslub07_FLAIR",
    "heads/sub-t2thick/anat/sub-t2thick_T2w",
    "heads/sub-aomic0001/anat/sub-aomic0001_T1w",
)
EVERYTHING = (MAP, ABOVE, BRAIN, HEALTHY)


@pytest.fixture(scope="module")
def screener(engine_path):
    return Screener(runtime="openvino", device="cpu")


def screened(screener, volume, mask, name):
    if mask is None:
        return screener.screen_scan(Head(name, volume, "strip", {}))
    return screener.screen_scan(scan_of(volume, BrainMask(mask > 0, "file"), name, {}))


def volume_of(scan, affine, name):
    return Volume(scan, affine, None, Path(f"{name}.nii"), "0", 0)


def check_same(result, found):
    """Maps within a thousandth of the threshold, scores within 1e-4, masks and regions the same."""
    summary, outputs, regions = found
    assert np.abs(result.anomaly.data - outputs[MAP]).max() <= 1e-3
    scale = np.abs(result.pseudo_healthy.data).max()
    assert np.abs(result.pseudo_healthy.data - outputs[HEALTHY]).max() <= 1e-4 * scale
    assert np.array_equal(result.anomaly_mask.data, outputs[ABOVE])
    assert np.array_equal(result.brain_mask.data, outputs[BRAIN])
    assert summary.score == pytest.approx(result.score, rel=1e-4)
    assert summary.brain_ml == pytest.approx(result.brain["VolumeML"], abs=1e-3)
    assert {1: "bright", -1: "dark"}[summary.sign] == result.parameters["sign"]
    assert summary.regions == len(regions) == len(result.regions)
    for here, there in zip(regions, result.regions, strict=True):
        assert tuple(here.centre_mm) == pytest.approx(there.centre)
        assert (here.volume_ml, here.peak) == pytest.approx((there.volume_ml, there.peak), rel=1e-4)
        assert here.mean == pytest.approx(there.mean, rel=1e-4)


@pytest.mark.parametrize("contrast", ["T1w", "T2w", "FLAIR"])
def test_a_brain_is_screened_as_python_screens_it(screener, session, brain, contrast):
    scan, mask, affine = brain
    volume = volume_of(scan, affine, f"sub-01_{contrast}")
    result = screened(screener, volume, mask, f"sub-01_{contrast}")
    found = session.run(scan, affine, mask, EVERYTHING, contrast=native.CONTRASTS[contrast])
    check_same(result, found)
    assert found[0].contrast == native.CONTRASTS[contrast]
    assert result.anomaly.data.max() > 0


@pytest.mark.shared
@pytest.mark.parametrize("name", one_in(2, REAL))
def test_real_brains_and_heads(screener, engine, shared_data, name):
    volume = read_volume(shared_data / f"{name}.nii.gz")
    mask = (
        None if name.startswith("heads") else np.asfortranarray(volume.data != 0).astype(np.uint8)
    )
    stem = name.split("/")[-1]
    result = screened(screener, volume, mask, stem)
    session = native.Session(engine, extraction=int(mask is None), max_shape=volume.data.shape)
    try:
        contrast = native.CONTRASTS[result.parameters["contrast"]]
        found = session.run(volume.data, volume.affine, mask, EVERYTHING, contrast=contrast)
    finally:
        session.close()
    check_same(result, found)
    if mask is None:
        assert found[0].brain_confidence == pytest.approx(result.brain["Confidence"])


def same(first, second):
    assert all(np.array_equal(first[1][what], second[1][what]) for what in first[1])
    assert first[0].score == second[0].score
    assert [tuple(r.centre_mm) for r in first[2]] == [tuple(r.centre_mm) for r in second[2]]


def test_any_layout_gives_the_same_bits(session, brain):
    scan, mask, affine = brain
    plain = session.run(scan, affine, mask, EVERYTHING)
    across = np.ascontiguousarray(scan), affine, np.ascontiguousarray(mask)
    same(plain, session.run(*across, EVERYTHING, layout="C"))
    turned = np.asfortranarray(scan[::-1])[::-1]  # negative strides
    assert turned.strides[0] < 0
    same(plain, session.run(turned, affine, mask, EVERYTHING))
    same(plain, session.run(scan.astype(np.int16), affine, mask, EVERYTHING))
    same(plain, session.run(scan.astype(np.float64), affine, mask.astype(np.float32), EVERYTHING))


def test_slices_with_slopes_of_their_own(session, brain):
    scan, mask, affine = brain
    plain = session.run(scan, affine, mask)
    slopes = np.where(np.arange(scan.shape[2]) % 2, 0.5, 0.25)
    slices = [np.asfortranarray(scan[..., k] / np.float32(s)) for k, s in enumerate(slopes)]
    image = native.image_of(scan, affine)
    image.data, image.planes = None, (c.c_void_p * len(slices))(*(s.ctypes.data for s in slices))
    image.plane_slope = slopes.ctypes.data_as(c.POINTER(c.c_double))
    same(plain, session.run(image, affine, mask))
    image.planes[7] = None
    with pytest.raises(native.Refused, match="plane 7"):
        session.run(image, affine, mask)


def test_dicom_space(session, brain):
    scan, mask, affine = brain
    plain = session.run(scan, affine, mask)
    image = native.image_of(scan, np.diag([-1, -1, 1, 1]) @ affine, space=1)
    turned = session.run(image, affine, mask)
    assert np.array_equal(plain[1][MAP], turned[1][MAP])
    for ras, lps in zip(plain[2], turned[2], strict=True):
        x, y, z = ras.centre_mm
        assert tuple(lps.centre_mm) == (-x, -y, z)


def test_threads_and_a_lent_executor_change_nothing(lib, bundle, engine_path, session, brain):
    scan, mask, affine = brain
    plain = session.run(scan, affine, mask)
    calls = []

    @native.RUN
    def run(user, tasks, threads, task, context):
        calls.append(tasks)
        for index in range(tasks - 1, -1, -1):
            task(context, index, index % threads)

    executor = native.Executor(run=run)
    for options in ({"threads": 1}, {"threads": 3, "executor": c.pointer(executor)}):
        engine = native.Engine(lib, bundle, engine_path, **options)
        own = native.Session(engine, max_shape=(96, 96, 96))
        found = own.run(scan, affine, mask)
        assert np.abs(found[1][MAP] - plain[1][MAP]).max() < 1e-4  # the engine sums otherwise
        assert found[0].score == pytest.approx(plain[0].score, rel=1e-5)
        own.close()
        engine.close()
    assert calls


def test_the_seconds_of_the_stages_are_those_of_the_whole(session, brain):
    scan, mask, affine = brain
    *stages, whole = session.run(scan, affine, mask)[0].seconds
    assert sum(stages) == pytest.approx(whole, abs=1e-6)


def test_slopes_that_are_no_numbers(session, brain):
    """Those of one slice, too: it would be read as empty, or lose its part of the mask."""
    scan, mask, affine = brain
    slopes = np.ones(scan.shape[2])
    slopes[20] = np.nan
    for member in ("plane_slope", "plane_intercept"):
        images = native.image_of(scan, affine), native.image_of(mask)
        for image in images:
            setattr(image, member, slopes.ctypes.data_as(c.POINTER(c.c_double)))
        for given in ((images[0], affine, mask), (scan, affine, images[1])):
            with pytest.raises(native.Refused, match="20") as refused:
                session.run(*given, flags=1)
            assert (refused.value.status, refused.value.code) == (native.INPUT, "scaling")


@pytest.mark.parametrize("threshold", [-1, np.inf, np.nan, 1e-60, 1e39])
def test_thresholds_that_no_voxel_of_a_map_can_be_compared_with(session, brain, threshold):
    """As float32 the smallest would be 0, which every voxel outside the brain has."""
    scan, mask, affine = brain
    with pytest.raises(native.Refused) as refused:
        session.run(scan, affine, mask, threshold=threshold)
    assert (refused.value.status, refused.value.code) == (native.ARGUMENT, "value")


def test_a_threshold_and_what_it_marks(session, brain):
    scan, mask, affine = brain
    summary, outputs, _ = session.run(scan, affine, mask, threshold=0.05)
    assert summary.threshold == 0.05
    assert outputs[ABOVE].any()
    assert not outputs[ABOVE][outputs[MAP] < np.float32(0.05)].any()


def test_nonfinite_voxels(session, brain):
    scan, mask, affine = brain
    broken = scan.copy(order="F")
    broken[20:22, 30, 30] = np.nan, np.inf
    with pytest.raises(native.Refused) as refused:
        session.run(broken, affine, mask)
    assert refused.value.code == "nonfinite"
    assert "2 voxels" in refused.value.message
    summary, outputs, _ = session.run(broken, affine, mask, flags=1)
    assert summary.nonfinite == 2
    assert np.isfinite(outputs[MAP]).all()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda s, m, a: (s[:4], m[:4], a), "too-small"),
        (lambda s, m, a: (s * 0, m, a), "all-zero"),
        (lambda s, m, a: (s * 0 + 3, m, a), "constant"),
        (lambda s, m, a: (s * np.nan, m, a), "all-nan"),
        (lambda s, m, a: (s, m * 0, a), "mask-empty"),
        (lambda s, m, a: (s, m[1:], a), "mask-grid"),
        (lambda s, m, a: (s, m * 0 + 1, a), "mask-too-large"),
        (lambda s, m, a: (s, m, a * np.nan), "affine-nonfinite"),
        (lambda s, m, a: (s, m, a @ np.diag([1, 1, 20, 1])), "voxel-size"),
        (lambda s, m, a: (s, m, a[:, [0, 0, 2, 3]]), "affine-singular"),
        (lambda s, m, a: (s * (1 - m), m, a), "all-zero"),
        (lambda s, m, a: (s, m, a + np.eye(4)[:, :1] * np.eye(4)[3:] * 2e6), "affine-invalid"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refusals_have_the_codes_of_python(session, brain, change, code):
    from dal_fast.errors import Code

    scan, mask, affine = change(*brain)
    with pytest.raises(native.Refused) as refused:
        session.run(np.asfortranarray(scan), affine, np.asfortranarray(mask))
    assert (refused.value.status, refused.value.code) == (native.INPUT, Code(code))
