"""What maps are compared with, and where the maps are found."""

import nibabel as nib
import numpy as np
import pytest
import torch
from study import save, write_study

from dal_fast import DalFastError
from dal_fast.evaluation.case_metrics import MapFolder, read_anatomy
from dal_fast.evaluation.ground_truth import bids_truths, matching, table_truths
from dal_fast.evaluation.protocols import protocol


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study"), patients=2, healthy=1)


def code_of(function, *args):
    with pytest.raises(DalFastError) as refused:
        function(*args)
    return refused.value.code, refused.value.message


def test_bids(study):
    truths = bids_truths(study.data, "group=control")
    assert [t.name for t in truths] == ["sub-h0_T2w", "sub-p0_T2w", "sub-p1_T2w"]
    healthy, sick, _ = truths
    assert healthy.lesion is None
    assert sick.lesion.name == "sub-p0_label-lesion_mask.nii.gz"
    assert sick.brain.name == "sub-p0_desc-brain_mask.nii.gz"
    assert sick.facts == {
        "group": "patient", "site": "A", "age": "30", "sub": "p0", "suffix": "T2w"
    }  # fmt: skip
    assert matching(truths, "site=A") == [healthy, sick]
    assert matching(truths, "all") == truths


def test_a_lost_lesion_mask_is_no_healthy_case(study):
    code, message = code_of(bids_truths, study.data)
    assert code == "lesion-missing"
    assert "sub-h0_T2w" in message
    assert "--healthy" in message
    assert code_of(bids_truths, study.data, "group=patient")[0] == "lesion-missing"


@pytest.mark.parametrize("rule", ["group", "colour=red"])
def test_rules_that_are_none(study, rule):
    code, message = code_of(matching, bids_truths(study.data, "group=control"), rule)
    assert code == "rule"
    assert "site" in message


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_tables(study, tmp_path, ending):
    comma = {"csv": ",", "tsv": "\t"}[ending]
    path = study.data / f"cases.{ending}"
    anat = {name: f"{name.split('_')[0]}/anat" for name in study.scans}
    lines = [comma.join(("img_path", "mask_path", "seg_path", "split"))]
    for name in study.scans:
        stem = f"{anat[name]}/{name.split('_')[0]}"
        lesion = f"{stem}_label-lesion_mask.nii.gz" if "sub-p" in name else ""
        row = (f"{stem}_T2w.nii.gz", f"{stem}_desc-brain_mask.nii.gz", lesion, "test")
        lines.append(comma.join(row))
    path.write_text("\n".join(lines) + "\n")
    truths = table_truths(path, "sub=h0")
    assert [(t.participant, t.lesion is None) for t in truths] == [
        ("p0", False), ("p1", False), ("h0", True)
    ]  # fmt: skip
    assert truths[0].facts["split"] == "test"
    assert code_of(table_truths, path)[0] == "lesion-missing"
    path.write_text("\n".join([lines[0], lines[1].replace("p0_T2w", "p9_T2w")]))
    code, message = code_of(table_truths, path)
    assert code == "cases-table"
    assert "p9_T2w" in message
    path.write_text("Path\n" + "\n".join(str(study.data / f"{anat[n]}/{n}.nii.gz") for n in anat))
    (first, *_) = table_truths(path, "sub=h0")  # masks are found beside the scans
    assert first.lesion.name == "sub-p0_label-lesion_mask.nii.gz"
    assert first.brain.name == "sub-p0_desc-brain_mask.nii.gz"
    path.write_text("\n".join([lines[0], lines[1], lines[1]]))
    assert code_of(table_truths, path)[0] == "case-twice"
    path.write_text("a,b\n1,2\n")
    assert code_of(table_truths, path)[0] == "cases-table"
    assert code_of(table_truths, study.data / "none.csv")[0] == "cases-table"
    path.unlink()


def anatomy_of(study, name="default"):
    return read_anatomy(bids_truths(study.data, "group=control")[1], protocol(name))


@pytest.mark.parametrize(
    "name",
    ["deep/er/sub-p0_desc-anomaly_T2w.nii.gz", "sub-p0_T2w.nii", "sub-p0_T2w_anomaly.nii.gz",
     "sub-p0_T2w_residual.nii.gz"],
)  # fmt: skip
def test_maps_by_any_usual_name(study, tmp_path, name):
    score = study.scores["good", "sub-p0_T2w"]
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    save(path, score)
    found = MapFolder("x", tmp_path).read(anatomy_of(study))
    np.testing.assert_array_equal(found[0, 0].numpy().T, score)


