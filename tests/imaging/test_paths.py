"""A path that leads nowhere is told with what may be wrong about it."""

import os

import nibabel as nib
import numpy as np
import pytest

from dal_fast import DalFastError
from dal_fast.imaging.nifti import read_volume
from dal_fast.imaging.paths import check_apart, missing


def refusal(path):
    with pytest.raises(DalFastError) as refused:
        read_volume(path)
    return refused.value


def test_a_name_that_is_nearly_right_is_offered(tmp_path):
    (tmp_path / "sub-01_T1w.nii.gz").write_bytes(b"x")
    error = refusal(tmp_path / "sub-01_T1.nii.gz")
    assert error.code == "file-missing"
    assert error.message.endswith(f"did you mean {tmp_path / 'sub-01_T1w.nii.gz'}?")


def test_names_of_others_stay_hidden_where_they_may_be_patients(tmp_path):
    (tmp_path / "Meier_Anna").mkdir()
    assert "Anna" in missing(tmp_path / "Meier_Ana").message
    assert "Anna" not in missing(tmp_path / "Meier_Ana", offer_names=False).message


def test_the_folder_that_is_missing_is_named(tmp_path):
    assert refusal(tmp_path / "raw" / "sub-01" / "a.nii").message.endswith("holds no 'raw'")
    (tmp_path / "note").write_text("x")
    assert refusal(tmp_path / "note" / "a.nii").message.endswith("is a file, not a folder")


@pytest.mark.parametrize(
    "given", [nib.Nifti1Image(np.zeros((8, 8, 8)), np.eye(4)), np.zeros((8, 8, 8)), None, b"a.nii"],
    ids=["image", "array", "none", "bytes"],
)  # fmt: skip
def test_what_is_no_path_is_told_how_to_become_one(given):
    error = refusal(given)
    assert error.code == "value"
    assert f"not as {type(given).__name__}; save it first" in error.message


@pytest.mark.parametrize(
    ("make", "words"), [(os.mkdir, "name the .nii"), (os.mkfifo, "is a pipe")], ids=["dir", "pipe"]
)
def test_what_is_no_file_is_told_what_to_do(tmp_path, make, words):
    make(tmp_path / "a.nii")
    error = refusal(tmp_path / "a.nii")
    assert (error.code, words in error.message) == ("not-a-file", True)


@pytest.mark.parametrize(("value", "code"), [(np.nan, "all-nan"), (5, "constant"), (0, "all-zero")])
def test_an_image_of_nothing_is_to_be_exported_again(tmp_path, value, code):
    import nibabel as nib

    nib.save(nib.Nifti1Image(np.full((9, 9, 9), value, np.float32), np.eye(4)), tmp_path / "a.nii")
    error = refusal(tmp_path / "a.nii")
    assert (error.code, "export or convert it again" in error.message) == (code, True)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("study.zip", b"PK\x03\x04", "dal-fast dicom"),
        ("IM0001", bytes(128) + b"DICM", "screen the folder"),
        ("scan.mgz", b"x", "mri_convert"),
        ("slice.png", b"x", "give a scan in NIfTI"),
    ],
)  # fmt: skip
def test_another_format_has_its_way_out(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    error = refusal(tmp_path / name)
    assert (error.code, words in error.message) == ("unsupported-format", True)


def test_results_are_not_written_into_what_is_read(tmp_path):
    (tmp_path / "linked").symlink_to(tmp_path)
    with pytest.raises(DalFastError) as refused:
        check_apart(tmp_path / "linked", tmp_path)
    assert refused.value.code == "value"
    check_apart(tmp_path / "out", tmp_path)
