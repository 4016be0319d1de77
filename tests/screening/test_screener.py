"""From a file to a result: any orientation, the scan's own grid, the same bits."""

import nibabel as nib
import numpy as np
import pytest
import torch
from phantom import T1_LIKE, T2_LIKE, phantom, save
from tiny import needs_default_weights

from dal_fast import DalFastError, Screener
from dal_fast.models import load_weights, save_weights
from dal_fast.screening.postprocess import choose_median
from dal_fast.screening.runtimes import make_runtime


@pytest.fixture(scope="module")
def screener(weights):
    return Screener(weights)


@pytest.fixture(scope="module")
def trained():
    """With the default weights."""
    return Screener()


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PSR"])
@pytest.mark.parametrize("voxel_mm", [(2.0, 2.0, 2.0), (1.3, 2.2, 3.1)])
def test_maps_come_back_on_the_scans_own_grid(screener, tmp_path, axes, voxel_mm):
    data, affine, _ = phantom(axes, voxel_mm)
    result = screener.screen(save(tmp_path / "scan.nii.gz", data, affine))
    for image in (result.anomaly, result.pseudo_healthy, result.brain_mask, result.anomaly_mask):
        assert image.data.shape == data.shape
        assert np.allclose(image.affine, affine, atol=1e-5)
    assert result.anomaly.data.dtype == np.float32
    assert np.isfinite(result.anomaly.data).all()
    assert result.anomaly.data.min() >= 0
    assert result.anomaly.data[data == 0].max() == 0
    assert result.pseudo_healthy.data[~result.brain_mask.data].max() == 0
    assert result.tissue.data.max() <= 3
    assert set(result.timings) >= {"read", "brain mask", "model grid", "network", "median"}


def test_maps_follow_the_scans_unit(screener, tmp_path):
    """Four times the intensities: four times the pseudo-healthy image, the same anomaly map."""
    data, affine, _ = phantom("LAS", (3.0, 3.0, 3.0))
    a, b = (
        screener.screen(save(tmp_path / f"times-{factor}.nii.gz", factor * data, affine))
        for factor in (1, 4)
    )
    assert a.pseudo_healthy.data.max() > 100
    np.testing.assert_allclose(b.pseudo_healthy.data, 4 * a.pseudo_healthy.data, rtol=1e-5)
    np.testing.assert_array_equal(b.anomaly.data, a.anomaly.data)
    assert b.score == a.score


def test_a_result_is_shown_in_a_line(screener, tmp_path):
    data, affine, _ = phantom("LAS", (3.0, 3.0, 4.0))
    result = screener.screen(save(tmp_path / "sub-01_T2w.nii.gz", data, affine))
    for word in ("sub-01_T2w", f"{result.score:.3f}", "uncalibrated", "mL above 1 in"):
        assert word in repr(result)
    assert repr(result.scan) == "<Image float32, 50 × 62 × 38 voxels of 3 × 3 × 4 mm>"


def test_weights_whose_card_cannot_be_read_are_refused(weights, tmp_path):
    model = load_weights(weights)
    for number, healthy in enumerate(({"thresholds": 3}, {"unknown": {}}, [1])):
        path = tmp_path / f"{number}.safetensors"
        save_weights(path, model, {"healthy": healthy}, parts=model.parts)
        with pytest.raises(DalFastError, match="card") as caught:
            Screener(path, "torch")
        assert caught.value.code == "weights-mismatch"


def test_orientation_does_not_matter(screener, tmp_path):
    """The same brain stored along other axes has the same map, voxel by voxel in the world."""
    data, affine, _ = phantom("RAS")
    image = nib.Nifti1Image(data, affine)
    nib.save(image, tmp_path / "a.nii.gz")
    other = image.as_reoriented(
        nib.orientations.ornt_transform(
            nib.orientations.axcodes2ornt(("R", "A", "S")),
            nib.orientations.axcodes2ornt(("P", "I", "L")),
        )
    )
    nib.save(other, tmp_path / "b.nii.gz")
    a, b = (screener.screen(tmp_path / f"{n}.nii.gz") for n in "ab")
    back = nib.as_closest_canonical(nib.Nifti1Image(b.anomaly.data, b.anomaly.affine))
    inside = a.brain_mask.data
    assert np.allclose(back.get_fdata()[inside], a.anomaly.data[inside], atol=2e-2)
    assert b.score == pytest.approx(a.score, rel=0.05)


def test_same_input_same_bits(screener, tmp_path):
    data, affine, _ = phantom("LAS")
    path = save(tmp_path / "scan.nii.gz", data, affine)
    a, b = screener.screen(path), screener.screen(path)
    assert np.array_equal(a.anomaly.data, b.anomaly.data)
    assert a.score == b.score


def test_mask_file_replaces_the_rule(screener, tmp_path):
    data, affine, _ = phantom("RAS")
    path = save(tmp_path / "scan.nii.gz", data, affine)
    half = (data > 0) & (np.arange(data.shape[2]) > 30)
    mask = save(tmp_path / "brain.nii.gz", half.astype(np.uint8), affine)
    result = screener.screen(path, mask)
    assert np.array_equal(result.brain_mask.data, half)
    assert result.source["mask"] == str(mask)
    assert result.anomaly.data[~half].max() == 0


