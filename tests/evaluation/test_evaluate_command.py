"""``dal-fast evaluate`` from folders to the page."""

import csv
import html
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from study import save, write_study
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


@pytest.mark.parametrize("name", ["default", "validation-set", "uad-imag", "pddpm", "luo2023"])
def test_all_that_it_leaves(study, tmp_path, name):
    result = run(app, arguments(study, tmp_path, "--protocol", name))
    assert result.exit_code == 0, result.output
    assert (tmp_path / "failures.tsv").read_text() == "scan\tcode\tmessage\n"
    rows = table(tmp_path / "cases.csv")
    assert len(rows) == 2 * 4  # site B: two patients, two healthy
    assert {row["site"] for row in rows} == {"B"}
    assert {row["dice"] == "" for row in rows if row["group"] == "control"} == {True}
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["protocol"] == name
    good, poor = (summary["detectors"][d] for d in ("good", "poor"))
    assert (good["cases"], good["with_lesion"]) == (4, 2)
    if name not in ("pddpm", "luo2023"):  # they erode the brain, and with it these lesions
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
    result = run(app, command)
    assert result.exit_code == 0, result.output
    assert result.output.startswith("good: average precision")
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
    result = run(app, command)
    assert result.exit_code == 0, result.output
    assert {row["suffix"] for row in table(tmp_path / "out" / "cases.csv")} == {"T2w"}


def test_a_suffix_that_no_scan_of_a_table_has(study, tmp_path):
    scan = next(study.data.glob("sub-p0/anat/*_T2w.nii.gz"))
    (tmp_path / "cases.csv").write_text(f"scan\n{scan}\n")
    command = ["evaluate", "detector:intensity", "--data", str(tmp_path / "cases.csv")]
    result = run(app, [*command, "--out", str(tmp_path / "out"), "--suffix", "FLAIR"])
    assert result.exit_code == 2
    assert "[label-unknown]" in result.stderr
    assert "of the suffix FLAIR; it lists T2w" in result.stderr


@pytest.mark.parametrize("name", [b"$x^$", b"_mine", b"good\xe9", b"<b>&amp;"])
def test_strange_names_of_maps_and_of_values_are_shown(tmp_path, name):
    """Formulas, names that matplotlib hides, names that are no UTF-8, marks of HTML."""
    study = write_study(tmp_path / "study", patients=4, healthy=2, detectors=("good",))
    data, maps = (os.fsdecode(os.fsencode(tmp_path / of) + name) for of in ("data-", "maps/"))
    os.mkdir(tmp_path / "maps")
    shutil.copytree(study.data, data)
    shutil.copytree(study.maps["good"], maps)
    table = os.path.join(data, "participants.tsv")
    with open(table) as file:
        text = file.read().replace("\tA\t", "\t$\\frac$ A\t")
    with open(table, "w") as file:
        file.write(text)
    command = ["evaluate", maps, "--data", data, "--out", str(tmp_path / "out")]
    result = run(app, [*command, "--healthy", "group=control", "--threshold", "1"])
    assert result.exit_code == 0, result.output
    page = (tmp_path / "out" / "index.html").read_text("utf-8")
    shown = html.escape(name.decode("utf-8", "backslashreplace"), quote=False)
    assert all(shown in curves for curves in re.findall("<svg.*?</svg>", page, re.DOTALL))
    assert "$\\frac$ A" in page
    assert "<b>&amp;" not in page


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
    result = run(app, arguments(study, tmp_path / "out", *more))
    assert result.exit_code == 2
    assert f"[{code}]" in result.output
    assert not (tmp_path / "out" / "summary.json").exists()


def test_a_file_where_the_pictures_belong(study, tmp_path):
    (tmp_path / "cases").touch()
    result = run(app, arguments(study, tmp_path))
    assert result.exit_code == 2
    assert result.output.startswith("error [output-unwritable]: ")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cases"]


def test_a_validation_rule_that_names_nobody_is_told_what_there_is(study, tmp_path):
    more = ["--validation", "site=C", "--threshold", "1"]
    result = run(app, arguments(study, tmp_path / "out", *more))
    assert result.exit_code == 2
    assert "[validation-missing]: --validation site=C names no case" in result.output
    assert "the values of site are A, B" in result.output


def test_results_among_the_maps_are_refused(study, tmp_path):
    maps = tmp_path / "maps"
    shutil.copytree(study.maps["good"], maps)
    (maps / "index.html").write_text("the overview of the maps")
    for named in (str(maps), f"mine={maps}"):
        command = ["evaluate", named, "--data", str(study.data), "--out", str(maps)]
        result = run(app, [*command, "--healthy", "group=control", "--threshold", "1"])
        assert result.exit_code == 2
        assert "[value]" in result.output
    assert (maps / "index.html").read_text() == "the overview of the maps"


def failures_of(out):
    lines = (out / "failures.tsv").read_text().splitlines()
    assert lines[0] == "scan\tcode\tmessage"
    return [tuple(line.split("\t")[:2]) for line in lines[1:]]


