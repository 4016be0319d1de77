"""The cases of a dataset or a table, and what is wrong with single ones."""

import shutil

import numpy as np
import pytest
from study import save, write_study

from dal_fast import DalFastError
from dal_fast.evaluation.cases import bids_cases, matching, table_cases


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study"), patients=2, healthy=1)


@pytest.fixture
def copy(study, tmp_path):
    """A dataset that a test may change."""
    shutil.copytree(study.data, tmp_path / "data")
    return tmp_path / "data"


def code_of(function, *args):
    with pytest.raises(DalFastError) as refused:
        function(*args)
    return refused.value.code, refused.value.message


def codes(failures):
    return [(name, str(code)) for name, code, _ in failures]


def test_bids(study):
    cases, failures = bids_cases(study.data, "group=control")
    assert failures == []
    assert [case.name for case in cases] == ["sub-h0_T2w", "sub-p0_T2w", "sub-p1_T2w"]
    healthy, sick, _ = cases
    assert (healthy.lesion, healthy.healthy) == (None, True)
    assert not sick.healthy
    assert sick.lesion.name == "sub-p0_label-lesion_mask.nii.gz"
    assert sick.brain.name == "sub-p0_desc-brain_mask.nii.gz"
    assert sick.facts == {
        "group": "patient", "site": "A", "age": "30", "sub": "p0", "suffix": "T2w"
    }  # fmt: skip
    assert matching(cases, "site=A") == [healthy, sick]
    assert matching(cases, "all") == cases


def test_the_brain_is_a_mask_on_the_scans_grid_if_there_is_one(copy):
    """A pipeline's masks may lie on a grid of its own, as those of fMRIPrep do."""
    mask = copy / "sub-p0" / "anat" / "sub-p0_desc-brain_mask.nii.gz"
    of = {name: copy / "derivatives" / name / "sub-p0" / "anat" / mask.name for name in "ab"}
    for path in of.values():
        path.parent.mkdir(parents=True)
    save(of["a"], np.ones((8, 8, 8), np.uint8))
    mask.rename(of["b"])
    brains = [case.brain for case in bids_cases(copy, "group=control").cases]
    assert of["b"] in brains
    (copy / "cases.csv").write_text("scan\nsub-p0/anat/sub-p0_T2w.nii.gz\n")
    assert [case.brain for case in table_cases(copy / "cases.csv").cases] == [of["b"]]


@pytest.mark.parametrize("rule", [None, "group=patient"])
def test_a_lost_lesion_mask_is_no_healthy_case_and_costs_its_own_case(study, rule):
    cases, failures = bids_cases(study.data, rule)
    assert [case.name for case in cases] == ["sub-p0_T2w", "sub-p1_T2w"]
    assert codes(failures) == [("sub-h0_T2w", "lesion-missing")]
    assert "--healthy" in failures[0][2]


@pytest.mark.parametrize("rule", ["group", "colour=red"])
def test_rules_that_are_none(study, rule):
    code, message = code_of(matching, bids_cases(study.data, "group=control").cases, rule)
    assert code == "rule"
    assert "site" in message
    assert code_of(bids_cases, study.data, rule)[0] == "rule"


def test_a_participant_without_a_row_costs_its_own_case(copy):
    lines = (copy / "participants.tsv").read_text().splitlines()
    (copy / "participants.tsv").write_text("\n".join(line for line in lines if "h0" not in line))
    cases, failures = bids_cases(copy, "group=control")
    assert [case.name for case in cases] == ["sub-p0_T2w", "sub-p1_T2w"]
    assert codes(failures) == [("sub-h0_T2w", "lesion-missing")]


def test_a_short_row_has_empty_facts(copy):
    (copy / "participants.tsv").write_text("participant_id\tgroup\tsite\nsub-h0\tcontrol\n")
    cases, failures = bids_cases(copy, "group=control")
    assert failures == []
    assert cases[0].facts["site"] in ("", "n/a")


@pytest.mark.parametrize(("named", "rule"), [("run-01", "run=1"), ("run-1", "run=01")])
def test_indices_are_numbers_in_rules_and_masks(copy, named, rule):
    other = {"run-01": "run-1", "run-1": "run-01"}[named]
    anat = copy / "sub-p0" / "anat"
    (anat / "sub-p0_T2w.nii.gz").rename(anat / f"sub-p0_{named}_T2w.nii.gz")
    mask = anat / "sub-p0_label-lesion_mask.nii.gz"
    mask.rename(anat / f"sub-p0_{other}_label-lesion_mask.nii.gz")
    cases, failures = bids_cases(copy, "group=control")
    assert failures == []
    (case,) = matching(cases, rule)
    assert case.name == f"sub-p0_{named}_T2w"
    assert case.lesion.name == f"sub-p0_{other}_label-lesion_mask.nii.gz"


