"""A weight file beside baselines: numbers of constructed cases, and the command on a small set."""

import csv
import math
import shutil

import autoencoders
import numpy as np
import pytest
import torch
from study import save
from typer.testing import CliRunner

from dal_fast import DalFastError
from dal_fast.cli import app
from dal_fast.evaluation.baselines import ATLAS, BASELINES
from dal_fast.evaluation.case_metrics import CaseMetrics, size_class
from dal_fast.evaluation.cases import Case
from dal_fast.evaluation.compare import Comparison, DetectorResults
from dal_fast.evaluation.model_scores import ModelScores
from dal_fast.evaluation.protocols import protocol
from dal_fast.evaluation.report.terminal import print_comparison
from dal_fast.evaluation.validation_comparison import compare_on_set, measured_cases, strata
from dal_fast.evaluation.validation_set import read_set
from dal_fast.screening.screener import Screener

run = CliRunner().invoke
SIDE = 8


class Files:
    """Maps of two detectors, written beside the scans."""

    names = ("auto", "intensity")

    def check(self, case, grid):
        pass

    def maps(self, truth):
        """The scan itself, and a map without any difference."""
        return {"auto": truth.scan, "intensity": torch.ones_like(truth.scan)}


def write_case(folder, subject, sign, data, lesion=None):
    """A scan whose brain is a cube within a border of one voxel."""
    folder.mkdir(exist_ok=True)
    scan = save(folder / f"{subject}_{sign}.nii.gz", np.pad(data, 1).astype(np.float32))
    inside = np.pad(np.ones(data.shape, np.uint8), 1)
    brain = save(folder / f"{subject}_{sign}_mask.nii.gz", inside)
    mask = None
    if lesion is not None:
        lesion = np.pad(lesion, 1).astype(np.uint8)
        mask = save(folder / f"{subject}_{sign}_lesion.nii.gz", lesion)
    facts = {"draw": folder.name, "contrast": "T2w", "sign": sign, "size": ""}
    return Case(f"{subject}_{sign}", subject, scan, brain, mask, facts, sign == "healthy")


def levels(*peaks):
    """Values 0 to 511 of a scan in thousandths, and higher ones: voxel and value of each."""
    data = np.arange(SIDE**3).reshape((SIDE,) * 3) / 1000
    for voxel, value in peaks:
        data[voxel] = value
    return data


@pytest.fixture
def constructed(tmp_path):
    """Healthy subjects a and c set the threshold, b does not; b has lesions, too."""
    lesion = np.zeros((SIDE,) * 3, bool)
    lesion[2, 2, 2] = lesion[5, 5, 5] = True
    # the lesion's voxels are the first and the third of all; the second is in a healthy slice
    sick = levels(((2, 2, 2), 9.0), ((1, 1, 7), 8.0), ((5, 5, 5), 7.0))
    return [
        write_case(tmp_path / "x", "a", "healthy", levels()),
        write_case(tmp_path / "x", "b", "healthy", 2 * levels()),
        write_case(tmp_path / "x", "c", "healthy", 3 * levels()),
        write_case(tmp_path / "x", "b", "bright", sick, lesion),
    ]


def test_the_numbers_of_a_constructed_case(constructed):
    comparison = compare_on_set(constructed, Files())["T2w"]
    auto, constant = comparison.detectors
    # rank round(0.999 * 512) = 511 of 512: the second highest value, 0.510 and three times as much
    assert auto.thresholds == {"healthy_mean": pytest.approx((0.510 + 1.530) / 2)}
    assert constant.thresholds == {"healthy_mean": 1}
    healthy, sick = auto.cases
    assert (healthy.case, sick.case) == ("b_healthy", "b_bright")
    assert math.isnan(healthy.values["average_precision"])
    # 2 * 0.511 and 2 * 0.510 are 1.022 and 1.020: one voxel of 512 is above 1.020
    assert healthy.values["false_positive_rate"] == pytest.approx(1 / 512)
    values = sick.values
    assert values["average_precision"] == pytest.approx((1 / 1 + 2 / 3) / 2, abs=1e-6)
    assert values["best_dice"] == pytest.approx(2 * 2 / (3 + 2))
    assert values["dice"] == pytest.approx(2 * 2 / (3 + 2))  # 7, 8 and 9 are above 1.02
    assert values["false_positive_rate"] == pytest.approx(1 / 510)
    assert (values["lesions"], values["lesions_found"], values["false_regions"]) == (2, 2, 1)
    assert values["lesion_ml"] == pytest.approx(2 * 0.008)
    assert auto.lesions_by_size == auto.found_by_size == {"< 0.1 mL": 2}
    # slices by their highest value: 9 and 7 hold lesion, 8 does not, 7 + 7 others are lower
    assert auto.totals()["slice_peak_auroc"] == pytest.approx((14 + 13) / 28, abs=1e-6)
    values = constant.cases[1].values
    assert values["average_precision"] == pytest.approx(2 / 512)
    assert values["best_dice"] == pytest.approx(2 * 2 / (512 + 2))
    assert (values["dice"], values["lesions_found"], values["marked_ml"]) == (0, 0, 0)
    assert constant.found_by_size["< 0.1 mL"] == 0
    assert constant.totals()["slice_peak_auroc"] == 0.5
    (stratum,) = strata([{"T2w": comparison}])
    assert (stratum.contrast, stratum.sign, stratum.n) == ("T2w", "bright", 1)
    assert stratum.difference == pytest.approx(5 / 6 - 2 / 512, abs=1e-6)


