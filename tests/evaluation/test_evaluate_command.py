"""``dal-fast evaluate`` from folders to the page."""

import csv
import json
import re
import shutil

import pytest
from study import write_study
from typer.testing import CliRunner

from dal_fast.cli import app

run = CliRunner().invoke


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study"), patients=5, healthy=4)


def arguments(study, out, *more):
    maps = [f"{name}={folder}" for name, folder in study.maps.items()]
    rules = ["--healthy", "group=control", "--validation", "site=A"]
    return ["evaluate", *maps, "--data", str(study.data), "--out", str(out), *rules, *more]


def table(path):
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.mark.parametrize("name", ["default", "uad-imag", "pddpm", "luo2023"])
def test_all_that_it_leaves(study, tmp_path, name):
    told = run(app, arguments(study, tmp_path, "--protocol", name))
    assert told.exit_code == 0, told.output
    rows = table(tmp_path / "cases.csv")
    assert len(rows) == 2 * 4  # site B: two patients, two healthy
    assert {row["site"] for row in rows} == {"B"}
    assert {row["dice"] == "" for row in rows if row["group"] == "control"} == {True}
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["protocol"] == name
    good, poor = (summary["detectors"][d] for d in ("good", "poor"))
    assert (good["cases"], good["with_lesion"]) == (4, 2)
    if name in ("default", "uad-imag"):  # the others cut off the rim, and with it these lesions
        assert good["totals"]["average_precision"] > poor["totals"]["average_precision"]
    gaps = table(tmp_path / "comparisons.csv")
    assert {(g["first"], g["second"]) for g in gaps} == {("good", "poor")}
    page = (tmp_path / "index.html").read_text()
    assert "Not a medical device" in page
    assert len(re.findall("<svg", page)) >= 2
    assert "<script" not in page
    pictures = set(re.findall(r'src="(cases/[^"]+)"', page))
    assert len(pictures) == 4
    assert all((tmp_path / picture).is_file() for picture in pictures)


def test_equal_input_gives_equal_files(study, tmp_path):
    for folder in ("a", "b"):
        assert run(app, arguments(study, tmp_path / folder)).exit_code == 0
    for path in sorted((tmp_path / "a").rglob("*")):
        if path.is_file():
            assert (
                path.read_bytes()
                == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()
            )


def test_one_detector_with_a_threshold_of_its_own(study, tmp_path):
    command = ["evaluate", str(study.maps["good"]), "--data", str(study.data)]
    command += ["--out", str(tmp_path), "--healthy", "group=control"]
    command += ["--threshold", "0.7", "--no-pictures"]
    told = run(app, command)
    assert told.exit_code == 0, told.output
    assert told.output.startswith("good: average precision")
    own = json.loads((tmp_path / "summary.json").read_text())["detectors"]["good"]
    assert own["thresholds"] == {"fixed": 0.7}
    assert not (tmp_path / "cases").exists()
    assert "<img" not in (tmp_path / "index.html").read_text()


def test_a_table_of_scans_of_one_suffix(study, tmp_path):
    scans = sorted(study.data.glob("sub-p*/anat/*_T2w.nii.gz"))
    other = tmp_path / "sub-x_FLAIR.nii.gz"
    shutil.copy(scans[0], other)
    shutil.copy(scans[0].with_name("sub-p0_label-lesion_mask.nii.gz"),
                tmp_path / "sub-x_label-lesion_mask.nii.gz")  # fmt: skip
    (tmp_path / "cases.csv").write_text("\n".join(["scan", str(other), *map(str, scans)]) + "\n")
    command = ["evaluate", "detector:intensity", "--data", str(tmp_path / "cases.csv")]
    command += ["--out", str(tmp_path / "out"), "--threshold", "1.2", "--suffix", "T2w"]
    told = run(app, command)
    assert told.exit_code == 0, told.output
    assert {row["suffix"] for row in table(tmp_path / "out" / "cases.csv")} == {"T2w"}


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (["--protocol", "brats"], "protocol-unknown"),
        (["--validation", "site=C"], "validation-missing"),
        (["--validation", "all"], "no-cases"),
        (["--suffix", "FLAIR"], "label-unknown"),
    ],
)
def test_refusals(study, tmp_path, more, code):
    told = run(app, arguments(study, tmp_path / "out", *more))
    assert told.exit_code == 2
    assert f"[{code}]" in told.output
    assert not (tmp_path / "out" / "summary.json").exists()


def test_a_missing_map_is_told_before_anything_is_read(study, tmp_path):
    shutil.copytree(study.maps["poor"], tmp_path / "poor")
    (tmp_path / "poor/sub-p4/anat/sub-p4_desc-anomaly_T2w.nii.gz").unlink()
    command = arguments(study, tmp_path / "out")
    command[2] = f"poor={tmp_path / 'poor'}"
    told = run(app, command)
    assert told.exit_code == 2
    assert "[map-missing]" in told.output
    assert "sub-p4_T2w" in told.output


def test_names_of_detectors_differ(study, tmp_path):
    command = arguments(study, tmp_path)
    command[2] = command[1]
    assert "[detector-twice]" in run(app, command).output
    command[2] = f"={study.maps['poor']}"
    assert "[detector-name]" in run(app, command).output
