"""The BIDS App: selection, parts, resuming, the derivative's names, and the group level."""

import csv
import json
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import nibabel as nib
import numpy as np
import pytest
from phantom import phantom, save
from tiny import tiny_weights
from typer.testing import CliRunner
from without_workers import without_workers

from dal_fast.batch.cohort import FEWEST
from dal_fast.batch.tables import read_failures, update_failures
from dal_fast.cli import app

run = CliRunner().invoke


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return str(tiny_weights(tmp_path_factory.mktemp("weights")))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Two participants, one of them with two sessions, T2w and FLAIR."""
    root = tmp_path_factory.mktemp("study") / "ds"
    for n, place in enumerate(("sub-01", "sub-02/ses-a", "sub-02/ses-b")):
        folder = root / place / "anat"
        folder.mkdir(parents=True)
        stem = place.replace("/", "_")
        for suffix in ("T2w", "FLAIR")[: 1 + (n == 0)]:
            data, affine, _ = phantom("LAS", seed=n)
            save(folder / f"{stem}_{suffix}.nii.gz", data, affine)
    about = {"Name": "phantoms", "BIDSVersion": "1.10.0"}
    (root / "dataset_description.json").write_text(json.dumps(about))
    table = "participant_id\tage\tgroup\nsub-01\t31\tcontrol\nsub-02\tn/a\tpatient\n"
    (root / "participants.tsv").write_text(table)
    return root


@pytest.fixture(scope="module")
def derivative(dataset, weights, tmp_path_factory):
    """Everything screened, by two job arrays' parts, then the group level."""
    out = tmp_path_factory.mktemp("derivative") / "dal_fast"
    for part in "01":
        more = ["--num-parts", "2", "--part-id", part]
        with without_workers():
            assert app_run(dataset, out, "participant", weights, *more).exit_code == 0
    assert app_run(dataset, out, "group", weights).exit_code == 0
    return out


def app_run(dataset, out, level, weights, *more):
    words = ["bids", str(dataset), str(out), level, "--weights", weights, "--runtime", "torch"]
    return run(app, [*words, *more])


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_every_scan_has_its_maps_and_every_subject_a_page(derivative):
    maps = {p.name for p in derivative.rglob("*_desc-anomaly_*.nii.gz")}
    assert maps == {
        "sub-01_desc-anomaly_T2w.nii.gz",
        "sub-01_desc-anomaly_FLAIR.nii.gz",
        "sub-02_ses-a_desc-anomaly_T2w.nii.gz",
        "sub-02_ses-b_desc-anomaly_T2w.nii.gz",
    }
    for label, count in (("01", 2), ("02", 2)):
        page = (derivative / f"sub-{label}.html").read_text()
        links = set(re.findall(r'href="([^"]+)"', page))
        assert len(links) == count
        assert all((derivative / link).is_file() for link in links)


def test_group_tables(derivative):
    people = rows(derivative / "participants.tsv")
    assert [row["participant_id"] for row in people] == ["sub-01", "sub-02"]
    assert [row["age"] for row in people] == ["31", "n/a"]
    assert people[1]["score_FLAIR"] == "n/a"
    scores = rows(derivative / "scores.tsv")
    assert len(scores) == 4
    values = [float(row["score"]) for row in scores]
    assert values == sorted(values, reverse=True)
    best = max(float(row["score"]) for row in scores if row["scan"].startswith("sub-02"))
    assert float(people[1]["score_T2w"]) == best
    assert {row["z"] for row in scores} == {"n/a"}
    page = (derivative / "index.html").read_text()
    assert page.count("<img") == 4
    assert "among healthy" not in page
    assert "not-screened" not in page


