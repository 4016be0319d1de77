"""A validation set from a folder on disk to the tables."""

import csv
import math

import autoencoders
import nibabel
import numpy as np
import pytest
import torch
from brains import write_dataset
from tiny import tiny_weights
from typer.testing import CliRunner

from dal_fast import DalFastError
from dal_fast.cli import app
from dal_fast.evaluation import agreement, calibration, cases, floors, validate
from dal_fast.models import load_weights
from dal_fast.screening.calibration import PAIRS
from dal_fast.screening.scoring import SCORES
from dal_fast.screening.screener import Screener
from dal_fast.synthesis.brains import bids_sources, is_held_out, load_brains


@pytest.fixture(scope="module")
def brains(tmp_path_factory):
    names = [name for name in (f"sub-{i:03d}" for i in range(100)) if is_held_out(name)][:2]
    return write_dataset(tmp_path_factory.mktemp("brains") / "data", names)


@pytest.fixture(scope="module")
def made(brains, tmp_path_factory):
    """A set written by the command line, with a patient beside it."""
    root = tmp_path_factory.mktemp("set")
    patient = root / "real" / "sub-07" / "anat"
    patient.mkdir(parents=True)
    scan = nibabel.load(next(brains.glob("sub-*/anat/*T1w.nii.gz")))
    nibabel.save(scan, patient / "sub-07_FLAIR.nii.gz")
    lesion = np.zeros(scan.shape, np.uint8)
    lesion[14:17, 24:27, 14:17] = 1
    nibabel.save(
        nibabel.Nifti1Image(lesion, scan.affine), patient / "sub-07_label-lesion_mask.nii.gz"
    )
    done = CliRunner().invoke(
        app, ["make-validation", str(root / "a"), "--data", str(brains), "--patients",
              str(root / "real"), "--seed", "3"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    return root / "a"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return tiny_weights(tmp_path_factory.mktemp("weights"))


def test_the_set_holds_what_its_table_says(made):
    table = cases.read_table(made)
    assert len(table) == 2 * 9 + 1
    assert len({case.case for case in table}) == len(table)
    for case in table:
        scan = nibabel.load(case.scan)
        if case.sign == "healthy":
            assert (case.lesion, case.lesion_ml) == ("", 0)
            continue
        lesion = nibabel.load(case.lesion)
        assert lesion.shape == scan.shape
        ml = np.asarray(lesion.dataobj).sum() * 0.008
        assert ml == pytest.approx(case.lesion_ml, abs=1e-3)
        assert ml > 0
        if case.sign in cases.SIGNS:
            where = np.asarray(lesion.dataobj) > 0
            brain = np.asarray(nibabel.load(case.brain).dataobj) > 0
            assert brain[where].all()
            assert 0.45 < np.median(np.asarray(scan.dataobj)[brain]) < 0.55
    assert {case.size for case in table if case.sign == "bright"} == set(cases.SIZES)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_seed_is_a_set(brains, made, tmp_path, threads):
    torch.set_num_threads(threads)
    (brain,) = load_brains(bids_sources(brains, held_out=True)[:1])
    again = list(cases.make_validation(tmp_path, [brain], 3))
    for case in again:
        assert (tmp_path / case.scan).read_bytes() == (made / case.scan).read_bytes()
    other = next(cases.make_validation(tmp_path / "b", [brain], 4))
    assert (tmp_path / "b" / other.scan).read_bytes() != (tmp_path / other.scan).read_bytes()


def test_from_set_to_tables(made, weights, tmp_path):
    out = tmp_path / "out"
    words = ["validate", str(made), "--weights", str(weights), "--out", str(out)]
    done = CliRunner().invoke(app, [*words, "--median", "0", "--no-atlas"])
    assert done.exit_code == 0, done.output
    assert "auto less the best floor" in done.output
    rows = list(csv.DictReader((tmp_path / "out" / "cases.csv").read_text().splitlines()))
    sick = [row for row in rows if row["sign"] != "healthy"]
    assert len({row["case"] for row in sick}) == 2 * 6 + 1
    assert {row["method"] for row in rows} >= {"auto", "hybrid", "intensity", "equalised"}
    for row in sick:
        assert 0 <= float(row["average_precision"]) <= 1
        assert int(row["found"]) <= int(row["lesions"])

    def mean(sign, method):
        key = (sign, method, "FLAIR")
        own = [r for r in sick if (r["sign"], r["method"], r["contrast"]) == key]
        # a large lesion fills these little brains
        return np.mean([float(r["average_precision"]) for r in own if r["size"] != "large"])

    assert mean("bright", "intensity") > mean("bright", "dark_intensity")
    assert mean("dark", "dark_intensity") > mean("dark", "intensity")


def test_thresholds_come_from_other_subjects(made, weights):
    screener = Screener(weights, median=0)
    table = [case for case in cases.read_table(made) if case.contrast == "T1w"]
    found = validate.validate(table, screener, "a", atlas=False)
    healthy = [row for row in found.rows if row.sign == "healthy"]
    assert len({row.case for row in healthy}) == 1  # the other subject set the thresholds
    assert all(row.false_positive_rate >= 0 for row in healthy)
    assert found.thresholds["T1w", "equalised"] == pytest.approx(0.999, abs=0.01)
    assert 0 <= found.slice_auroc("T1w", "intensity") <= 1


def test_an_autoencoder_is_judged_by_the_scores_that_it_has(made, tmp_path):
    screener = Screener(autoencoders.weights(tmp_path), "torch")
    table = [case for case in cases.read_table(made) if case.contrast == "T1w"]
    found = validate.validate(table, screener, "a", atlas=False)
    methods = {row.method for row in found.rows}
    assert {"auto", "absolute", "hybrid", "intensity"} <= methods
    assert not {"signed", "gated_positive", "standard_negative"} & methods
    plain = {r.case: r.average_precision for r in found.rows if r.method == "absolute"}
    for row in found.rows:
        if row.method == "auto" and row.synthetic:
            assert row.average_precision == plain[row.case]


def test_a_set_says_who_may_set_thresholds(made):
    rows = list(
        csv.DictReader((made / "participants.tsv").read_text().splitlines(), delimiter="\t")
    )
    assert {row["split"] for row in rows} == {"val", "test"}
    assert len(rows) == len({case.subject for case in cases.read_table(made)})


def test_comparison_is_paired():
    def row(draw, case, method, value):
        return validate.Row(draw, case, "T2w", "bright", "", 1.0, method, value)

    rows = [
        row("a", "1", "auto", 0.5), row("a", "1", "intensity", 0.2), row("a", "1", "atlas", 0.3),
        row("a", "2", "auto", 0.9), row("a", "2", "intensity", 0.7), row("a", "2", "atlas", 0.4),
        row("b", "1", "auto", 0.4), row("b", "1", "intensity", 0.4), row("b", "1", "atlas", 0.1),
        validate.Row("a", "3", "T2w", "healthy", "", 0.0, "auto"),
    ]  # fmt: skip
    (found,) = validate.compare(rows)
    assert found.floor == "intensity"
    assert found.n == 3
    assert found.difference == pytest.approx((0.3 + 0.2 + 0.0) / 3)
    assert found.draws == pytest.approx({"a": 0.25, "b": 0.0})
    assert found.spread == pytest.approx(np.std([0.3, 0.2, 0.0], ddof=1))


@pytest.mark.parametrize(
    ("ml", "name"), [(0.05, "< 0.1 mL"), (0.1, "0.1 to 1 mL"), (2, "1 to 10 mL"), (10, ">= 10 mL")]
)
def test_size_class(ml, name):
    assert validate.size_class(ml) == name


def test_equalised_is_a_rank():
    image = torch.tensor([3.0, 1.0, 2.0, 2.0, 9.0]).view(1, 1, 1, 1, 5)
    mask = torch.tensor([True, True, True, True, False]).view(1, 1, 1, 1, 5)
    maps = floors.floors(image, image, mask, np.eye(4), atlas=False)
    assert maps["equalised"].flatten().tolist() == [0.75, 0.0, 0.25, 0.25, 0.0]
    assert maps["intensity"].flatten().tolist() == [1.5, 0.5, 1.0, 1.0, 0.0]
    assert maps["dark_intensity"].flatten().tolist() == [0.0, 1.0, 0.5, 0.5, 0.0]


def test_atlas_finds_its_own_brain_again():
    """The template, turned and shifted, gets its tissues back, and a bright spot stands out."""
    pytest.importorskip("SimpleITK")
    datasets = pytest.importorskip("nilearn.datasets")
    template = datasets.load_mni152_template(resolution=4)
    brain = datasets.load_mni152_brain_mask(resolution=4).get_fdata() > 0.5
    x = torch.from_numpy(template.get_fdata() * brain).float()[None, None]
    mask = torch.from_numpy(brain)[None, None]
    x = 0.5 * x / x[mask].median()
    turn = np.eye(4)
    turn[:2, :2] = [[math.cos(0.1), -math.sin(0.1)], [math.sin(0.1), math.cos(0.1)]]
    turn[:3, 3] = (7.0, -5.0, 4.0)
    affine = turn @ np.asarray(template.affine, float)
    p = floors.registered_atlas(x, mask, affine)
    white = datasets.load_mni152_wm_template(resolution=4).get_fdata() > 0.7
    assert (p[0, 2].numpy()[white & brain] > 0.5).mean() > 0.9
    spot = torch.zeros_like(mask)
    spot[..., 15:18, 30:33, 20:23] = True
    x[spot] += 0.4
    z = floors.floors(x, x, mask, affine, atlas=True)["atlas"]
    assert z[spot & mask].mean() > 3 * z[mask & ~spot].mean()


def test_no_table_no_validation(tmp_path):
    with pytest.raises(DalFastError, match=r"cases\.tsv"):
        cases.read_table(tmp_path)
    (tmp_path / cases.TABLE).write_text("case\tnothing\na\tb\n")
    with pytest.raises(DalFastError, match="make-validation"):
        cases.read_table(tmp_path)


def test_contrasts_that_are_compared_share_their_anatomy(brains, weights):
    (brain,) = load_brains(bids_sources(brains, held_out=True)[:1])
    model = load_weights(weights)
    names, samples = agreement.paired_contrasts(model, brain, 0)
    assert names == ["T1w", "T2w", "FLAIR"]
    assert all(torch.equal(sample.tissue, samples[0].tissue) for sample in samples)
    assert not torch.allclose(samples[0].image, samples[1].image, atol=0.1)
    for dice in agreement.agreement(model, brain, 0).values():
        assert ((dice >= 0) & (dice <= 1)).all()


def test_calibration_is_of_healthy_brains_and_repeatable(brains, weights):
    held_out = load_brains(bids_sources(brains, held_out=True))
    model = load_weights(weights)
    found = calibration.calibrate(model, held_out, 0)
    assert set(found.thresholds) == set(found.peaks) == set(PAIRS)
    for contrast, by_score in found.thresholds.items():
        assert set(by_score) == set(SCORES) - {"auto"}
        assert all(value > 0 for value in by_score.values())
        assert set(found.peaks[contrast]) == set(PAIRS[contrast])
    assert found == calibration.calibrate(model, held_out, 0)
    assert found != calibration.calibrate(model, held_out, 1)


def test_healthy_level_is_what_one_voxel_in_a_thousand_exceeds():
    inside = torch.arange(10_000.0)[torch.randperm(10_000, generator=torch.Generator())]
    level = calibration.healthy_quantile(inside)
    assert (inside > level).sum() == 10
