"""``dal-fast dicom`` from a folder to objects: exit codes, tables, resuming, and no names."""

import csv
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="needs dal_fast[dicom]")

from dicom_lab import edits, scanner, tools
from pydicom import dcmread
from typer.testing import CliRunner

from dal_fast.cli import app
from dal_fast.dicom.names import HIDDEN, Names

pytestmark = pytest.mark.usefixtures("one_chain")
NAMES = ("Vorname", "Nachname", "PID4711", "19610203", "ACC0815", "Arzt")


def run(*arguments):
    return CliRunner().invoke(app, ["dicom", *map(str, arguments)])


def brain_series(folder, seed="1", name="IM{:04d}.dcm", **protocol):
    """A skull-stripped T1w series, so that no brain has to be extracted."""
    data, voxel = scanner.stripped_brain()
    affine = scanner.turned((5.0, -4.0, 3.0), voxel, data.shape)
    images = scanner.classic(data, affine, protocol=scanner.MPRAGE | protocol, seed=seed)
    return scanner.write(images, folder, name=name)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """One study in a folder that bears the patient's name, with a localiser beside the scan."""
    folder = tmp_path_factory.mktemp("archive") / "Nachname_Vorname"
    brain_series(folder / "SER5", name="Nachname-{:04d}")
    data, affine = scanner.small_head(), scanner.turned()
    localiser = scanner.classic(data, affine, seed="loc")[:3]
    for ds in localiser:
        ds.StudyInstanceUID = dcmread(next((folder / "SER5").iterdir())).StudyInstanceUID
        ds.SeriesNumber, ds.SeriesDescription = 1, "localizer Nachname"
    scanner.write(localiser, folder / "SER1")
    return folder


@pytest.fixture(scope="module")
def screened(study, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    result = run(study, out, "--objects", "seg,map,mr,sc,sr")
    assert result.exit_code == 0, result.output
    (folder,) = out.glob("study-*")
    return result, out, folder


def without_names(text):
    return not any(name in text for name in NAMES)


def test_everything_is_written(screened):
    result, out, folder = screened
    assert "series-5_T1w: score" in result.output
    names = {path.name for path in folder.iterdir()}
    for kind in ("map", "sc", "sr", "seg", "mr-0001", "mr-0036"):
        assert f"series-5_T1w_{kind}.dcm" in names
    assert {"selection.json", "series-5_T1w.json", "series-5_T1w.html"} <= names
    assert {path.name for path in out.iterdir()} == {
        folder.name, "scores.tsv", "failures.tsv", "index.html"
    }  # fmt: skip
    for path in folder.glob("*_s*.dcm"):
        assert tools.errors_of(path) == []
    with (out / "scores.tsv").open() as file:
        (row,) = csv.DictReader(file, delimiter="\t")
    assert row["scan"] == f"{folder.name}/series-5_T1w"
    assert row["mask_from"] == "nonzero"
    assert 1000 < float(row["brain_ml"]) < 1800
    assert row["mask_confidence"] == "n/a"


def test_results_that_have_vanished_are_failures(screened, study, tmp_path):
    from dal_fast.batch.job import Outcome
    from dal_fast.dicom.study import find_studies
    from dal_fast.dicom.tables import write_tables

    _, out, _ = screened
    copied = tmp_path / "out"
    shutil.copytree(out, copied)
    studies = find_studies(study)
    (job,) = studies.jobs(copied)
    next(copied.glob("study-*/*_map.dcm")).unlink()
    assert write_tables(studies, copied, [Outcome(job.scan, job.folder, "kept")]) == 1
    with (copied / "failures.tsv").open() as file:
        (row,) = csv.DictReader(file, delimiter="\t")
    assert row["code"] == "file-missing"
    assert row["scan"].endswith("/series-5_T1w")
    assert (copied / "scores.tsv").read_text().count("\n") == 1


def test_a_patient_who_is_called_as_a_file_is_loses_no_result(tmp_path):
    from dicom_lab import findings

    from dal_fast._version import generated_by
    from dal_fast.dicom.outputs import complete_sidecar, write_finding

    finding = findings.make_finding(findings.write_study(tmp_path / "study"))
    write_finding(finding, {}, "page", b"", tmp_path, "", Names(("T1w", "Fast", "mprage")))
    written = complete_sidecar(tmp_path, finding.verdict.name)
    assert written is not None
    assert written["GeneratedBy"] == generated_by()
    assert written["DICOM"]["SeriesDescription"] == f"t1_{HIDDEN}_sag"


def test_the_selection_is_on_file(screened):
    _, _, folder = screened
    localiser, scan = json.loads((folder / "selection.json").read_text())["Series"]
    assert (localiser["Rule"], localiser["Chosen"]) == ("dicom-few-slices", False)
    assert (scan["Rule"], scan["Chosen"]) == ("t1-prepared-gradient-echo", True)


def test_nothing_but_the_objects_shows_a_name(screened, study):
    result, out, _ = screened
    assert without_names(result.output)
    for path in out.rglob("*"):
        if path.is_file() and path.suffix != ".dcm":
            assert without_names(path.read_text("utf-8", "replace")), path
            assert without_names(path.name)
    listed = run("list", study)
    assert without_names(listed.output)
    assert HIDDEN in listed.output  # of the localiser's description


def test_the_name_of_a_file_that_cannot_be_read_may_be_that_of_a_patient(study, tmp_path):
    folder = tmp_path / "in"
    shutil.copytree(study / "SER1", folder)
    content = next(folder.iterdir()).read_bytes()
    (folder / "Fremd_Person.dcm").write_bytes(content[:200])
    result = run("list", folder)
    assert "damaged file 1" in result.output
    assert "Fremd" not in result.output
    assert "Fremd_Person.dcm" in run("list", folder, "--show-names").output
    (tmp_path / "alone").mkdir()
    (folder / "Fremd_Person.dcm").rename(tmp_path / "alone" / "Fremd_Person.dcm")
    alone = run("list", tmp_path / "alone")
    assert refusal(alone) == "dicom-damaged"
    assert "Fremd" not in alone.output


def test_names_are_shown_on_request(study):
    result = run("list", study, "--show-names")
    assert result.exit_code == 0
    assert "Vorname^Nachname PID4711" in result.output


def test_what_is_complete_is_kept(screened, study):
    _, out, folder = screened
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("series*")}
    again = run(study, out, "--objects", "sr,sc,mr,map,seg")
    assert again.exit_code == 0
    assert "already screened" in again.output
    assert before == {path.name: path.stat().st_mtime_ns for path in folder.glob("series*")}