def test_what_a_dataset_leaves_out_is_named(copy):
    link = copy / "sub-p7"
    link.symlink_to(copy / "nowhere")
    cases, failures = bids_cases(copy, "group=control")
    assert len(cases) == 3
    assert codes(failures) == [(str(link), "file-missing")]


def test_a_linked_subject_is_a_case(copy, tmp_path):
    (copy / "sub-p0").rename(tmp_path / "elsewhere")
    (copy / "sub-p0").symlink_to(tmp_path / "elsewhere")
    cases, failures = bids_cases(copy, "group=control")
    assert failures == []
    assert [case.name for case in cases] == ["sub-h0_T2w", "sub-p0_T2w", "sub-p1_T2w"]
    assert cases[1].lesion is not None


HEAD = ("img_path", "mask_path", "seg_path", "split")


def write_table(path, study, *more, encoding="utf-8", split="test"):
    """All scans of the study, and more lines."""
    comma = {".csv": ",", ".tsv": "\t"}[path.suffix]
    lines = [comma.join(HEAD)]
    for name in study.scans:
        stem = f"{study.data}/{name.split('_')[0]}/anat/{name.split('_')[0]}"
        lesion = f"{stem}_label-lesion_mask.nii.gz" if "sub-p" in name else ""
        row = (f"{stem}_T2w.nii.gz", f"{stem}_desc-brain_mask.nii.gz", lesion, split)
        lines.append(comma.join(row))
    text = "\n".join([*lines, *more]) + "\n"
    path.write_bytes(text.encode(encoding))
    return lines


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_tables(study, tmp_path, ending):
    path = tmp_path / f"cases.{ending}"
    write_table(path, study)
    cases, failures = table_cases(path, "sub=h0")
    assert failures == []
    assert [(case.participant, case.lesion is None) for case in cases] == [
        ("p0", False), ("p1", False), ("h0", True)
    ]  # fmt: skip
    assert cases[0].facts["split"] == "test"
    assert codes(table_cases(path).failures) == [("sub-h0_T2w", "lesion-missing")]


def test_masks_are_found_beside_the_scans_of_a_table(study):
    path = study.data / "cases.csv"
    names = [f"{name.split('_')[0]}/anat/{name}.nii.gz" for name in study.scans]
    path.write_text("\n".join(["Path", *names]))
    (first, *_), failures = table_cases(path, "sub=h0")
    path.unlink()
    assert failures == []
    assert first.lesion.name == "sub-p0_label-lesion_mask.nii.gz"
    assert first.brain.name == "sub-p0_desc-brain_mask.nii.gz"


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-8-sig", "utf-8"])
def test_tables_in_other_encodings(study, tmp_path, encoding):
    path = tmp_path / "cases.csv"
    write_table(path, study, encoding=encoding, split="Klinikum Köln")
    cases, failures = table_cases(path, "sub=h0")
    assert failures == []
    assert {case.facts["split"] for case in cases} == {"Klinikum Köln"}


def test_bad_rows_cost_their_own_cases_and_are_all_listed(study, tmp_path):
    path = tmp_path / "cases.csv"
    lines = write_table(path, study)
    (tmp_path / "dangling.nii.gz").symlink_to(tmp_path / "gone")
    twice = shutil.copy(lines[1].split(",")[0], tmp_path / "sub-p1_T2w.nii.gz")
    write_table(
        path, study,
        "nowhere/sub-p9_T2w.nii.gz,,,test",  # no such scan
        "dangling.nii.gz,,,test",  # a link whose target is missing
        ",,,test",  # no scan
        lines[1].replace("_label-lesion_mask", "_label-lost_mask"),  # no such mask
        lines[1],  # the same row again
        f"{twice},,{lines[2].split(',')[2]}",  # another scan of the same name; a short row
    )  # fmt: skip
    cases, failures = table_cases(path, "sub=h0")
    assert [case.name for case in cases] == ["sub-p0_T2w", "sub-h0_T2w"]
    scan = lines[1].split(",")[0]
    assert codes(failures) == [
        ("nowhere/sub-p9_T2w.nii.gz", "file-missing"),
        ("dangling.nii.gz", "file-missing"),
        ("row 7", "cases-table"),
        (scan, "file-missing"),
        ("sub-p0_T2w", "case-twice"),
        ("sub-p1_T2w", "case-twice"),
    ]
    assert "datalad get" in failures[1][2]
    assert str(twice) in failures[5][2]


def test_an_image_in_the_place_of_a_table_is_named(tmp_path):
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(b"\x1f\x8b\x08\0" + bytes(range(256)) * 50)
    code, message = code_of(table_cases, path)
    assert code == "cases-table"
    assert "is no table but a binary file" in message
    assert len(message) < 300


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"", b"img_path\n", b"\0\0\0", None])
def test_tables_that_are_none(tmp_path, content):
    path = tmp_path / "cases.csv"
    if content is not None:
        path.write_bytes(content)
    assert code_of(table_cases, path)[0] == "cases-table"