def test_the_official_validator_has_no_complaint(derivative):
    if shutil.which("bids-validator-deno") is None:
        pytest.skip("needs bids-validator-deno")
    done = subprocess.run(
        ["bids-validator-deno", "--json", str(derivative)],
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    issues = json.loads(done.stdout)["issues"]["issues"]
    errors = [(i["code"], i.get("location")) for i in issues if i.get("severity") == "error"]
    assert errors == []


@pytest.mark.usefixtures("in_this_process")
def test_labels_select(dataset, derivative, weights, tmp_path):
    out = tmp_path / "out"
    done = app_run(
        dataset, out, "participant", weights,
        "--participant-label", "sub-01", "02", "--suffix", "T2w", "--session_label", "b",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert [p.name for p in out.rglob("*_T2w.json") if "anomaly" in p.name] == [
        "sub-02_ses-b_desc-anomaly_T2w.json"
    ]
    group = app_run(dataset, out, "group", weights)
    assert "1 scan with a result, 3 without" in group.stdout
    assert (out / "index.html").read_text().count("not-screened") == 3


def test_a_second_run_keeps_and_a_bad_scan_is_listed(dataset, weights, tmp_path):
    root, out = tmp_path / "ds", tmp_path / "ds" / "derivatives" / "dal_fast"
    shutil.copytree(dataset, root)
    (root / "sub-01" / "anat" / "sub-01_T2w.nii.gz").write_bytes(b"poison")
    done = app_run(root, out, "participant", weights, "--workers", "2")
    assert done.exit_code == 1
    assert "3 screened, 0 already there, 1 failed" in done.stdout
    (failure,) = rows(out / "failures.tsv")
    assert failure["scan"] == "sub-01/anat/sub-01_T2w.nii.gz"
    assert failure["code"] == "not-gzip"
    assert "not-gzip" in (out / "sub-01.html").read_text()
    with without_workers():
        again = app_run(root, out, "participant", weights)
    assert "0 screened, 3 already there, 1 failed" in again.stdout
    assert app_run(root, out, "group", weights).exit_code == 0
    assert "not-gzip" in (out / "index.html").read_text()


@pytest.mark.usefixtures("in_this_process")
def test_a_run_of_some_keeps_the_failures_of_others(dataset, weights, tmp_path):
    root, out = tmp_path / "ds", tmp_path / "out"
    shutil.copytree(dataset, root)
    bad = [
        root / "sub-01/anat/sub-01_T2w.nii.gz",
        root / "sub-02/ses-a/anat/sub-02_ses-a_T2w.nii.gz",
    ]
    good = [path.read_bytes() for path in bad]
    for path in bad:
        path.write_bytes(b"poison")
    names = [str(path.relative_to(root)) for path in bad]

    def failed(*more):
        done = app_run(root, out, "participant", weights, *more)
        return done.exit_code, [row["scan"] for row in rows(out / "failures.tsv")]

    assert failed() == (1, names)
    assert failed("--participant-label", "01") == (1, names)
    assert failed("--participant-label", "01", "--suffix", "FLAIR") == (0, names)
    assert "not-gzip" in (out / "sub-01.html").read_text()
    bad[0].write_bytes(good[0])
    assert failed("--participant-label", "01") == (0, names[1:])
    assert "not-gzip" not in (out / "sub-01.html").read_text()
    assert failed("--participant-label", "02") == (1, names[1:])
    bad[1].write_bytes(good[1])
    assert failed() == (0, [])


def test_runs_at_once_lose_no_row(tmp_path):
    table = tmp_path / "failures.tsv"

    def run_one(number):
        for _ in range(5):
            update_failures(table, [(f"sub-{number:02}", "not-gzip", "bad")], [f"sub-{number:02}"])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(run_one, range(16)))
    assert [name for name, _, _ in read_failures(table)] == [f"sub-{n:02}" for n in range(16)]
    assert [path.name for path in tmp_path.iterdir()] == ["failures.tsv"]


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (["--participant-label", "99"], "label-unknown"),
        (["--suffix", "T1w"], "label-unknown"),
        (["--num-parts", "2", "--part-id", "2"], "value"),
        (["--weights", "nowhere"], "weights-missing"),
        (["--patience", "0"], "value"),
        (["--healthy", "all"], "value"),
    ],
)
def test_refusals(dataset, weights, tmp_path, more, code):
    done = app_run(dataset, tmp_path / "o", "participant", weights, *more)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error [{code}]: ")
    assert not (tmp_path / "o").exists()


def test_refusals_of_the_group_level(dataset, derivative, weights, tmp_path):
    for out, more, code in (
        (tmp_path, [], "no-results"),
        (derivative, ["--healthy", "sex=F"], "healthy-rule"),
        (derivative, ["--suffix", "T2w"], "value"),
        (derivative, ["--participant-label", "01"], "value"),
        (derivative, ["--num-parts", "2"], "value"),
        (derivative, ["--healthy", "group=martian"], "healthy-rule"),
    ):
        done = app_run(dataset, out, "group", weights, *more)
        assert done.exit_code == 2
        assert done.stderr.startswith(f"error [{code}]: ")
    assert "participants.tsv has " in done.stderr
    (tmp_path / "ds").mkdir()
    done = app_run(tmp_path / "ds", tmp_path / "o", "group", weights)
    assert "error [no-scans]" in done.stderr


