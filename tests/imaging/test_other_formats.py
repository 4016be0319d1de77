"""Images that are not NIfTI are passed over, and said so: one line a format."""

import os

import pytest

from dal_fast import DalFastError
from dal_fast.imaging.bids import find_scans

DICOM = bytes(128) + b"DICM" + bytes(100)


def touch(root, *names, content=b"x"):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def test_one_line_a_format_with_the_count_and_the_way_out(tmp_path):
    touch(tmp_path, "scan.nii.gz", "notes.txt", "sub-01_T1w.json", "._scan.mgz", "README")
    touch(tmp_path, "a/one.mgz", "b/two.MGZ", "b/three.mgz", "b/x.nii.bz2", "c/v.nrrd", "c/x.img")
    touch(tmp_path, "d/IM0001.dcm", "d/IM0002.dcm", "derivatives/fs/sub-01/T1.mgz")
    touch(tmp_path, "e/IM01", "e/1.2.840.10008.1", content=DICOM)
    os.mkfifo(tmp_path / "f")
    found = find_scans(tmp_path)
    assert [scan.name for scan in found.scans] == ["scan.nii.gz"]
    lines = {str(left.path.relative_to(tmp_path)): left for left in found.left_out}
    assert sorted(lines) == ["a/one.mgz", "b/x.nii.bz2", "c/v.nrrd", "c/x.img", "d/IM0001.dcm"]
    assert {left.code for left in found.left_out} == {"left-out"}
    assert lines["a/one.mgz"].reason == (
        "it is an MGH file, as are 2 others; only NIfTI is read: convert them with mri_convert"
    )
    assert lines["b/x.nii.bz2"].reason == (
        "it is a bzip2 file; only NIfTI is read: unpack it with bunzip2"
    )
    assert "a DICOM file, as are 3 others" in lines["d/IM0001.dcm"].reason
    assert "dcm2niix" in lines["d/IM0001.dcm"].reason


@pytest.mark.parametrize(
    ("name", "content", "way_out"),
    [("brain.mgz", b"x", "mri_convert"), ("IM0001", DICOM, "dcm2niix"), ("x.mha", b"x", "c3d")],
)
def test_a_folder_of_another_format_alone(tmp_path, name, content, way_out):
    touch(tmp_path, name, content=content)
    with pytest.raises(DalFastError, match=f"no structural NIfTI image.*{way_out}") as refused:
        find_scans(tmp_path)
    assert refused.value.code == "no-scans"
