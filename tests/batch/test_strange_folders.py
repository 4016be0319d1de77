"""Folders as people have them: links, names of any kind, two versions of a scan, two runs at once.

Nothing is left out unsaid, and nothing costs the tables of the other scans.
"""

import csv
import html
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote_to_bytes

import nibabel as nib
import numpy as np
import pytest
from phantom import phantom, save
from tiny import tiny_weights
from typer.testing import CliRunner
from without_workers import without_workers

from dal_fast.batch.job import Job, Stages
from dal_fast.cli import app
from dal_fast.imaging.bids import find_scans
from dal_fast.screening.screener import Screener

LATIN = os.fsdecode(b"caf\xe9.nii.gz")
ODD_NAMES = (
    LATIN,
    "Zürich.nii.gz",
    "tab\tand\nline.nii.gz",
    "-dash.nii.gz",
    "a & <b> 'c\"#?.nii.gz",
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return str(tiny_weights(tmp_path_factory.mktemp("weights")))


@pytest.fixture(scope="module")
def scan_file(tmp_path_factory):
    """A small stripped brain."""
    data, affine, _ = phantom("LAS", (4.0, 4.0, 4.0))
    return save(tmp_path_factory.mktemp("scan") / "scan.nii.gz", data, affine)


def put(scan_file, path):
    """The scan under another name, compressed or not as the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.lower().endswith(".gz"):
        shutil.copy(scan_file, path)
    else:
        path.write_bytes(nib.load(scan_file).to_bytes())
    return path


def command(*words, **options):
    return subprocess.run(
        [sys.executable, "-m", "dal_fast.cli", *map(str, words)],
        capture_output=True, timeout=200, check=False, **options,
    )  # fmt: skip


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def strange_study(root, scan_file):
    """Every kind of file, link and name; the codes of those that fail or are left out."""
    study = root / "study"
    put(scan_file, study / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    put(scan_file, root / "store" / "anat" / "sub-02_T1w.nii.gz")
    (study / "sub-02").symlink_to(root / "store")
    (study / "sub-01" / "back").symlink_to(study)
    (study / "sub-03").symlink_to(root / "gone")
    key = put(scan_file, study / ".git" / "annex" / "objects" / "x" / "MD5E-s1--0.nii.gz")
    annexed = study / "sub-04" / "anat" / "sub-04_T1w.nii.gz"
    annexed.parent.mkdir(parents=True)
    annexed.symlink_to(os.path.relpath(key, annexed.parent))
    image = nib.load(scan_file)
    mask = study / "derivatives" / "strip" / "sub-04" / "anat" / "sub-04_desc-brain_mask.nii.gz"
    mask.parent.mkdir(parents=True)
    save(mask, (image.get_fdata() > 0).astype(np.uint8), image.affine)
    (annexed.parent / "sub-04_T2w.nii.gz").symlink_to("../../.git/annex/objects/y/not-here.nii.gz")
    for name in ("case.nii", "case.nii.gz", "UPPER.NII.GZ", "sub-05_T1.nii.gz", *ODD_NAMES):
        put(scan_file, study / name)
    put(scan_file, study / ("x" * 240 + ".nii"))
    (study / "empty.nii.gz").write_bytes(b"")
    return study, annexed, mask, {
        "sub-01/back": "left-out",
        "sub-03": "file-missing",
        "sub-04/anat/sub-04_T2w.nii.gz": "file-missing",
        "case.nii.gz": "left-out",
        "sub-05_T1.nii.gz": "left-out",
        "x" * 240 + ".nii": "output-unwritable",
        "empty.nii.gz": "empty-file",
    }  # fmt: skip


def test_nothing_is_left_out_unsaid_and_every_table_is_written(tmp_path, scan_file, weights):
    study, annexed, mask, want = strange_study(tmp_path, scan_file)
    out = tmp_path / "out"
    words = ("screen", study, out, "--weights", weights, "--runtime", "torch", "--workers", "2")
    done = command(*words)
    assert done.returncode == 1, done.stderr
    stdout, stderr = done.stdout.decode("utf-8"), done.stderr.decode("utf-8")
    screened = 5 + len(ODD_NAMES)
    assert f"{screened} screened, 0 already there, 4 failed, 3 left out in" in stdout
    found = {row["scan"]: row["code"] for row in rows(out / "failures.tsv")}
    assert found == want
    for name, code in want.items():
        kind = "left out: " if code == "left-out" else f"failed [{code}]: "
        assert f"{name}: {kind}" in stderr
    missing = {row["scan"]: row["message"] for row in rows(out / "failures.tsv")}
    assert "datalad get" in missing["sub-04/anat/sub-04_T2w.nii.gz"]
    assert "case.nii" in missing["case.nii.gz"]
    scores = {row["scan"] for row in rows(out / "scores.tsv")}
    assert len(scores) == screened
    assert {"case", "UPPER", "caf\\xe9", "Zürich", "tab\\tand\\nline", "-dash"} <= scores
    page = (out / "index.html").read_text(encoding="utf-8")
    links = re.findall(r'(?:href|src)="([^"]+)"', page)
    assert len(links) == 3 * screened
    for link in links:
        assert os.path.isfile(os.path.join(os.fsencode(out), unquote_to_bytes(html.unescape(link))))
    facts = json.loads((out / "sub-04" / "anat" / "sub-04_desc-anomaly_T1w.json").read_text())
    assert (facts["Source"]["path"], facts["Source"]["mask"]) == (str(annexed), str(mask))
    assert (out / "sub-02" / "anat" / "sub-02_desc-anomaly_T1w.nii.gz").is_file()
    latin = (out / LATIN.replace(".nii.gz", "_desc-anomaly.json")).read_text(encoding="utf-8")
    assert json.loads(latin)["Source"]["path"] == str(study / LATIN)
    assert not [p for p in out.rglob(".*") if p.name.endswith("tmp")]
    with without_workers():
        again = CliRunner().invoke(app, [*map(str, words)])
    assert f"0 screened, {screened} already there, 4 failed, 3 left out" in again.stdout


@pytest.mark.usefixtures("in_this_process")
def test_the_same_for_a_bids_dataset(tmp_path, scan_file, weights):
    """By participant, by parts, and at the group level."""
    study, _, _, want = strange_study(tmp_path, scan_file)
    (study / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    out = tmp_path / "out"
    words = ["--weights", weights, "--runtime", "torch"]
    runner = CliRunner()
    found = {}
    for part, status in (("0", 1), ("1", 0)):  # sub-01 and sub-04, then sub-02
        call = ["bids", str(study), str(out), "participant", *words]
        done = runner.invoke(app, [*call, "--num-parts", "2", "--part-id", part])
        assert done.exit_code == status, done.output
        table = rows(out / f"failures_part-{part}of2.tsv")
        assert not set(found) & {row["scan"] for row in table}
        found |= {row["scan"]: row["code"] for row in table}
    not_bids = ["case.nii", "UPPER.NII.GZ", "empty.nii.gz", "x" * 240 + ".nii"]
    not_bids += ["caf\\xe9.nii.gz", "tab\\tand\\nline.nii.gz", *ODD_NAMES[1:2], *ODD_NAMES[3:]]
    assert found == want | dict.fromkeys(not_bids, "left-out")
    group = runner.invoke(app, ["bids", str(study), str(out), "group"])
    assert group.exit_code == 0, group.output
    assert "3 scans with a result, 2 without" in group.output
    page = (out / "index.html").read_text(encoding="utf-8")
    assert page.count("<code>left-out</code>") == len(found) - 2
    assert "datalad get" in page


PLAIN_C = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TMPDIR": "/nowhere"}


@pytest.mark.parametrize(
    "changes", [PLAIN_C, {"PYTHONIOENCODING": "ascii"}], ids=["locale C", "ascii"]
)
def test_names_that_the_terminal_cannot_show(tmp_path, scan_file, weights, changes):
    """With a mask for new files that lets nobody else read, and no folder for temporary files."""
    study, out = tmp_path / "study", tmp_path / "out"
    put(scan_file, study / LATIN)
    put(scan_file, study / "Zürich.nii.gz")
    for name in ("bad-Zürich.nii", os.fsdecode(b"bad-caf\xe9.nii")):
        (study / name).write_bytes(b"no scan")
    words = ["screen", study, out, "--weights", weights, "--runtime", "torch"]
    done = subprocess.run(
        ["sh", "-c", 'umask 077 && exec "$@"', "sh", sys.executable, "-m", "dal_fast.cli", *words],
        capture_output=True, env=os.environ | changes, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr.decode()
    assert b"2 screened, 0 already there, 2 failed" in done.stdout
    assert b"Traceback" not in done.stderr
    assert done.stderr.count(b"failed [") == 2
    assert {row["scan"] for row in rows(out / "scores.tsv")} == {"caf\\xe9", "Zürich"}
    assert {p.stat().st_mode & 0o077 for p in out.iterdir()} == {0}


def test_a_working_directory_that_is_gone_is_refused(tmp_path, scan_file):
    """Not even torch can be loaded there."""
    gone = tmp_path / "gone"
    gone.mkdir()
    words = [sys.executable, "-m", "dal_fast.cli", "screen", scan_file, tmp_path / "out"]
    done = subprocess.run(
        ["sh", "-c", 'cd "$1" && rmdir "$1" && shift && exec "$@"', "sh", gone, *words],
        capture_output=True, timeout=100, check=False, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error [file-missing]: the working directory has been removed")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_same_folder_by_two_runs_at_once(tmp_path, scan_file, weights):
    """With stems that begin each other; both end well, and nothing hidden is left."""
    study, out = tmp_path / "study", tmp_path / "out"
    names = ["patient", "patient.followup", "patient.followup.2", "p", "sub-1_T1w", "sub-1_T2w"]
    for name in names:
        put(scan_file, study / f"{name}.nii.gz")
    words = ["screen", study, out, "--weights", weights, "--runtime", "torch", "--workers", "1"]
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "dal_fast.cli", *map(str, words)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    for run in runs:
        stdout, stderr = run.communicate(timeout=250)
        assert run.returncode == 0, stderr
        assert ", 0 failed" in stdout
    assert {row["scan"] for row in rows(out / "scores.tsv")} == set(names)
    assert rows(out / "failures.tsv") == []
    assert len(list(out.glob("*.json"))) == len(names) + 3
    assert not list(out.glob(".*.dal-fast-tmp"))


def test_a_folder_that_cannot_be_read_is_named(tmp_path, scan_file):
    """In a child, as root reads everything."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        put(scan_file, root / "sub-01" / "sub-01_T1w.nii.gz")
        put(scan_file, root / "sub-02" / "sub-02_T1w.nii.gz")
        root.chmod(0o755)
        (root / "sub-02").chmod(0)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                if os.geteuid() == 0:
                    os.setuid(65534)
                found = find_scans(root)
                assert [scan.name for scan in found.scans] == ["sub-01_T1w.nii.gz"]
                (left,) = found.left_out
                assert (left.path, left.code) == (root / "sub-02", "file-unreadable")
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        (root / "sub-02").chmod(0o755)


def test_a_disk_that_fills_costs_the_scans_that_did_not_fit(tmp_path, scan_file, weights):
    small = tmp_path / "disk"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        stages = Stages(Screener(weights, "torch"))
        ends = []
        for n in range(4):
            scan = put(scan_file, tmp_path / f"sub-{n}_T1w.nii.gz")
            job = Job(scan, small / f"sub-{n}")
            ends.append(stages.write(job, stages.compute(job, stages.read(job))))
        codes = [outcome.code or outcome.status for outcome in ends]
        assert codes[0] == "done"
        assert codes[-1] == "disk-full"
        assert set(codes) == {"done", "disk-full"}
        assert {p.name for p in small.iterdir()} == {
            job.folder.name for job, code in zip(ends, codes, strict=True) if code == "done"
        }
    finally:
        subprocess.run(["umount", str(small)], check=True)