def test_results_in_the_dataset_itself_are_refused(dataset, weights, tmp_path):
    root = tmp_path / "ds"
    shutil.copytree(dataset, root)
    before = sorted(root.rglob("*"))
    done = app_run(root, root, "participant", weights)
    assert done.exit_code == 2
    assert done.stderr.startswith("error [no-scans]: all scans of ")
    assert sorted(root.rglob("*")) == before


@pytest.mark.usefixtures("in_this_process")
def test_scores_of_different_settings_are_not_put_in_order(dataset, derivative, weights, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(derivative, out)
    label = ["--participant-label", "01", "--suffix", "T2w"]
    for more in (["--score", "absolute"], ["--median", "5"]):
        assert app_run(dataset, out, "participant", weights, *label, *more).exit_code == 0
        before = (out / "scores.tsv").read_bytes()
        done = app_run(dataset, out, "group", weights)
        assert done.exit_code == 2
        assert done.stderr.startswith("error [mixed-settings]: the T2w results were made with ")
        assert f"{more[0].removeprefix('--')} " in done.stderr
        assert "as those of sub-01/anat/sub-01_T2w" in done.stderr
        assert (out / "scores.tsv").read_bytes() == before
    # another contrast may have settings of its own
    for suffix in ("T2w", "FLAIR"):
        more = ["--suffix", suffix, "--score", "absolute"]
        assert app_run(dataset, out, "participant", weights, *more).exit_code == 0
        done = app_run(dataset, out, "group", weights)
        assert done.exit_code == 0, done.output


def test_results_of_scans_that_are_gone_are_in_no_table(dataset, derivative, weights, tmp_path):
    root, out = tmp_path / "ds", tmp_path / "out"
    shutil.copytree(dataset, root)
    shutil.copytree(derivative, out)
    shutil.rmtree(root / "sub-01")
    done = app_run(root, out, "group", weights)
    assert done.exit_code == 0, done.output
    assert "2 scans with a result, 0 without" in done.stdout
    assert "not counted: 2 results of scans that " in done.stdout
    assert {row["participant_id"] for row in rows(out / "participants.tsv")} == {"sub-02"}
    assert {row["participant_id"] for row in rows(out / "scores.tsv")} == {"sub-02"}
    assert "sub-01" not in (out / "index.html").read_text()
    (root / "sub-02").rename(root / "sub-03")
    for scan in root.rglob("sub-02*.nii.gz"):
        scan.rename(scan.with_name(scan.name.replace("sub-02", "sub-03")))
    done = app_run(root, out, "group", weights)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error [no-results]: {out} holds no results of scans of ")


def test_a_table_of_participants_that_is_not_utf8_is_refused_before_the_work(
    derivative, dataset, weights, tmp_path
):
    root, out = tmp_path / "ds", tmp_path / "out"
    shutil.copytree(dataset, root)
    shutil.copytree(derivative, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    for encoding, text in (
        ("latin-1", "participant_id\tcity\nsub-01\tZürich\nsub-02\tBern\n"),
        ("cp1252", "participant_id\tcity\nsub-01\t“Köln”\nsub-02\tBern\n"),
        ("shift-jis", "participant_id\tcity\nsub-01\t東京\nsub-02\t大阪\n"),
    ):
        (root / "participants.tsv").write_bytes(text.encode(encoding))
        done = app_run(root, out, "group", weights, "--healthy", "city=Bern")
        assert done.exit_code == 2
        assert done.stderr.startswith("error [participants-table]: ")
        assert done.stderr.count("\n") == 1
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_a_comparison_with_too_few_healthy_ones_is_told(dataset, derivative, weights):
    done = app_run(dataset, derivative, "group", weights, "--healthy", "all")
    assert done.exit_code == 0, done.output
    assert f"0 of 4 were compared with healthy ones; that takes {FEWEST} other" in done.stdout
    assert app_run(dataset, derivative, "group", weights).exit_code == 0


def content(out):
    """Every file's bytes; of sidecars, all but the seconds."""
    found = {}
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        data = path.read_bytes()
        if path.name.endswith(".json") and "desc-anomaly" in path.name:
            facts = json.loads(data)
            assert facts.pop("Seconds")
            data = json.dumps(facts).encode()
        found[path.relative_to(out).as_posix()] = data
    return found


def test_a_killed_run_goes_on_where_it_was(weights, tmp_path):
    root = tmp_path / "ds"
    for n in range(8):
        (root / f"sub-{n}" / "anat").mkdir(parents=True)
        data, affine, _ = phantom("RAS", seed=n)
        save(root / f"sub-{n}" / "anat" / f"sub-{n}_T2w.nii.gz", data, affine)
    about = {"Name": "phantoms", "BIDSVersion": "1.10.0"}
    (root / "dataset_description.json").write_text(json.dumps(about))
    assert app_run(root, tmp_path / "whole", "participant", weights).exit_code == 0
    out = tmp_path / "killed"
    words = ["bids", str(root), str(out), "participant", "--weights", weights, "--runtime", "torch"]
    process = subprocess.Popen([sys.executable, "-m", "dal_fast.cli", *words])
    deadline = time.monotonic() + 120
    finished = "sub-*/anat/*_desc-anomaly_*.json"  # none of a hidden folder, which may go meanwhile
    while not list(out.glob(finished)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    before = len(list(out.glob(finished)))
    assert before < 8
    again = app_run(root, out, "participant", weights)
    done, kept = map(int, re.match(r"(\d+) screened, (\d+) already there", again.stdout).groups())
    assert kept >= before  # a worker may have ended one more
    assert done + kept == 8
    assert done > 0
    assert content(out) == content(tmp_path / "whole")


@pytest.mark.usefixtures("in_this_process")
def test_maps_among_the_healthy(weights, tmp_path):
    """Six alike and one with a lesion: it stands out where the lesion is, and nobody else does."""
    root, out = tmp_path / "ds", tmp_path / "out"
    for n in range(FEWEST + 2):
        (root / f"sub-{n}" / "anat").mkdir(parents=True)
        data, affine, centre = phantom("LPS" if n % 2 else "RAS", seed=n, lesion=n == 0)
        save(root / f"sub-{n}" / "anat" / f"sub-{n}_T2w.nii.gz", data, affine)
    about = {"Name": "phantoms", "BIDSVersion": "1.10.0"}
    (root / "dataset_description.json").write_text(json.dumps(about))
    assert app_run(root, out, "participant", weights, "--score", "absolute").exit_code == 0
    done = app_run(root, out, "group", weights, "--healthy", "all")
    assert done.exit_code == 0, done.output
    peaks = []
    for n in range(FEWEST + 2):
        image = nib.load(out / f"sub-{n}" / "anat" / f"sub-{n}_desc-anomalyZ_T2w.nii.gz")
        scan = nib.load(root / f"sub-{n}" / "anat" / f"sub-{n}_T2w.nii.gz")
        assert image.shape == scan.shape
        assert np.allclose(image.affine, scan.affine)
        z = image.get_fdata()
        assert (z[scan.get_fdata() == 0] == 0).all()
        place = np.array(np.unravel_index(z.argmax(), z.shape))
        peaks.append((z.max(), image.affine[:3, :3] @ place + image.affine[:3, 3]))
        percentile = image.from_filename(
            str(out / f"sub-{n}" / "anat" / f"sub-{n}_desc-anomalyPercentile_T2w.nii.gz")
        ).get_fdata()
        assert percentile.min() >= 0
        assert percentile.max() <= 100
    assert peaks[0][0] > 1.5 * max(z for z, _ in peaks[1:])
    data, affine, centre = phantom("RAS", seed=0, lesion=True)
    assert np.linalg.norm(peaks[0][1] - centre) < 15
    page = (out / "index.html").read_text()
    assert page.count("among healthy") == 1
    assert len(rows(out / "scores.tsv")) == FEWEST + 2
    again = app_run(root, out, "participant", weights, "--score", "absolute")
    assert f"0 screened, {FEWEST + 2} already there" in again.stdout


@pytest.mark.usefixtures("in_this_process")
def test_nonfinite_voxels_are_refused_or_replaced_as_the_refusal_says(tmp_path, weights):
    dataset, out = tmp_path / "ds", tmp_path / "out"
    (dataset / "sub-01/anat").mkdir(parents=True)
    (dataset / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    data, affine, _ = phantom("LAS", (4.0, 4.0, 4.0))
    save(dataset / "sub-01/anat/sub-01_T1w.nii.gz", np.where(data > 0, data, np.nan), affine)
    refused = app_run(dataset, out, "participant", weights)
    assert refused.exit_code == 1
    assert "--nonfinite replace" in (out / "failures.tsv").read_text("utf-8")
    assert app_run(dataset, out, "participant", weights, "--nonfinite", "replace").exit_code == 0
    assert (out / "sub-01/anat/sub-01_desc-anomaly_T1w.nii.gz").is_file()