def test_bad_cases_are_listed_first_and_the_others_evaluated(study, tmp_path):
    """One refused by its header, one by a lost mask, one only when it is read."""
    shutil.copytree(study.data, tmp_path / "data")
    for name, folder in study.maps.items():
        shutil.copytree(folder, tmp_path / name)
    anat = tmp_path / "data/sub-p0/anat"
    (anat / "sub-p0_label-lesion_mask.nii.gz").unlink()
    (tmp_path / "poor/sub-p1/anat/sub-p1_desc-anomaly_T2w.nii.gz").unlink()
    path = tmp_path / "good/sub-p2/anat/sub-p2_desc-anomaly_T2w.nii.gz"
    path.write_bytes(path.read_bytes()[:-100])
    out = tmp_path / "out"
    command = ["evaluate", f"good={tmp_path / 'good'}", f"poor={tmp_path / 'poor'}"]
    command += ["--data", str(tmp_path / "data"), "--out", str(out), "--healthy", "group=control"]
    result = run(app, [*command, "--threshold", "0.7"])
    assert result.exit_code == 1, result.output
    expected = [("sub-p0_T2w", "lesion-missing"), ("sub-p1_T2w", "map-missing"),
                ("sub-p2_T2w", "gzip-truncated")]  # fmt: skip
    assert failures_of(out) == expected
    lines = result.stderr.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"failed [{c}] {n}" for n, c in expected]
    rows = table(out / "cases.csv")
    assert {row["case"] for row in rows} == {
        f"sub-{label}_T2w" for label in ("h0", "h1", "h2", "h3", "p3", "p4")
    }
    page = (out / "index.html").read_text()
    assert "Cases that could not be evaluated" in page
    assert "lesion-missing" in page
    assert json.loads((out / "summary.json").read_text())["failures"] == 3


def test_controls_with_empty_lesion_masks(study, tmp_path):
    """The same results as without these masks; without the rule they are failures."""
    shutil.copytree(study.data, tmp_path / "data")
    for number in range(4):
        label = f"sub-h{number}"
        mask = np.zeros(study.scans[f"{label}_T2w"].shape, np.uint8)
        save(tmp_path / f"data/{label}/anat/{label}_label-lesion_mask.nii.gz", mask)
    command = arguments(study, tmp_path / "out")
    command[command.index("--data") + 1] = str(tmp_path / "data")
    result = run(app, command)
    assert result.exit_code == 0, result.output
    assert run(app, arguments(study, tmp_path / "usual")).exit_code == 0
    for name in ("cases.csv", "groups.csv", "comparisons.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "usual" / name).read_bytes()
    command.remove("--healthy")
    command.remove("group=control")
    result = run(app, [*command, "--threshold", "0.7"])
    assert result.exit_code == 1
    assert failures_of(tmp_path / "out") == [
        (f"sub-h{number}_T2w", "lesion-empty") for number in range(4)
    ]


def test_nothing_that_can_be_evaluated_is_refused_with_the_list(study, tmp_path):
    (tmp_path / "none").mkdir()
    command = ["evaluate", str(tmp_path / "none"), "--data", str(study.data)]
    command += ["--out", str(tmp_path / "out"), "--healthy", "group=control", "--threshold", "1"]
    result = run(app, command)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("error [no-cases]: ")
    assert len(failures_of(tmp_path / "out")) == 9


def test_a_table_in_latin_1_with_a_bad_row(study, tmp_path):
    scans = sorted(study.data.glob("sub-p*/anat/*_T2w.nii.gz"))
    lines = ["scan,klinik", *(f"{scan},Köln" for scan in scans), "nowhere.nii.gz,Köln"]
    (tmp_path / "cases.csv").write_bytes("\n".join(lines).encode("latin-1"))
    command = ["evaluate", "detector:intensity", "--data", str(tmp_path / "cases.csv")]
    result = run(app, [*command, "--out", str(tmp_path / "out"), "--threshold", "1.2"])
    assert result.exit_code == 1, result.output
    assert failures_of(tmp_path / "out") == [("nowhere.nii.gz", "file-missing")]
    assert {row["klinik"] for row in table(tmp_path / "out" / "cases.csv")} == {"Köln"}


PLOT = """
import os, sys
from dal_fast.evaluation.report.plots import figure, svg
drawing, _ = figure(1, 1, 2, 2)
svg(drawing)
print("MPLCONFIGDIR" in os.environ)
"""


def test_plots_write_into_our_cache_alone(tmp_path):
    home, cache = tmp_path / "home", tmp_path / "cache"
    home.mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MPL", "XDG"))}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", PLOT], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
    assert done.stderr == ""
    assert list(home.iterdir()) == []
    assert {path.name for path in cache.iterdir()} == {"dal_fast"}
    assert any((cache / "dal_fast" / "matplotlib").glob("fontlist*"))


def test_names_of_detectors_differ(study, tmp_path):
    command = arguments(study, tmp_path)
    command[2] = command[1]
    assert "[detector-twice]" in run(app, command).output
    command[2] = f"={study.maps['poor']}"
    assert "[detector-name]" in run(app, command).output


@pytest.mark.parametrize("module", ["scipy", "matplotlib", "matplotlib.figure"])
def test_a_missing_package_is_refused_before_the_work(study, tmp_path, monkeypatch, module):
    for name in [name for name in sys.modules if name.startswith(f"{module}.")]:
        monkeypatch.delitem(sys.modules, name)  # another test has imported it
    monkeypatch.setitem(sys.modules, module, None)
    result = run(app, arguments(study, tmp_path / "out"))
    assert result.exit_code == 2
    assert result.stderr.startswith("error [extra-missing]: ")
    assert "dal_fast[evaluate]" in result.stderr
    assert not (tmp_path / "out").exists()