def test_objects_of_an_earlier_run_stay_where_they_agree(screened, study, tmp_path):
    _, out, folder = screened
    copied = tmp_path / "out"
    shutil.copytree(out, copied)
    objects = {path.name: path.read_bytes() for path in folder.glob("series*.dcm")}
    added = run(study, copied, "--objects", "pdf")
    assert added.exit_code == 0
    assert "removed" not in added.output
    now = {path.name: path.read_bytes() for path in (copied / folder.name).glob("series*.dcm")}
    assert now.pop("series-5_T1w_pdf.dcm")
    assert now == objects
    content = json.loads((copied / folder.name / "series-5_T1w.json").read_text())
    assert content["DICOM"]["Objects"].keys() == objects.keys() | {"series-5_T1w_pdf.dcm"}
    assert set(objects) < set(content["Outputs"].values())


def test_objects_that_no_longer_agree_are_removed_and_named(screened, study, tmp_path):
    _, out, folder = screened
    copied = tmp_path / "out"
    shutil.copytree(out, copied)
    result = run(study, copied, "--objects", "sr", "--threshold", 2)
    assert result.exit_code == 0
    (left,) = (copied / folder.name).glob("series*.dcm")
    assert left.name == "series-5_T1w_sr.dcm"
    (line,) = (line for line in result.output.splitlines() if line.startswith("removed: "))
    names = (f"{folder.name}/series-5_T1w_{kind}.dcm" for kind in ("map", "mr-*", "sc", "seg"))
    assert line.startswith(f"removed: {', '.join(names)} (")


def test_the_list_says_what_and_why(study, tmp_path):
    result = run("list", study)
    assert result.exit_code == 0
    first, second = result.output.splitlines()[1:3]
    assert "slices" in first
    assert "→" in second
    assert "T1w" in second
    for line, part in ((first, "SER1"), (second, "SER5")):
        assert line.endswith(dcmread(next((study / part).iterdir())).SeriesInstanceUID)


