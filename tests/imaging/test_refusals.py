"""A refusal says the way out, in words."""

import gzip

import numpy as np
import pytest
from imaging.bad_inputs import (
    DATATYPE,
    QUATERN,
    SROW,
    VOX_OFFSET,
    ball,
    coded,
    nifti_bytes,
    put,
    write,
)

from dal_fast import DalFastError
from dal_fast.imaging.nifti import read_volume

WAY_OUT = {
    "more than padding": (lambda: coded(1, 1) + bytes(16 * 18 * 2), "nifti-extra-data", "anew"),
    "text behind the voxels": (lambda: coded(1, 1) + b"x", "nifti-extra-data", "anew"),
    "float128": (lambda: put(coded(1, 1), DATATYPE, "2h", 1536, 128), "dtype-unknown", "float32"),
    "vox_offset 348": (
        lambda: put(coded(1, 1), VOX_OFFSET, "f", 348.0), "vox-offset", "vox_offset is 352",
    ),
    "vox_offset NaN": (
        lambda: put(coded(1, 1), VOX_OFFSET, "f", np.nan), "vox-offset", "vox_offset is 352",
    ),
    "another planet": (
        lambda: put(coded(1, 0), SROW, "12f", -2, 0, 0, 1e30, 0, 2, 0, 0, 0, 0, 2, 0),
        "affine-invalid", "copy the header",
    ),
    "no rotation": (
        lambda: put(coded(0, 1), QUATERN, "3f", 0.9, 0.9, 0.9), "affine-invalid", "copy the header",
    ),
    "zero sform and no qform": (
        lambda: put(coded(1, 0), SROW, "12f", *[0.0] * 12), "affine-singular", "copy the header",
    ),
    "zero sform beside a qform that is no rotation": (
        lambda: put(put(coded(1, 1), SROW, "12f", *[0.0] * 12), QUATERN, "3f", 0.9, 0.9, 0.9),
        "affine-invalid", "copy the header",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", WAY_OUT)
def test_a_refusal_says_the_way_out(tmp_path, kind):
    build, code, way_out = WAY_OUT[kind]
    with pytest.raises(DalFastError) as refused:
        read_volume(write(tmp_path, bytes(build())))
    assert refused.value.code == code
    assert way_out in refused.value.message


CONTENT = {
    "an uncompressed scan": (lambda: bytes(coded(1, 1)), "rename it to scan.nii"),
    "a pointer of Git LFS": (lambda: b"version https://git-lfs.github.com/spec/v1\n", "git lfs"),
    "a pointer of git-annex": (lambda: b"/annex/objects/SHA256E-s9--ab.nii.gz\n", "datalad get"),
    "a ZIP archive": (lambda: b"PK\x03\x04" + bytes(400), "unpack"),
    "a web page": (lambda: b"<!doctype html>" + bytes(400), "download"),
    "anything": (lambda: b"\x01\x02" * 300, "again"),
}


@pytest.mark.parametrize("kind", CONTENT)
def test_what_is_named_gz_and_is_not(tmp_path, kind):
    content, way_out = CONTENT[kind]
    (tmp_path / "scan.nii.gz").write_bytes(content())
    with pytest.raises(DalFastError) as refused:
        read_volume(tmp_path / "scan.nii.gz")
    assert refused.value.code == "not-gzip"
    assert way_out in refused.value.message


def test_what_is_named_nii_and_is_compressed(tmp_path):
    (tmp_path / "scan.nii").write_bytes(gzip.compress(bytes(coded(1, 1))))
    with pytest.raises(DalFastError, match=r"rename it to \.nii\.gz") as refused:
        read_volume(tmp_path / "scan.nii")
    assert refused.value.code == "not-nifti"
    (tmp_path / "scan.nii.gz").write_bytes(gzip.compress(gzip.compress(bytes(coded(1, 1)))))
    with pytest.raises(DalFastError, match="compressed twice; unpack it once") as refused:
        read_volume(tmp_path / "scan.nii.gz")
    assert refused.value.code == "not-nifti"


def test_nan_names_the_option_that_reads_it(tmp_path):
    data = ball().astype(np.float32)
    data[data == 0] = np.nan  # as SPM writes what lies outside its mask
    with pytest.raises(DalFastError, match="--nonfinite replace"):
        read_volume(write(tmp_path, nifti_bytes(data)))


def test_a_link_to_a_file_that_was_not_fetched(tmp_path):
    (tmp_path / "scan.nii.gz").symlink_to(".git/annex/objects/aa/SHA256E-s9")
    with pytest.raises(DalFastError, match="datalad get") as refused:
        read_volume(tmp_path / "scan.nii.gz")
    assert refused.value.code == "file-missing"
