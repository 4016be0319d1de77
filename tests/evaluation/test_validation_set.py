"""The built-in cases: a set is made, and read."""

import csv
import shutil

import nibabel
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from dal_fast import DalFastError
from dal_fast.cli import app
from dal_fast.evaluation.validation_samples import (
    DECOY,
    GENERATORS,
    HEALTHY,
    SIGNS,
    SIZES,
    VOLUMES_ML,
    plans,
)
from dal_fast.evaluation.validation_set import (
    TABLE,
    make_validation,
    patient_rows,
    read_rows,
    read_set,
    read_sets,
)
from dal_fast.synthesis.brains import bids_sources, load_brains
from dal_fast.synthesis.given_masks import read_masks

run = CliRunner().invoke
PER_SUBJECT = 9 + 12 + 9  # by the three generators


def test_the_set_holds_what_its_table_says(made):
    table = read_rows(made)
    assert len(table) == 2 * PER_SUBJECT + 1
    assert len({case.case for case in table}) == len(table)
    for case in table:
        scan = nibabel.load(made / case.scan)
        if case.sign == "healthy":
            assert (case.lesion, case.lesion_ml) == ("", 0)
            continue
        lesion = nibabel.load(made / case.lesion)
        assert lesion.shape == scan.shape
        ml = np.asarray(lesion.dataobj).sum() * 0.008
        assert ml == pytest.approx(case.lesion_ml, abs=1e-3)
        assert ml > 0
        if case.sign in (*SIGNS, DECOY):
            where = np.asarray(lesion.dataobj) > 0
            brain = np.asarray(nibabel.load(made / case.brain).dataobj) > 0
            assert brain[where].all()
            assert 0.45 < np.median(np.asarray(scan.dataobj)[brain]) < 0.55
        if case.generator == "masks":  # the size is the masks' own
            least, most = VOLUMES_ML[case.size]
            assert least <= case.lesion_ml < most or case.size == "small"
    for generator in GENERATORS[:2]:
        own = [case for case in table if case.generator == generator]
        assert {case.size for case in own if case.sign == "bright"} == set(SIZES)


def test_every_generator_gives_healthy_scans_and_both_signs_and_one_gives_decoys():
    for generator in GENERATORS:
        signs = [plan.sign for plan in plans(generator, 0)]
        assert {HEALTHY, *SIGNS} <= set(signs)
        assert (DECOY in signs) == (generator == "shifted")
    assert {plan.size for plan in plans("masks", 0)} == {""}


def test_a_set_by_one_generator(brains, made, tmp_path):
    words = ["make-validation", str(tmp_path / "set"), "--data", str(brains), "--at-most", "1"]
    done = run(app, [*words, "--seed", "3", "--generator", "shifted"])
    assert done.exit_code == 0, done.output
    rows = read_rows(tmp_path / "set")
    assert {row.generator for row in rows} == {"shifted"}
    whole = {row.case: row for row in read_rows(made)}
    for row in rows:  # the parts of a set do not depend on each other
        assert row == whole[row.case]
        assert (tmp_path / "set" / row.scan).read_bytes() == (made / row.scan).read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--generator", "real"], "one of ellipsoids, shifted, masks"),
     (["--generator", "masks"], "--masks")],
)  # fmt: skip
def test_generators_that_cannot_be(brains, tmp_path, words, message):
    done = run(app, ["make-validation", str(tmp_path / "set"), "--data", str(brains), *words])
    assert done.exit_code == 2
    assert "[value]" in done.stderr
    assert message in done.stderr
    assert not (tmp_path / "set").exists()


def test_a_file_where_a_subject_belongs(brains, tmp_path):
    for subject in brains.glob("sub-*"):
        (tmp_path / subject.name).touch()
    done = run(app, ["make-validation", str(tmp_path), "--data", str(brains)])
    assert done.exit_code == 2
    assert done.stderr.startswith("error [output-unwritable]: ")


def test_the_brains_are_not_overwritten_by_the_set(brains):
    before = sorted(brains.iterdir())
    done = run(app, ["make-validation", str(brains), "--data", str(brains)])
    assert (done.exit_code, sorted(brains.iterdir())) == (2, before)
    assert "[value]" in done.stderr


