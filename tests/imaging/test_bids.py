"""BIDS names, what is a scan, and which scans a folder holds."""

import pytest

from dal_fast import DalFastError
from dal_fast.imaging.bids import (
    collect_scans,
    find_scans,
    is_scan,
    output_name,
    parse_name,
    select_scans,
)


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
        ("sub-01_part-mag_T1w.nii.gz", True),
        ("sub-01_part-phase_T1w.nii.gz", False),
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


def test_linked_subjects_are_searched_and_circles_are_not(tmp_path):
    touch(tmp_path, "store/x/anat/sub-02_T1w.nii.gz", "data/sub-01/anat/sub-01_T1w.nii.gz")
    (tmp_path / "data/sub-02").symlink_to(tmp_path / "store/x")
    (tmp_path / "data/sub-01/all").symlink_to(tmp_path / "data")
    (tmp_path / "store/x/back").symlink_to(tmp_path / "data")
    (tmp_path / "data/sub-03").symlink_to(tmp_path / "gone")
    (tmp_path / "data/loop").symlink_to("loop")
    found = find_scans(tmp_path / "data")
    assert [str(path.relative_to(tmp_path / "data")) for path in found.scans] == [
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-02/anat/sub-02_T1w.nii.gz",
    ]
    left = {str(one.path.relative_to(tmp_path / "data")): one for one in found.left_out}
    assert "link back" in left["sub-01/all"].reason
    assert "link back" in left["sub-02/back"].reason
    assert "missing (datalad get?)" in left["sub-03"].reason
    assert "missing" in left["loop"].reason
    codes = {name: str(one.code) for name, one in left.items()}
    assert codes == {
        "sub-01/all": "left-out",
        "sub-02/back": "left-out",
        "sub-03": "file-missing",
        "loop": "file-missing",
    }
    (tmp_path / "study").symlink_to(tmp_path / "data")
    assert len(find_scans(tmp_path / "study").scans) == 2
    with pytest.raises(DalFastError, match=r"its target .* is missing"):
        find_scans(tmp_path / "data/sub-03")


def test_what_holds_no_scans_is_no_loss_where_its_link_leads_nowhere(tmp_path):
    """As in a dataset of DataLad, whose texts were not fetched."""
    touch(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz")
    for name in ("README", "CHANGES", "LICENSE", "sourcedata", "derivatives", "code", ".hidden"):
        (tmp_path / name).symlink_to("gone")
    assert find_scans(tmp_path).left_out == []


def test_links_between_many_folders_are_not_followed_on_every_way(tmp_path):
    """There are thousands of ways through eight folders that are linked with one another."""
    names = [f"d{number}" for number in range(8)]
    touch(tmp_path, *(f"{name}/x.nii.gz" for name in names))
    for name in names:
        for other in set(names) - {name}:
            (tmp_path / name / other).symlink_to(tmp_path / other)
    found = find_scans(tmp_path)
    places = {scan.relative_to(tmp_path).parent.as_posix() for scan in found.scans}
    assert {*names, *(f"{a}/{b}" for a in names for b in names if a != b)} <= places
    assert len(places) < 100
    assert {left.code for left in found.left_out} == {"left-out"}
    assert any("which is searched" in left.reason for left in found.left_out)


def test_one_of_two_versions_is_left_out_and_named(tmp_path):
    touch(
        tmp_path, "case.nii", "case.nii.gz", "sub-01_T1w.nii.gz", "sub-01_desc-brain_T1w.nii.gz",
        "notes.txt", "case_mask.nii.gz",
    )  # fmt: skip
    found = find_scans(tmp_path)
    assert [path.name for path in found.scans] == ["case.nii", "sub-01_desc-brain_T1w.nii.gz"]
    same = "its results would have the names of those of"
    assert [(one.path.name, str(one.code), one.reason) for one in found.left_out] == [
        ("case.nii.gz", "left-out", f"{same} case.nii"),
        ("sub-01_T1w.nii.gz", "left-out", f"{same} sub-01_desc-brain_T1w.nii.gz"),
    ]


def test_a_suffix_that_is_misspelt_is_named(tmp_path):
    touch(
        tmp_path, "sub-01_T1w.nii.gz", "sub-02_T1.nii.gz", "sub-03_flair.NII", "sub-04_bold.nii.gz",
        "sub-05_T1map.nii.gz", "sub-05_part-phase_T1w.nii.gz", "sub-06_T1.json",
        "sub-07_T2star.nii.gz", "sub-08_MPRAGE.nii.gz", "sub-09_desc-brain_mask.nii.gz",
    )  # fmt: skip
    found = find_scans(tmp_path)
    assert [path.name for path in found.scans] == ["sub-01_T1w.nii.gz", "sub-07_T2star.nii.gz"]
    assert [(one.path.name, one.reason.split()[-1]) for one in found.left_out] == [
        ("sub-02_T1.nii.gz", "T1w?"),
        ("sub-03_flair.NII", "FLAIR?"),
        ("sub-05_part-phase_T1w.nii.gz", "(part-phase)"),
        ("sub-08_MPRAGE.nii.gz", "FLAIR?"),
    ]
    for path in found.scans:
        path.unlink()
    with pytest.raises(DalFastError, match=r"Left out: .*sub-02_T1\.nii\.gz"):
        find_scans(tmp_path)


@pytest.mark.parametrize(
    ("labels", "code"),
    [({}, "not-bids"), ({"participants": ["99"]}, "label-unknown")],
)
def test_datasets_and_labels_that_are_not_there(tmp_path, labels, code):
    touch(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz")
    if labels:
        (tmp_path / "dataset_description.json").write_text("{}")
    with pytest.raises(DalFastError) as refused:
        select_scans(tmp_path, **labels)
    assert refused.value.code == code
    assert ("it holds 01" if labels else "BIDSVersion") in refused.value.message


def test_a_subjects_folder_is_led_to_its_dataset(tmp_path):
    touch(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz")
    (tmp_path / "dataset_description.json").write_text("{}")
    with pytest.raises(DalFastError, match=f"{tmp_path} has one: give that folder") as refused:
        select_scans(tmp_path / "sub-01")
    assert refused.value.code == "not-bids"