def test_settings_reach_the_result(weights, tmp_path):
    data, affine, _ = phantom("RAS", intensities=T1_LIKE)
    path = save(tmp_path / "scan.nii.gz", data, affine)
    plain = Screener(weights, "torch", score="absolute", median=0, threshold=0.05).screen(path)
    assert plain.parameters["score"] == "absolute"
    assert plain.parameters["threshold"] == plain.threshold == 0.05
    assert len(plain.parameters["weights_sha256"]) == 64
    smooth = Screener(weights, "torch", score="absolute", median=5).screen(path)
    assert smooth.score < plain.score
    auto = Screener(weights, "torch").screen(path)
    assert auto.requested["score"] == "auto"
    assert auto.parameters["score"] == "enhanced"
    assert auto.parameters["sign"] in ("bright", "dark")
    assert auto.requested["median"] == "auto"
    assert auto.parameters["median"] == 0  # the default score smooths by itself
    other = Screener(weights, "torch", score="hybrid").screen(path).parameters
    assert other["median"] == choose_median(other["contrast"])
    assert auto.threshold == 1  # these weights were never calibrated
    assert "uncalibrated" in [flag.code for flag in auto.flags]


def test_thresholds_come_from_the_weight_file(weights, tmp_path):
    data, affine, _ = phantom("RAS", intensities=T1_LIKE)
    path = save(tmp_path / "scan.nii.gz", data, affine)
    thresholds = {c: {"absolute": 0.123, "enhanced": 0.8} for c in ("T1w", "T2w", "FLAIR")}
    calibrated = tmp_path / "own.safetensors"
    model = load_weights(weights)
    save_weights(calibrated, model, {"healthy": {"thresholds": thresholds}}, parts=model.parts)
    assert Screener(calibrated, "torch", score="absolute").screen(path).threshold == 0.123
    result = Screener(calibrated, "torch").screen(path)
    assert result.threshold == 1  # of a map in units of its level
    plain = Screener(weights, "torch").screen(path)
    np.testing.assert_allclose(result.anomaly.data, plain.anomaly.data / 0.8, rtol=1e-5)
    assert "uncalibrated" not in [flag.code for flag in result.flags]


def test_the_contrast_is_known_or_guessed(weights, tmp_path):
    data, affine, _ = phantom("RAS", intensities=T1_LIKE)
    named = save(tmp_path / "sub-01_FLAIR.nii.gz", data, affine)
    nameless = save(tmp_path / "scan.nii.gz", data, affine)

    def facts(path, contrast=None):
        result = Screener(weights, "torch", contrast=contrast).screen(path)
        used = result.parameters
        unexpected = "unexpected-contrast" in [flag.code for flag in result.flags]
        return used["contrast"], used["contrast_from"], unexpected

    guess, by, unexpected = facts(nameless)
    assert (by, unexpected) == ("intensities", False)
    assert facts(named) == ("FLAIR", "file name", guess != "FLAIR")
    assert facts(named, "T2w") == ("T2w", "option", guess != "T2w")
    with pytest.raises(DalFastError, match="contrast must be one of"):
        Screener(weights, "torch", contrast="PDw")


def test_nonfinite_voxels_are_refused_or_replaced(weights, screener, tmp_path):
    data, affine, _ = phantom("RAS", intensities=T2_LIKE)
    data[10, 12, 9] = np.nan
    path = save(tmp_path / "scan.nii.gz", data, affine)
    with pytest.raises(DalFastError) as caught:
        screener.screen(path)
    assert caught.value.code == "nonfinite"
    result = Screener(weights, "torch", nonfinite="replace").screen(path)
    assert "nonfinite-replaced" in [flag.code for flag in result.flags]


def test_runtimes_say_what_is_missing(weights):
    model = load_weights(weights)
    with pytest.raises(DalFastError, match="choose auto, torch") as caught:
        make_runtime("nonsense", model, "cpu")
    assert caught.value.code == "runtime-unavailable"
    for device in ("toaster", "mps", *([] if torch.cuda.is_available() else ["cuda", "cuda:7"])):
        with pytest.raises(DalFastError) as caught:
            make_runtime("torch", model, device)
        assert caught.value.code == "device-unavailable"


def test_refusals(weights):
    for settings, code in (
        ({"median": 4}, "value"),
        ({"score": "nonsense"}, "value"),
        ({"threshold": -1.0}, "value"),
        ({"weights": "/nowhere.safetensors"}, "weights-missing"),
    ):
        with pytest.raises(DalFastError) as caught:
            Screener(**{"weights": weights, **settings})
        assert caught.value.code == code


@needs_default_weights
@pytest.mark.shared
@pytest.mark.parametrize("contrast", ["T1w", "T2w", "FLAIR"])
def test_real_scan(trained, shared_data, contrast):
    """With the trained weights: plausible tissue, no flag, and the lesion stands out."""
    folder = shared_data / "mslub" / "sub-mslub07" / "anat"
    result = trained.screen(folder / f"sub-mslub07_{contrast}.nii.gz")
    lesion = nib.load(folder / "sub-mslub07_label-lesion_mask.nii.gz").get_fdata() > 0
    brain = result.brain_mask.data
    assert [flag.code for flag in result.flags] == []
    inside, outside = result.anomaly.data[lesion & brain], result.anomaly.data[brain & ~lesion]
    assert inside.mean() > 1.3 * outside.mean()  # the map counts surroundings, too


@needs_default_weights
@pytest.mark.shared
def test_real_scan_in_native_orientation(trained, shared_data):
    path = sorted((shared_data / "ixi-hh-2mm").glob("sub-*/anat/*_desc-brain_T1w.nii.gz"))[0]
    result = trained.screen(path)
    assert [flag.code for flag in result.flags] == []
    assert result.anomaly.data.shape == nib.load(path).shape
