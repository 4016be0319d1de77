"""Where the brain is: given, found, or told from the scan; a skull is refused."""

import nibabel as nib
import numpy as np
import pytest
from imaging.bad_inputs import BAD_FILES, ball, nifti_bytes, write
from scipy import ndimage

from dal_fast import DalFastError
from dal_fast.imaging.mask import brain_mask, skull_reason, sphericity
from dal_fast.imaging.nifti import read_volume

AFFINE = np.diag([2.0, 2, 2, 1])


def refusal(call):
    with pytest.raises(DalFastError) as refused:
        call()
    return refused.value


def mask_file(folder, name, data=None, affine=AFFINE):
    data = (ball() > 100).astype(np.uint8) if data is None else data
    return write(folder, nifti_bytes(data, affine), name)


def test_a_given_mask_comes_first(tmp_path):
    scan = read_volume(write(tmp_path, nifti_bytes()))
    beside = mask_file(tmp_path, "scan_desc-brain_mask.nii.gz")
    assert brain_mask(scan).source == "bids"
    assert brain_mask(scan).path == beside
    soft = np.where(ball() > 110, 0.51, 0.5).astype(np.float32)
    soft[0, 0, 0] = np.nan
    given = brain_mask(scan, mask_file(tmp_path, "mine.nii", soft))
    assert given.source == "file"
    np.testing.assert_array_equal(given.data, soft > 0.505)


@pytest.mark.parametrize("name", ["mine.nii", "scan_desc-brain_mask.nii.gz"])
def test_a_mask_of_the_whole_head_is_refused(tmp_path, name):
    affine = np.diag([16.0, 16, 16, 1])
    scan = read_volume(write(tmp_path, nifti_bytes(affine=affine)))
    head = np.ones_like(ball(), np.uint8)
    head[0] = 0
    mask = mask_file(tmp_path, name, head, affine)
    error = refusal(lambda: brain_mask(scan, mask if name == "mine.nii" else None))
    assert (error.code, "more than any brain" in error.message) == ("mask-too-large", True)


def test_the_size_of_a_mask_on_a_sheared_grid_is_that_of_its_voxels(tmp_path):
    affine = np.diag([16.0, 16, 16, 1])
    affine[0, 2] = 12  # edges of 16, 16 and 20 mm, and no larger voxels
    scan = read_volume(write(tmp_path, nifti_bytes(affine=affine)))
    inside = np.zeros(ball().shape, np.uint8)
    inside.ravel()[: int(3300e3 / 16**3)] = 1
    assert brain_mask(scan, mask_file(tmp_path, "mine.nii", inside, affine)).data.any()


def test_a_mask_that_is_one_everywhere_marks_no_brain(tmp_path):
    scan = read_volume(write(tmp_path, nifti_bytes()))
    mask = mask_file(tmp_path, "mine.nii", np.ones_like(ball(), np.uint8))
    error = refusal(lambda: brain_mask(scan, mask))
    assert (error.code, "marks no brain" in error.message) == ("constant", True)


def test_a_mask_may_be_off_by_rounding_only(tmp_path):
    scan = read_volume(write(tmp_path, nifti_bytes()))
    rounded, shifted = AFFINE.copy(), AFFINE.copy()
    rounded[0, 3], shifted[0, 3] = 1e-3, 0.5
    assert brain_mask(scan, mask_file(tmp_path, "a.nii", affine=rounded)).source == "file"
    for wrong in (
        mask_file(tmp_path, "b.nii", affine=shifted),
        mask_file(tmp_path, "c.nii", (ball((18, 20, 17)) > 0).astype(np.uint8)),
    ):
        assert refusal(lambda wrong=wrong: brain_mask(scan, wrong)).code == "mask-grid"


def test_a_mask_on_another_grid_is_off_by_so_many_millimetres(tmp_path):
    scan = read_volume(write(tmp_path, nifti_bytes()))
    shifted = AFFINE.copy()
    shifted[0, 3] = 3.5
    refused = refusal(lambda: brain_mask(scan, mask_file(tmp_path, "b.nii", affine=shifted)))
    assert "up to 3.5 mm off" in refused.message
    assert "Resample it to the scan" in refused.message
    other = (ball((18, 20, 17)) > 0).astype(np.uint8)
    refused = refusal(lambda: brain_mask(scan, mask_file(tmp_path, "c.nii", other)))
    assert "18×20×17 voxels and the scan 18×20×16" in refused.message
    assert "up to 2.0 mm off" in refused.message


def test_a_neighbour_on_another_grid_is_not_this_scans(tmp_path):
    scan = read_volume(write(tmp_path, nifti_bytes()))
    mask_file(tmp_path, "scan_desc-brain_mask.nii.gz", affine=2 * AFFINE)
    assert brain_mask(scan).source == "nonzero"


def test_masks_that_cannot_be_read_are_refused(tmp_path):
    scan = read_volume(write(tmp_path, nifti_bytes()))
    faint = (ball() > 100).astype(np.float32) / 4
    path = mask_file(tmp_path, "faint.nii", faint)
    assert refusal(lambda: brain_mask(scan, path)).code == "mask-empty"
    nothing = mask_file(tmp_path, "nothing.nii", np.zeros(scan.data.shape, np.uint8))
    assert refusal(lambda: brain_mask(scan, nothing)).code == "mask-empty"
    (tmp_path / "bad").mkdir()
    damaged = BAD_FILES["flipped bit"][0](tmp_path / "bad")
    assert refusal(lambda: brain_mask(scan, damaged)).code == "gzip-corrupt"
    damaged.rename(tmp_path / "scan_desc-brain_mask.nii.gz")
    assert refusal(lambda: brain_mask(scan)).code == "gzip-corrupt"


