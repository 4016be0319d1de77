"""Which mask belongs to a scan."""

import pytest

from dal_fast.imaging.mask_files import find_brain_masks, find_lesion_masks, mask_files


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


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


@pytest.mark.parametrize("entity", ["run", "echo", "flip", "inv", "split", "chunk"])
def test_indices_are_compared_as_numbers(tmp_path, entity):
    scan = tmp_path / f"sub-01_{entity}-01_T1w.nii.gz"
    mask = f"sub-01_{entity}-1_desc-brain_mask.nii.gz"
    touch(tmp_path, scan.name, mask, f"sub-01_{entity}-10_desc-brain_mask.nii.gz")
    assert find_brain_masks(scan) == [tmp_path / mask]
    lesion = f"sub-01_{entity}-001_label-lesion_mask.nii.gz"
    touch(tmp_path, lesion)
    assert find_lesion_masks(scan) == [tmp_path / lesion]


@pytest.mark.parametrize("entity", ["acq", "rec", "ce", "ses", "sub"])
def test_labels_are_compared_as_text(tmp_path, entity):
    names = {"sub": "sub-01_T1w.nii.gz", "ses": "sub-01_ses-01_T1w.nii.gz"}
    scan = tmp_path / names.get(entity, f"sub-01_{entity}-01_T1w.nii.gz")
    mask = scan.name.replace("T1w", "desc-brain_mask").replace(f"{entity}-01", f"{entity}-1")
    touch(tmp_path, scan.name, mask)
    assert find_brain_masks(scan) == []


INHERITED = [
    ("sub-01_acq-3d_rec-norm_run-2_T1w", "sub-01_desc-brain_mask", None),
    ("sub-01_acq-3d_rec-norm_run-2_T1w", "sub-01_rec-norm_run-02_desc-brain_mask", None),
    ("sub-01_acq-3d_T1w", "sub-01_acq-2d_desc-brain_mask", "acq-2d, the scan of acq-3d"),
    ("sub-01_acq-3d_T1w", "sub-01_rec-x_desc-brain_mask", "rec-x, the scan without rec-"),
    ("sub-01_T1w", "sub-01_mod-T2w_desc-brain_mask", "mod-T2w, the scan of mod-T1w"),
    ("sub-01_T1w", "sub-01_space-MNI152_desc-brain_mask", "space-MNI152, the scan without"),
    ("sub-01_T1w", "sub-01_space-T1w_desc-brain_mask", None),
    ("sub-01_T2w", "sub-01_space-orig_desc-brain_mask", None),
    ("sub-01_space-MNI_T1w", "sub-01_space-MNI_desc-brain_mask", None),
    ("sub-01_desc-preproc_T1w", "sub-01_desc-brain_mask", None),
    ("sub-01_ses-a_T1w", "sub-01_desc-brain_mask", "names no session"),
    ("sub-01_T1w", "sub-01_label-lesion_mask", "its name is not …_desc-brain_mask"),
    ("case", "case_desc-brain_mask", None),
    ("case", "case_mask", "its name is not case_desc-brain_mask"),
]


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
@pytest.mark.parametrize(("scan", "mask", "why_not"), INHERITED)
def test_masks_follow_the_inheritance_principle(tmp_path, scan, mask, why_not, extension):
    touch(tmp_path, scan + ".nii.gz", mask + extension, "case2_desc-brain_mask.nii.gz")
    (found,) = mask_files(tmp_path / (scan + ".nii.gz"), "desc", "brain")
    assert found.path.name == mask + extension
    assert found.why_not is None if why_not is None else why_not in found.why_not


def test_a_scan_that_is_a_link_has_its_own_place(tmp_path):
    """As DataLad keeps scans: links into .git/annex/objects; derivatives are other datasets."""
    anat = "sub-01/anat/sub-01_"
    key = ".git/annex/objects/Xk/9z/SHA256E-s9--ab.nii.gz/SHA256E-s9--ab.nii.gz"
    touch(tmp_path, "data/" + key, "elsewhere/sub-01/anat/sub-01_desc-brain_mask.nii.gz")
    scan = tmp_path / "data" / (anat + "T1w.nii.gz")
    scan.parent.mkdir(parents=True)
    scan.symlink_to("../../" + key)
    (tmp_path / "data/derivatives").mkdir()
    (tmp_path / "data/derivatives/hdbet").symlink_to(tmp_path / "elsewhere")
    mask = tmp_path / "data/derivatives/hdbet" / (anat + "desc-brain_mask.nii.gz")
    assert find_brain_masks(scan) == [mask]
    loose = tmp_path / "loose" / "sub-01_T1w.nii.gz"  # a link to a scan of a dataset
    loose.parent.mkdir()
    loose.symlink_to(scan)
    assert find_brain_masks(loose) == []  # annex/objects is no dataset
    plain = tmp_path / "data" / (anat + "T2w.nii.gz")
    plain.write_bytes(b"")
    loose = tmp_path / "loose" / "sub-01_T2w.nii.gz"
    loose.symlink_to(plain)
    assert find_brain_masks(loose) == [mask]


def test_a_relative_path_has_derivatives(tmp_path, monkeypatch):
    touch(
        tmp_path, "sub-01/anat/sub-01_T1w.nii.gz",
        "derivatives/x/sub-01/anat/sub-01_desc-brain_mask.nii.gz",
    )  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for scan in ("sub-01/anat/sub-01_T1w.nii.gz", "sub-01/../sub-01/anat/sub-01_T1w.nii.gz"):
        assert len(find_brain_masks(scan)) == 1


ANAT = "sub-01/ses-a/anat/sub-01_ses-a_"
PLACES = [
    ("sub-01/ses-a/sub-01_ses-a_desc-brain_mask.nii.gz", None),
    ("sub-01/sub-01_ses-a_desc-brain_mask.nii.gz", None),
    ("sub-01/sub-01_desc-brain_mask.nii.gz", "names no session"),
    ("derivatives/strip/sub-01/ses-a/sub-01_ses-a_desc-brain_mask.nii.gz", None),
    ("derivatives/strip/sub-01/sub-01_ses-b_desc-brain_mask.nii.gz", "it is of ses-b"),
]


@pytest.mark.parametrize(("mask", "why_not"), PLACES)
def test_masks_of_a_session_and_of_a_subject(tmp_path, mask, why_not):
    touch(tmp_path, ANAT + "T1w.nii.gz", mask)
    (found,) = mask_files(tmp_path / (ANAT + "T1w.nii.gz"), "desc", "brain")
    assert found.path == tmp_path / mask
    assert found.why_not is None if why_not is None else why_not in found.why_not


@pytest.mark.parametrize(("dataset", "count"), [("rawdata", 1), ("other", 0)])
def test_derivatives_beside_the_raw_data(tmp_path, dataset, count):
    """As BIDS recommends to arrange a study; what lies beside any other folder is another's."""
    scan = tmp_path / dataset / (ANAT + "T1w.nii.gz")
    mask = tmp_path / "derivatives/strip" / (ANAT + "desc-brain_mask.nii.gz")
    touch(tmp_path, scan, mask)
    assert find_brain_masks(scan) == [mask][:count]