def test_looking_at_a_study_loads_no_network():
    code = (
        "import sys, dal_fast.cli.dicom, dal_fast.dicom.study, dal_fast.dicom.stages\n"
        "assert 'torch' not in sys.modules and 'highdicom' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_several_studies_go_through_the_worker_pool(tmp_path):
    brain_series(tmp_path / "in" / "a", seed="a")
    brain_series(tmp_path / "in" / "b", seed="b", EchoTime=300)
    brain_series(tmp_path / "in" / "c", seed="c")
    data, affine = scanner.small_head(), scanner.turned()
    cut = scanner.classic(data, affine, seed="d")
    scanner.write(edits.twice(edits.anew_with_other_pixels)(cut), tmp_path / "in" / "d")
    (tmp_path / "in" / "cut.dcm").write_bytes(
        next((tmp_path / "in" / "a").iterdir()).read_bytes()[:200]
    )
    result = run(tmp_path / "in", tmp_path / "out", "--workers", 2, "--objects", "seg,sr")
    assert result.exit_code == 1, result.output
    assert without_names(result.output)
    with (tmp_path / "out" / "failures.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert sorted(row["code"] for row in rows) == [
        "dicom-damaged", "dicom-unselected", "dicom-unselected"
    ]  # fmt: skip
    with (tmp_path / "out" / "scores.tsv").open() as file:
        scores = list(csv.DictReader(file, delimiter="\t"))
    assert len(scores) == 2
    assert all("damaged-files" in row["flags"] for row in scores)


def refusal(result):
    """The code of a refusal, which is one line."""
    assert result.exit_code == 2
    (line,) = result.output.strip().splitlines()
    assert line.startswith("error [")
    return line.split("[")[1].split("]")[0]


def test_a_study_without_a_scan_of_the_brain_ends_with_the_reason(tmp_path):
    scanner.write(scanner.classic(scanner.small_head(), scanner.turned())[:3], tmp_path / "in")
    result = run(tmp_path / "in", tmp_path / "out")
    assert refusal(result) == "dicom-unselected"
    assert "3 slices" in result.output
    (folder,) = (tmp_path / "out").glob("study-*")
    assert [path.name for path in folder.iterdir()] == ["selection.json"]
    with (tmp_path / "out" / "failures.tsv").open() as file:
        (row,) = csv.DictReader(file, delimiter="\t")
    assert (row["scan"], row["code"]) == (folder.name, "dicom-unselected")


def test_a_scan_that_lacks_a_slice_is_to_be_exported_again(tmp_path):
    folder = brain_series(tmp_path / "in")
    sorted(folder.iterdir())[17].unlink()
    result = run(folder, tmp_path / "out")
    assert refusal(result) == "dicom-missing-slices"
    assert "--series" not in result.output
    assert "lacks 1 slice, behind the one at" in result.output
    with (tmp_path / "out" / "failures.tsv").open() as file:
        (row,) = csv.DictReader(file, delimiter="\t")
    assert row["code"] == "dicom-missing-slices"
    assert "failed [dicom-missing-slices]" in run("list", folder).output


def test_a_series_is_named_by_the_number_that_the_list_shows(study, tmp_path):
    listed = run("list", study, "--series", "5")
    assert "it was named by --series" in listed.output
    unknown = run("list", study, "--series", "7")
    assert refusal(unknown) == "dicom-series-unknown"
    assert "no series 7; name one by its UID or its number" in unknown.output
    shutil.copytree(study / "SER5", tmp_path / "in")
    brain_series(tmp_path / "in" / "again", seed="2")
    twice = run("list", tmp_path / "in", "--series", "5")
    assert refusal(twice) == "dicom-series-unknown"
    assert "2 series of the number 5; name one by its UID" in twice.output


def test_a_list_ends_with_1_where_something_would_fail(study, tmp_path):
    assert run("list", study).exit_code == 0
    shutil.copytree(study, tmp_path / "cut")
    file = sorted((tmp_path / "cut" / "SER5").iterdir())[-1]
    file.write_bytes(file.read_bytes()[:300])
    listed = run("list", tmp_path / "cut")
    assert "failed [dicom-damaged]" in listed.output
    assert listed.exit_code == 1
    scanner.write(scanner.classic(scanner.small_head(), scanner.turned())[:3], tmp_path / "few")
    listed = run("list", tmp_path / "few")
    assert "failed [dicom-unselected]" in listed.output
    assert listed.exit_code == 1


def test_a_series_that_is_named_is_screened(tmp_path):
    folder = brain_series(tmp_path / "in", EchoTime=300)
    uid = str(dcmread(next(folder.iterdir())).SeriesInstanceUID)
    assert refusal(run(folder, tmp_path / "out")) == "dicom-unselected"
    result = run(folder, tmp_path / "out", "--series", uid)
    assert result.exit_code == 0, result.output
    (found,) = (tmp_path / "out").glob("study-*/series-5.json")
    assert json.loads(found.read_text())["DICOM"]["Rule"] == "named"
    assert refusal(run(folder, tmp_path / "out", "--series", "1.2.3")) == "dicom-series-unknown"


def test_wrong_usage_is_one_coded_line(study, tmp_path):
    assert refusal(run(study)) == "value"
    assert refusal(run(study, tmp_path / "out", "--objects", "seg,png")) == "value"
    assert refusal(run(tmp_path / "none", tmp_path / "out")) == "file-missing"
    (tmp_path / "empty").mkdir()
    assert refusal(run(tmp_path / "empty", tmp_path / "out")) == "dicom-none"
    assert not (tmp_path / "out").exists()


def test_when_writing_fails_nothing_is_left(study, tmp_path, monkeypatch):
    from dal_fast.dicom import parametric_map

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parametric_map, "make_parametric_map", fail)
    result = run(study, tmp_path / "out")
    assert result.exit_code == 1
    (folder,) = (tmp_path / "out").glob("study-*")
    assert [path.name for path in folder.iterdir()] == ["selection.json"]