def test_a_refused_head_lists_the_masks_that_were_not_taken(tmp_path):
    head = ball() + 1  # its background is not 0
    scan = read_volume(write(tmp_path, nifti_bytes(head), "sub-01_run-1_T1w.nii.gz"))
    mask_file(tmp_path, "sub-01_run-2_desc-brain_mask.nii.gz")
    mask_file(tmp_path, "sub-01_space-MNI_desc-brain_mask.nii.gz")
    mask_file(tmp_path, "sub-01_T1w_brainmask.nii.gz")
    mask_file(tmp_path, "sub-01_desc-brain_mask.nii.gz", affine=2 * AFFINE)
    mask_file(tmp_path, "sub-012_desc-brain_mask.nii.gz")
    refused = refusal(lambda: brain_mask(scan))
    assert refused.code == "skull-present"
    for part in (
        "sub-01_run-2_desc-brain_mask.nii.gz (it is of run-2, the scan of run-1)",
        "sub-01_space-MNI_desc-brain_mask.nii.gz (it is of space-MNI, the scan without space-)",
        "sub-01_T1w_brainmask.nii.gz (its name is not …_desc-brain_mask)",
        "sub-01_desc-brain_mask.nii.gz (its corners are up to",
    ):
        assert part in refused.message
    assert "sub-012" not in refused.message
    plain = read_volume(write(tmp_path, nifti_bytes(head)))
    mask_file(tmp_path, "scan_mask.nii.gz")
    message = refusal(lambda: brain_mask(plain)).message
    assert "scan_mask.nii.gz (its name is not scan_desc-brain_mask)" in message


def test_a_stripped_scan_is_its_own_mask(tmp_path):
    data = ball((40, 44, 36))
    data[20, 22, 18] = 0  # a hole
    data[0, 0, 0] = 50  # a speck
    scan = read_volume(write(tmp_path, nifti_bytes(data)))
    mask = brain_mask(scan)
    assert (mask.source, mask.path) == ("nonzero", None)
    np.testing.assert_array_equal(mask.data, ball((40, 44, 36)) > 0)


def test_sphericity_of_a_ball_is_one_at_any_resolution():
    for shape, voxel in (((60, 60, 60), (1, 1, 1)), ((60, 30, 20), (1, 2, 3))):
        assert sphericity(ball(shape) > 0, voxel) == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("noise", [1e-6, 0.5, 20])
def test_any_noise_in_the_background_is_a_skull(noise):
    data = ball((40, 44, 36)) + np.random.default_rng(0).uniform(0, noise, (40, 44, 36))
    assert "non-zero" in skull_reason(data != 0, (2, 2, 2))


@pytest.mark.shared
def test_no_stripped_brain_is_refused_and_its_mask_is_scipys(shared_data):
    paths = sorted(shared_data.glob("ixi-hh-2mm/*/anat/*_desc-brain_T1w.nii.gz"))
    paths += [p for p in shared_data.glob("mslub/*/anat/*.nii.gz") if "mask" not in p.name]
    assert len(paths) >= 100
    for number, path in enumerate(paths):
        scan = read_volume(path)
        assert skull_reason(scan.data != 0, scan.voxel_mm) is None, path.name
        if number % 20 == 0:
            mask = brain_mask(scan)
            labels, _ = ndimage.label(scan.data != 0)
            largest = labels == np.bincount(labels.ravel())[1:].argmax() + 1
            np.testing.assert_array_equal(mask.data, ndimage.binary_fill_holes(largest))


HEADS = {
    "as acquired": lambda x: x,
    "background cut off": lambda x: np.where(x > 30, x, 0),
    "background cut off, filled": lambda x: np.where(
        ndimage.binary_fill_holes(ndimage.binary_opening(x > 30)), x, 0
    ),
    "faint noise instead of zeros": lambda x: np.where(
        x > 30, x, np.random.default_rng(0).uniform(1e-3, 0.1, x.shape)
    ),
    "in float with an offset": lambda x: x * 0.37 + 4.5,
}


@pytest.mark.shared
@pytest.mark.parametrize(
    ("change", "scale"),
    [(change, scale) for change in HEADS for scale in (1, 0.85)]
    + [(change, 0.7) for change in HEADS if change != "background cut off, filled"],
)
def test_every_whole_head_is_refused(shared_data, tmp_path, change, scale):
    paths = [p for p in shared_data.glob("ixi-hh-2mm/*/anat/*_T1w.nii.gz") if "desc" not in p.name]
    assert len(paths) == 5
    for path in paths:
        head = read_volume(path)
        data = HEADS[change](head.data).astype(np.float32)
        affine = head.affine @ np.diag([scale, scale, scale, 1])
        again = tmp_path / "head.nii"
        again.write_bytes(nib.Nifti1Image(data, affine).to_bytes())
        refused = refusal(lambda again=again: brain_mask(read_volume(again)))
        assert refused.code == "skull-present"
        for way_out in ("--mask", "--brain auto", "dal-fast strip"):
            assert way_out in refused.message