def test_a_table_of_an_earlier_version(made, tmp_path):
    rows = [line.split("\t")[:-1] for line in (made / TABLE).read_text().splitlines()]
    (tmp_path / TABLE).write_text("\n".join("\t".join(row) for row in rows) + "\n")
    assert {row.generator for row in read_rows(tmp_path)} == {"ellipsoids"}


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_seed_is_a_set(brains, made, tmp_path, threads):
    torch.set_num_threads(threads)
    (brain,) = load_brains(bids_sources(brains, held_out=True)[:1])
    masks = read_masks(made.parent / "masks")
    again = list(make_validation(tmp_path, [brain], 3, GENERATORS, masks))
    for case in again:
        assert (tmp_path / case.scan).read_bytes() == (made / case.scan).read_bytes()
    other = next(make_validation(tmp_path / "b", [brain], 4))
    assert (tmp_path / "b" / other.scan).read_bytes() != (tmp_path / other.scan).read_bytes()


def test_a_set_says_who_may_set_thresholds(made):
    rows = list(
        csv.DictReader((made / "participants.tsv").read_text().splitlines(), delimiter="\t")
    )
    assert {row["split"] for row in rows} == {"val", "test"}
    assert len(rows) == len({case.subject for case in read_rows(made)})


def test_the_cases_of_a_set(made):
    cases, failures = read_set(made)
    assert failures == []
    assert len(cases) == 2 * PER_SUBJECT + 1
    real = cases[-1]
    assert (real.name, real.participant, real.brain) == ("sub-07_FLAIR", "07", None)
    facts = {"draw": "a", "generator": "", "contrast": "FLAIR", "sign": "real", "size": ""}
    assert real.facts == facts
    for case in cases:
        assert case.scan.is_file()
        assert case.healthy == (case.facts["sign"] == "healthy") == (case.lesion is None)


def test_draws_have_different_names(made, tmp_path):
    shutil.copytree(made, tmp_path / "a")
    shutil.copytree(made, tmp_path / "b")
    for folders, names in (
        ((tmp_path / "a", tmp_path / "b"), ["a", "b"]),
        ((made, tmp_path / "a"), [str(made), str(tmp_path / "a")]),
    ):
        assert [cases[0].facts["draw"] for cases, _ in read_sets(folders)] == names


def test_a_lost_file_costs_its_own_case(made, tmp_path):
    shutil.copytree(made, tmp_path / "set")
    rows = read_rows(made)
    for row, what in ((rows[1], "lesion"), (rows[5], "scan"), (rows[9], "brain")):
        (tmp_path / "set" / getattr(row, what)).unlink()
    cases, failures = read_set(tmp_path / "set")
    assert len(cases) == len(rows) - 3
    lost = [(rows[k].case, "file-missing") for k in (1, 5, 9)]
    assert [(name, str(code)) for name, code, _ in failures] == lost


HEAD = "case\tsubject\tcontrast\tsign\tsize\tlesion_ml\tscan\tbrain\tlesion\n"


@pytest.mark.parametrize(
    "content",
    [None, "case\tnothing\na\tb\n", HEAD, HEAD + "a\tsub-1\tT1w\tbright\tsmall\t1\ta.nii\t\t\n",
     HEAD + "a\tsub-1\tT1w\thealthy\t\t0\ta.nii\t\tb.nii\n",
     HEAD + "a\tsub-1\tT1w\thealthy\t\tmuch\ta.nii\t\t\n",
     HEAD + "a\tsub-1\tT1w\thealthy\t\t0\t\t\t\n"],
)  # fmt: skip
def test_tables_that_are_no_sets(tmp_path, content):
    if content is not None:
        (tmp_path / TABLE).write_text(content)
    with pytest.raises(DalFastError, match="make-validation") as refused:
        read_set(tmp_path)
    assert refused.value.code == "no-data"


def test_the_lesion_of_a_patient_is_measured_in_its_voxels(tmp_path):
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[0, 2] = 6  # sheared: edges of 2, 2 and 6.3 mm, and voxels of 8 mm³
    lesion = np.zeros((16, 16, 16), np.float32)
    lesion[2:7, 2:7, 2:7], lesion[0, 0, 0] = 1, np.nan  # NaN, as beyond the field of view
    lesion[8:12, 8:12, 8:12] = 0.2  # of a probability; an evaluation takes what is above a half
    for name, data in (("FLAIR", lesion * 0 + 1), ("label-lesion_mask", lesion)):
        nibabel.save(nibabel.Nifti1Image(data, affine), tmp_path / f"sub-07_{name}.nii.gz")
    rows, failures = patient_rows(tmp_path)
    assert (failures, [row.lesion_ml for row in rows]) == ([], [1.0])


def test_patients_without_a_lesion_mask(brains, tmp_path):
    words = ["make-validation", str(tmp_path / "set"), "--data", str(brains)]
    done = run(app, [*words, "--patients", str(brains)])
    assert done.exit_code == 2
    assert "[no-data]" in done.stderr
    assert not (tmp_path / "set").exists()