def test_without_healthy_scans_there_is_no_threshold(constructed):
    (auto, _) = compare_on_set(constructed[3:], Files())["T2w"].detectors
    (case,) = auto.cases
    assert math.isnan(auto.threshold)
    assert math.isnan(case.values["dice"])
    assert math.isnan(case.values["false_positive_rate"])
    assert (case.values["lesions"], case.values["lesions_found"]) == (2, 0)
    assert case.values["average_precision"] == pytest.approx(5 / 6, abs=1e-6)


def test_a_set_of_calibration_scans_alone(constructed):
    with pytest.raises(DalFastError) as refused:
        compare_on_set(constructed[:1], Files())
    assert refused.value.code == "no-cases"


def test_the_printed_tables(constructed, capsys):
    print_comparison([compare_on_set(constructed, Files())])
    words = capsys.readouterr().out.split()
    assert "0.833" in words  # AP of auto
    assert "+0.829" in words  # less that of the best baseline
    assert "0.00195" in words  # healthy voxels above the threshold, 1 / 512
    assert "0.964" in words  # slice AUROC
    assert "100%" in words  # of lesions below 0.1 mL


def test_decoys_are_compared_apart(constructed, tmp_path, capsys):
    """The decoy's two voxels are the first and the third of all: as high an AUROC as can be."""
    decoy = np.zeros((SIDE,) * 3, bool)
    decoy[2, 2, 2] = decoy[5, 5, 5] = True
    shown = levels(((2, 2, 2), 9.0), ((5, 5, 5), 7.0))
    case = write_case(tmp_path / "x", "b", "decoy", shown, decoy)
    comparisons = compare_on_set([*constructed, case], Files())
    assert set(comparisons) == {"T2w", "T2w decoys"}
    auto, constant = comparisons["T2w decoys"].detectors
    # the threshold is that of the healthy scans of the same contrast
    assert auto.thresholds == {"healthy_mean": pytest.approx((0.510 + 1.530) / 2)}
    assert [case.values["auroc"] for case in auto.cases] == [pytest.approx(1.0)]
    assert [case.values["auroc"] for case in constant.cases] == [0.5]
    rows = list(strata([comparisons]))
    assert [row.name for row in rows] == ["T2w bright"]
    print_comparison([comparisons])
    shown = capsys.readouterr().out
    assert "decoys marked" in shown
    assert "auto less the best baseline, paired by case, by size" in " ".join(shown.split())


def test_columns_of_a_generator_have_its_own_thresholds(constructed, tmp_path):
    for case in constructed:
        case.facts["generator"] = "ellipsoids"
    other = [
        write_case(tmp_path / "y", name, "healthy", factor * levels())
        for name, factor in (("a", 5), ("b", 1), ("c", 7))
    ]
    for case in other:
        case.facts["generator"] = "shifted"
    real = write_case(tmp_path / "z", "d", "real", levels(), levels() > 0.5)
    real.facts["generator"] = ""
    comparisons = compare_on_set([*constructed, *other, real], Files())
    thresholds = {name: c.detectors[0].threshold for name, c in comparisons.items()}
    assert thresholds == {
        "ellipsoids T2w": pytest.approx(0.510 * (1 + 3) / 2),
        "shifted T2w": pytest.approx(0.510 * (5 + 7) / 2),
        "T2w": pytest.approx(0.510 * (1 + 3 + 5 + 7) / 4),  # a patient's, by all healthy scans
    }


def results(detector, *values):
    """Average precisions by draw and case."""
    cases = [
        CaseMetrics(case, case, {"draw": draw, "contrast": "T2w", "sign": sign},
                    {"average_precision": value})
        for draw, case, sign, value in values
    ]  # fmt: skip
    return DetectorResults(detector, {}, cases)


