"""One folder of results for many studies: no run takes the rows of another away."""

import csv
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("highdicom", reason="needs dal_fast[dicom]")

from dicom_lab import scanner

from dal_fast.dicom.files import StudyFiles
from dal_fast.dicom.names import Names
from dal_fast.dicom.select import Selection
from dal_fast.dicom.study import Studies, Study
from dal_fast.dicom.tables import write_tables


def rows(path, *columns):
    with path.open() as file:
        return [tuple(row[c] for c in columns) for row in csv.DictReader(file, delimiter="\t")]


def fake_result(folder, score):
    """What a complete series leaves, as far as tables read it."""
    folder.mkdir()
    outputs = {"report": "series-5_T1w.html", "thumbnail": "series-5_T1w.png"}
    for name in outputs.values():
        (folder / name).touch()
    facts = {
        "Outputs": outputs, "Score": score, "VolumeAboveThresholdML": 1.0, "QualityFlags": []
    }  # fmt: skip
    (folder / "series-5_T1w.json").write_text(json.dumps(facts))


def fake_run(name, source="in"):
    """A run that found one study, of which nothing was chosen."""
    study = Study(name, "", Selection("1.2.3", []))
    return Studies(Path(source), [study], StudyFiles(), Names())


def test_runs_at_once_lose_no_row(tmp_path):
    names = [f"study-{number:02}" for number in range(12)]
    for number, name in enumerate(names):
        fake_result(tmp_path / name, number / 10)

    def run_one(name):
        return [write_tables(fake_run(name), tmp_path, []) for _ in range(3)]

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(run_one, names)) == [[1, 1, 1]] * len(names)
    assert [name for (name,) in rows(tmp_path / "failures.tsv", "scan")] == names
    scores = [f"{name}/series-5_T1w" for name in reversed(names)]
    assert [name for (name,) in rows(tmp_path / "scores.tsv", "scan")] == scores
    page = (tmp_path / "index.html").read_text()
    assert all(f"{name}/series-5_T1w" in page for name in names)
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_run_replaces_the_rows_of_what_it_looked_at_alone(tmp_path):
    """Rows of its studies and of its input's damaged files, not those of another input."""

    def damaged(source, count):
        run = fake_run(f"study-{source}", source)
        run.files.damaged.extend((_Named(f"{n}.dcm"), "it is cut") for n in range(count))
        write_tables(run, tmp_path, [])
        return rows(tmp_path / "failures.tsv", "scan")

    damaged("a", 2)
    assert len(damaged("b", 1)) == 2 + 1 + 2
    assert len(damaged("b", 0)) == 2 + 2
    assert len(damaged("a", 0)) == 2


def test_an_input_whose_name_is_no_utf_8_has_tables(tmp_path):
    source = os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller")
    assert write_tables(fake_run("study-a", source), tmp_path, []) == 1
    assert rows(tmp_path / "failures.tsv", "scan") == [("study-a",)]


class _Named:
    def __init__(self, name):
        self.name = name


def stripped(folder, seed):
    """A study of one skull-stripped T1w series."""
    data, voxel = scanner.stripped_brain()
    affine = scanner.turned((5.0, -4.0, 3.0), voxel, data.shape)
    return scanner.write(scanner.classic(data, affine, seed=seed), folder)


def start(study, out, *more):
    call = [sys.executable, "-m", "dal_fast.cli", "dicom", study, out, "--objects", "sr", *more]
    return subprocess.Popen([str(word) for word in call], stderr=subprocess.PIPE)


def test_two_commands_at_once_and_a_third_one_later(tmp_path):
    out = tmp_path / "out"
    inputs = [stripped(tmp_path / seed, seed) for seed in "abc"]
    for folder in inputs[:2]:  # a study that is refused beside the one that is screened
        shutil.copytree(folder, folder / "more")
        scanner.write(
            scanner.classic(scanner.small_head(), scanner.turned(), seed=f"{folder}")[:3],
            folder / "more",
        )
    runs = [start(folder, out) for folder in inputs[:2]]
    for run in runs:
        _, complaints = run.communicate()
        assert run.returncode == 1, complaints
    assert len(rows(out / "scores.tsv", "scan")) == 2
    assert {code for (code,) in rows(out / "failures.tsv", "code")} == {"dicom-unselected"}
    assert len(rows(out / "failures.tsv", "code")) == 2
    third = start(inputs[2], out)
    _, complaints = third.communicate()
    assert third.returncode == 0, complaints
    assert len(rows(out / "scores.tsv", "scan")) == 3
    assert len(rows(out / "failures.tsv", "code")) == 2
    assert (out / "index.html").read_text().count("series-5_T1w.html") >= 3