def test_arrays_and_centre_crops(study, tmp_path):
    score = study.scores["good", "sub-p0_T2w"]
    anatomy = anatomy_of(study)
    np.save(tmp_path / "sub-p0_T2w.npy", score[None, None])
    np.testing.assert_array_equal(MapFolder("x", tmp_path).read(anatomy)[0, 0].numpy().T, score)
    np.save(tmp_path / "sub-p0_T2w.npy", score[3:-3, 2:-2])
    found = MapFolder("x", tmp_path).read(anatomy)[0, 0].numpy().T
    np.testing.assert_array_equal(found[3:-3, 2:-2], score[3:-3, 2:-2])
    assert not found[:3].any()
    assert not found[:, -2:].any()
    np.save(tmp_path / "sub-p0_T2w.npy", np.pad(score, ((1, 1), (0, 0), (2, 2))))
    np.testing.assert_array_equal(MapFolder("x", tmp_path).read(anatomy)[0, 0].numpy().T, score)


def test_a_map_may_be_empty(study, tmp_path):
    score = study.scores["good", "sub-p0_T2w"]
    save(tmp_path / "sub-p0_T2w.nii.gz", np.zeros_like(score))
    assert not MapFolder("x", tmp_path).read(anatomy_of(study)).any()


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda p, s: None, "map-missing"),
        (lambda p, s: (save(p / "sub-p0_T2w.nii.gz", s), save(p / "sub-p0_T2w.nii", s)),
         "map-ambiguous"),
        (lambda p, s: save(p / "sub-p0_T2w.nii.gz", s[1:]), "map-grid"),
        (lambda p, s: save(p / "sub-p0_T2w.nii.gz", s, 1.0), "map-grid"),
        (lambda p, s: save(p / "sub-p0_T2w.nii.gz", np.where(s > 0.5, np.nan, s)), "map-nonfinite"),
        (lambda p, s: np.save(p / "sub-p0_T2w.npy", s[1:]), "map-grid"),
        (lambda p, s: np.save(p / "sub-p0_T2w.npy", s[0]), "map-grid"),
        (lambda p, s: np.save(p / "sub-p0_T2w.npy", np.where(s > 0.5, np.inf, s)),
         "map-nonfinite"),
        (lambda p, s: np.save(p / "sub-p0_T2w.npy", np.array([{}], object)), "map-unreadable"),
        (lambda p, s: (p / "sub-p0_T2w.npy").write_bytes(b"no array"), "map-unreadable"),
    ],
)  # fmt: skip
def test_maps_that_are_refused(study, tmp_path, make, code):
    make(tmp_path, study.scores["good", "sub-p0_T2w"])
    assert code_of(MapFolder("x", tmp_path).read, anatomy_of(study))[0] == code


def test_masks_that_are_refused(study, tmp_path):
    (truth,) = matching(bids_truths(study.data, "group=control"), "sub=p0")
    from dataclasses import replace

    shape = study.scans["sub-p0_T2w"].shape
    empty = save(tmp_path / "empty.nii.gz", np.zeros(shape, np.uint8))
    other = save(tmp_path / "other.nii.gz", np.eye(20, dtype=np.uint8)[..., None].repeat(20, 2))
    for path, code in ((empty, "lesion-empty"), (other, "lesion-grid")):
        wrong = replace(truth, lesion=path)
        assert code_of(read_anatomy, wrong, protocol("default"))[0] == code
    assert code_of(MapFolder, "x", tmp_path / "nothing")[0] == "not-a-folder"


def test_contrast_is_in_spreads_of_the_brain(study, tmp_path):
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
    (truth,) = bids_truths(tmp_path)
    anatomy = read_anatomy(truth, protocol("default"))
    assert anatomy.contrast == pytest.approx(4, abs=0.2)
    assert anatomy.axial == 2
    assert torch.equal(anatomy.lesion[0, 0], torch.from_numpy(lesion.T > 0))
    assert nib.load(truth.scan).shape == tuple(reversed(anatomy.scan.shape[2:]))