def test_strata_are_paired_by_case_and_draw():
    by_name = {
        "auto": [("a", "1", 0.5), ("a", "2", 0.9), ("b", "1", 0.4)],
        "intensity": [("a", "1", 0.2), ("a", "2", 0.7), ("b", "1", 0.4)],
        "atlas": [("a", "1", 0.3), ("a", "2", 0.4), ("b", "1", 0.1)],
    }
    detectors = [
        results(name, *((draw, case, "bright", value) for draw, case, value in rows),
                ("a", "3", "healthy", math.nan))
        for name, rows in by_name.items()
    ]  # fmt: skip
    (found,) = strata([{"T2w": Comparison(protocol("validation-set"), detectors, [])}])
    assert found.baseline == "intensity"
    assert found.n == 3
    assert found.difference == pytest.approx((0.3 + 0.2 + 0.0) / 3)
    assert found.by_draw == pytest.approx({"a": 0.25, "b": 0.0})
    assert found.spread == pytest.approx(np.std([0.3, 0.2, 0.0], ddof=1))


@pytest.mark.parametrize(
    ("ml", "name"), [(0.05, "< 0.1 mL"), (0.1, "0.1 to 1 mL"), (2, "1 to 10 mL"), (10, ">= 10 mL")]
)
def test_size_class(ml, name):
    assert size_class(ml) == name


@pytest.mark.long
def test_from_a_set_to_tables(made, weights, tmp_path):
    """With one case whose lesion mask is empty, and one whose file is lost."""
    shutil.copytree(made, tmp_path / "set")
    bad = sorted((tmp_path / "set").glob("sub-*/anat/*brightsmall*_label-lesion_mask.nii.gz"))[:2]
    image = np.zeros((32, 48, 32), np.uint8)
    save(bad[0], image)
    bad[1].unlink()
    out = tmp_path / "out"
    words = ["compare", str(tmp_path / "set"), "--weights", str(weights), "--out", str(out)]
    done = run(app, [*words, "--median", "0", "--no-atlas"])
    assert done.exit_code == 1, done.output
    assert "auto less the best baseline" in done.output
    lines = (out / "failures.tsv").read_text().splitlines()
    assert {line.split("\t")[1] for line in lines[1:]} == {"lesion-empty", "file-missing"}
    rows = list(csv.DictReader((out / "cases.csv").read_text().splitlines()))
    sick = [row for row in rows if row["sign"] != "healthy"]
    assert len({row["case"] for row in sick}) == 2 * (6 + 9 + 6) + 1 - 2
    assert {row["detector"] for row in rows} >= {"auto", "hybrid", "intensity", "equalised"}
    assert {row["draw"] for row in rows} == {"set"}

    def mean(sign, detector):
        key = (sign, detector, "FLAIR")
        own = [r for r in sick if r["generator"] == "ellipsoids"]
        same = [r for r in own if (r["sign"], r["detector"], r["contrast"]) == key]
        # a large lesion fills these little brains
        return np.mean([float(r["average_precision"]) for r in same if r["size"] != "large"])

    assert mean("bright", "intensity") > mean("bright", "dark_intensity")
    assert mean("dark", "dark_intensity") > mean("dark", "intensity")


def of_contrast(made, contrast):
    facts = {"generator": "ellipsoids", "contrast": contrast}
    return [case for case in read_set(made).cases if facts.items() <= case.facts.items()]


def test_thresholds_come_from_other_subjects(made, weights):
    detector = ModelScores(Screener(weights, "torch", median=0), atlas=False)
    comparison = compare_on_set(of_contrast(made, "T1w"), detector)["ellipsoids T1w"]
    assert [d.name for d in comparison.detectors] == list(detector.names)
    by_name = {d.name: d for d in comparison.detectors}
    healthy = [c for c in by_name["equalised"].cases if c.facts["sign"] == "healthy"]
    assert len(healthy) == 1  # the other subject set the thresholds
    # one voxel in a thousand of the other brain's ranks, too
    assert healthy[0].values["false_positive_rate"] == pytest.approx(0.001, abs=3e-4)
    assert by_name["equalised"].threshold == pytest.approx(0.999, abs=0.01)


def test_chosen_scores_come_without_baselines(made, weights):
    screener = Screener(weights, "torch", median=0)
    assert ModelScores(screener, ("hybrid",)).names == ("auto", "hybrid")
    assert ModelScores(screener, ()).names == ("auto",)
    every = ModelScores(screener, atlas=False).names
    assert every[-3:] == tuple(name for name in BASELINES if name not in ATLAS)


def test_an_autoencoder_is_compared_by_the_scores_that_it_has(made, tmp_path):
    screener = Screener(autoencoders.weights(tmp_path), "torch")
    detector = ModelScores(screener, atlas=False)
    comparisons = [compare_on_set(of_contrast(made, "T1w"), detector)]
    rows = list(measured_cases(comparisons))
    names = {name for name, _ in rows}
    assert {"auto", "absolute", "hybrid", "intensity"} <= names
    assert not {"enhanced", "gated_positive", "standard_negative"} & names
    plain = {case.case: case.values for name, case in rows if name == "absolute"}
    for name, case in rows:
        if name == "auto":
            assert case.values == pytest.approx(plain[case.case], nan_ok=True)
