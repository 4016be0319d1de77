"""Scan, brain and lesions as they are compared."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from study import save, write_study

from dal_fast import DalFastError
from dal_fast.evaluation.cases import bids_cases, matching
from dal_fast.evaluation.ground_truth import read_ground_truth
from dal_fast.evaluation.protocols import protocol


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study"), patients=1, healthy=1)


@pytest.fixture(scope="module")
def case(study):
    (case,) = matching(bids_cases(study.data, "group=control").cases, "sub=p0")
    return case


def refusal(case):
    with pytest.raises(DalFastError) as refused:
        read_ground_truth(case, protocol("default"))
    return refused.value.code, refused.value.message


@pytest.mark.parametrize("value", [0, 0.3])
def test_an_empty_lesion_mask_is_a_healthy_scan_only_where_a_rule_says_so(case, tmp_path, value):
    shape = nib.load(case.scan).shape
    mask = np.zeros(shape, np.float32)
    mask[3, 3, 3] = value  # not above a half
    empty = replace(case, lesion=save(tmp_path / "empty.nii.gz", mask))
    code, message = refusal(empty)
    assert code == "lesion-empty"
    assert "--healthy" in message
    truth = read_ground_truth(replace(empty, healthy=True), protocol("default"))
    assert not truth.has_lesion
    assert not truth.lesion.any()


def test_a_rule_does_not_take_lesions_away(case):
    assert read_ground_truth(replace(case, healthy=True), protocol("default")).has_lesion


def test_a_lesion_mask_on_another_grid_says_by_how_many_millimetres(case, tmp_path):
    other = np.eye(20, dtype=np.uint8)[..., None].repeat(20, 2)
    code, message = refusal(replace(case, lesion=save(tmp_path / "small.nii.gz", other)))
    assert code == "lesion-grid"
    assert "(20, 20, 20)" in message
    image = nib.load(case.lesion)
    affine = image.affine.copy()
    affine[:3, 3] += (3.0, 0.0, 4.0)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), tmp_path / "shifted.nii.gz")
    code, message = refusal(replace(case, lesion=tmp_path / "shifted.nii.gz"))
    assert code == "lesion-grid"
    assert "5.0 mm" in message


def test_contrast_is_in_spreads_of_the_brain(tmp_path):
    """A lesion of known height above uniform noise."""
    rng = np.random.default_rng(0)
    scan = 10 + rng.normal(size=(30, 30, 30)).astype(np.float32)
    brain = np.ones(scan.shape, np.uint8)
    brain[:3] = 0
    lesion = np.zeros(scan.shape, np.uint8)
    lesion[10:16, 10:16, 10:16] = 1
    scan += 4 * lesion
    anat = tmp_path / "sub-1" / "anat"
    anat.mkdir(parents=True)
    (tmp_path / "dataset_description.json").write_text("{}")
    save(anat / "sub-1_T2w.nii.gz", scan)
    save(anat / "sub-1_desc-brain_mask.nii.gz", brain)
    save(anat / "sub-1_label-lesion_mask.nii.gz", lesion)
    ((case,), _) = bids_cases(tmp_path)
    truth = read_ground_truth(case, protocol("default"))
    assert truth.lesion_contrast == pytest.approx(4, abs=0.2)
    assert truth.axial == 2
    assert torch.equal(truth.lesion[0, 0], torch.from_numpy(lesion.T > 0))
    assert nib.load(case.scan).shape == tuple(reversed(truth.scan.shape[2:]))