def test_a_refusal_names_the_series_and_what_exists(tmp_path):
    shape = (64, 64, 64)
    i, j, k = np.indices(shape) - 31.5
    noise = np.random.default_rng(0).integers(1, 20, shape)
    ball = np.where(i**2 + j**2 + k**2 < 25**2, 500, 0) + noise
    images = scanner.classic(ball, scanner.turned(voxel=(3, 3, 3), shape=shape))
    scanner.write(images, tmp_path / "in")
    for brain, code in (("auto", "brain-not-found"), ("given", "skull-present")):
        result = run(tmp_path / "in", tmp_path / "out", "--brain", brain)
        assert result.exit_code == 1
        assert f"series-5_T1w: failed [{code}]" in result.output
        assert f"series 5 of {tmp_path / 'in'}" in result.output
        assert f"{tmp_path / 'in'}/" not in result.output
        with (tmp_path / "out" / "failures.tsv").open() as file:
            (row,) = csv.DictReader(file, delimiter="\t")
        assert row["code"] == code
        assert "desc-brain_mask beside a NIfTI scan" in row["message"] or brain == "given"
        assert "dcm2niix" in row["message"] or brain == "given"


def test_a_contrast_that_the_pixels_contradict_is_flagged(tmp_path):
    se = {"ScanningSequence": "SE", "EchoTime": 98, "RepetitionTime": 4500, "InversionTime": None}
    folder = brain_series(tmp_path / "in", **se)
    for file in folder.iterdir():
        ds = dcmread(file)
        del ds.InversionTime
        ds.save_as(file)
    result = run(folder, tmp_path / "out", "--objects", "sr")
    assert result.exit_code == 0, result.output
    assert "unexpected-contrast" in result.output
    (sidecar,) = (tmp_path / "out").glob("study-*/series-5_T2w.json")
    parameters = json.loads(sidecar.read_text())["Parameters"]
    assert (parameters["contrast"], parameters["contrast_from"]) == ("T2w", "header")


def test_names_hide_words_and_not_uids():
    names = Names(["Ng", "Anna", "Mueller", "4711", "王"])
    assert names.hide("anna and Hanna Mueller_2: 4711, 1.2.4711.3") == (
        f"{HIDDEN} and Hanna {HIDDEN}_2: {HIDDEN}, 1.2.4711.3"
    )
    assert names.hide("Nothing") == "Nothing"
    assert names.hide_in({"a": ["Mueller", 1]}) == {"a": [HIDDEN, 1]}


def test_words_of_our_own_messages_stay():
    """Anonymised studies have them in the place of names."""
    message = "series 12 holds images of 2 patients; dal-fast dicom list shows them all, name one"
    assert Names(["patient", "Name", "DICOM", "Series"]).hide(message) == message
