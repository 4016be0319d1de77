"""BIDS names, what is a scan, and which mask belongs to it."""

import pytest

from dal_fast import DalFastError
from dal_fast.imaging.bids import collect_scans, find_brain_masks, is_scan, output_name, parse_name


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def test_names_are_taken_apart():
    name = parse_name("/data/sub-01_ses-a_acq-3d_T1w.nii.gz")
    assert name.entities == {"sub": "01", "ses": "a", "acq": "3d"}
    assert (name.suffix, name.stem) == ("T1w", "sub-01_ses-a_acq-3d_T1w")
    for plain in ("scan.nii.gz", "sub-01.nii", "T1w.nii", "sub-01__T1w.nii", "sub-01_x_T1w.nii"):
        assert parse_name(plain).suffix is None
        assert parse_name(plain).entities == {}
    assert parse_name("a.b.NII.GZ").stem == "a.b"


@pytest.mark.parametrize(
    ("scan", "anomaly", "mask"),
    [
        (
            "sub-mslub07_FLAIR.nii.gz",
            "sub-mslub07_desc-anomaly_FLAIR.nii.gz",
            "sub-mslub07_desc-anomalyFLAIR_mask.nii.gz",
        ),
        (
            "sub-1_ses-2_run-3_space-MNI_desc-brain_T1w.nii",
            "sub-1_ses-2_run-3_space-MNI_desc-anomaly_T1w.nii.gz",
            "sub-1_ses-2_run-3_space-MNI_desc-anomalyT1w_mask.nii.gz",
        ),
        ("scan.nii.gz", "scan_desc-anomaly.nii.gz", "scan_desc-anomaly_mask.nii.gz"),
    ],
)
def test_names_of_results(scan, anomaly, mask):
    assert output_name("/in/" + scan, "anomaly") == anomaly
    assert output_name(scan, "anomaly", mask=True) == mask
    assert not is_scan(anomaly)
    assert not is_scan(mask)
    assert not is_scan(output_name(scan, "pseudohealthy"))
    assert not is_scan(output_name(scan, "brain", mask=True))


@pytest.mark.parametrize(
    ("name", "scan"),
    [
        ("sub-01_T1w.nii.gz", True),
        ("sub-01_desc-brain_FLAIR.nii", True),
        ("sub-01_bold.nii.gz", False),
        ("sub-01_dseg.nii.gz", False),
        ("sub-01_label-lesion_mask.nii.gz", False),
        ("sub-01_label-WM_T1w.nii.gz", False),
        ("sub-01_T1w.json", False),
        ("sub-01_T1w.mgz", False),
        (".sub-01_T1w.nii.gz", False),
        ("BraTS-00001-t2w.nii.gz", True),
        ("BraTS-00001-seg.nii.gz", False),
        ("patient_brain_mask.nii", False),
        ("masked_t1.nii", True),
        ("mask.nii.gz", False),
    ],
)
def test_what_is_a_scan(name, scan):
    assert is_scan(name) is scan


def test_scans_of_a_folder(tmp_path):
    touch(
        tmp_path,
        "sub-02/anat/sub-02_T2w.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_desc-brain_T1w.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_desc-brain_mask.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_desc-anomaly_T1w.nii.gz",
        "derivatives/x/sub-01/anat/sub-01_T1w.nii.gz",
        ".git/sub-01_T1w.nii.gz",
        "loose.nii",
    )
    assert [str(p.relative_to(tmp_path)) for p in collect_scans(tmp_path)] == [
        "loose.nii",
        "sub-01/ses-a/anat/sub-01_ses-a_desc-brain_T1w.nii.gz",
        "sub-02/anat/sub-02_T2w.nii.gz",
    ]
    assert len(collect_scans(tmp_path / "derivatives")) == 1


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda root: root / "no", "file-missing"),
        (lambda root: touch(root, "x_T1w.nii") or root / "x_T1w.nii", "not-a-folder"),
        (lambda root: touch(root, "x_mask.nii", "y.txt") or root, "no-scans"),
    ],
)
def test_folders_that_hold_no_scans(tmp_path, make, code):
    with pytest.raises(DalFastError) as refused:
        collect_scans(make(tmp_path))
    assert refused.value.code == code


def test_masks_of_a_scan(tmp_path):
    anat = "sub-01/ses-a/anat/sub-01_ses-a_"
    touch(
        tmp_path,
        anat + "T1w.nii.gz",
        anat + "desc-brain_mask.nii.gz",
        anat + "mod-T1w_desc-brain_mask.nii.gz",
        anat + "mod-T2w_desc-brain_mask.nii.gz",
        anat + "space-MNI_desc-brain_mask.nii.gz",
        anat + "desc-anomaly_mask.nii.gz",
        anat + "label-lesion_mask.nii.gz",
        "derivatives/hdbet/" + anat + "acq-3d_desc-brain_mask.nii.gz",
        "derivatives/hdbet/" + anat + "mod-T1w_desc-brain_mask.nii.gz",
        "sub-01/anat/sub-01_desc-brain_mask.nii.gz",
        "sub-011/ses-a/anat/sub-011_ses-a_desc-brain_mask.nii.gz",
    )
    found = find_brain_masks(tmp_path / (anat + "T1w.nii.gz"))
    assert [str(p.relative_to(tmp_path)) for p in found] == [
        anat + "mod-T1w_desc-brain_mask.nii.gz",
        "derivatives/hdbet/" + anat + "mod-T1w_desc-brain_mask.nii.gz",
        anat + "desc-brain_mask.nii.gz",
    ]
    touch(tmp_path, "scan.nii.gz", "scan_desc-brain_mask.nii.gz")
    assert find_brain_masks(tmp_path / "scan.nii.gz") == [tmp_path / "scan_desc-brain_mask.nii.gz"]
    assert find_brain_masks(tmp_path / "other.nii.gz") == []
