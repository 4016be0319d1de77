"""The command line: exit statuses, messages, folders, resuming, and that refusals leave nothing."""

import json
import os
import platform
import re
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pytest
from imaging.bad_inputs import BAD_INPUTS
from phantom import phantom, save
from tiny import needs_default_weights, tiny_weights
from typer.testing import CliRunner
from without_workers import without_workers

import dal_fast
from dal_fast.batch import outputs
from dal_fast.cli import app

run = CliRunner().invoke


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return str(tiny_weights(tmp_path_factory.mktemp("weights")))


@pytest.fixture
def scan(tmp_path):
    data, affine, _ = phantom("LAS")
    return save(tmp_path / "sub-01_T2w.nii.gz", data, affine)


def command(*words, **options):
    return subprocess.run(
        [sys.executable, "-m", "dal_fast.cli", *map(str, words)],
        capture_output=True, text=True, timeout=120, check=False, **options,
    )  # fmt: skip


def test_version_and_help():
    assert run(app, ["--version"]).output == f"dal_fast {dal_fast.__version__}\n"
    assert "Not a medical device" in run(app, ["--help"]).output
    page = re.sub(r"\x1b\[[0-9;]*m", "", run(app, ["screen", "--help"]).output)
    for word in ("--mask", "--weights", "--score", "--device", "--runtime", "--nonfinite", "bids/"):
        assert word in page


def test_the_package_runs_as_a_module():
    words = [sys.executable, "-m", "dal_fast", "--version"]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    assert ran.stdout == f"dal_fast {dal_fast.__version__}\n"


def test_paragraphs_of_help_are_broken_by_the_terminal_alone():
    broken = [
        command.callback.__name__
        for command in app.registered_commands
        if not command.help or any("\n" in text for text in command.help.split("\n\n"))
    ]
    assert broken == []


def test_wrong_usage_is_status_2():
    assert run(app, ["screen"]).exit_code == 2
    assert run(app, ["screen", "a", "b", "--colour", "red"]).exit_code == 2
    assert run(app, ["screen", "a", "b", "--nonfinite", "perhaps"]).exit_code == 2


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_bad_input_is_one_line_and_nothing_is_written(tmp_path, name):
    build, code = BAD_INPUTS[name]
    source = build(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    start = time.process_time()  # a busy machine is no fault of the refusal
    # with another runtime a thread opens the chain meanwhile: see the refusals in own processes
    result = run(app, ["screen", str(source), str(tmp_path / "out"), "--runtime", "torch"])
    assert time.process_time() - start < 5
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error [{code}]: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["missing file", "truncated gzip", "several frames"])
def test_refusal_does_not_wait_for_torch(tmp_path, name):
    build, code = BAD_INPUTS[name]
    source = build(tmp_path)
    probe = (
        "import sys; from dal_fast.cli import app\n"
        f"try: app(['screen', {str(source)!r}, {str(tmp_path / 'out')!r}])\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout == "2 False\n"
    assert done.stderr.startswith(f"error [{code}]: ")
    assert "Traceback" not in done.stderr


def test_one_scan(tmp_path, scan, weights):
    out = tmp_path / "out"
    first = command("screen", scan, out, "--weights", weights)
    assert first.returncode == 0, first.stderr
    assert first.stderr == ""
    assert "sub-01_T2w: score" in first.stdout
    names = outputs.output_names(scan)
    assert {p.name for p in out.iterdir()} == set(names.values())
    assert nib.load(out / names["anomaly"]).shape == nib.load(scan).shape
    sidecar = out / names["sidecar"]
    stamp = sidecar.stat().st_mtime_ns
    arguments = ["screen", str(scan), str(out), "--weights", weights]
    again = run(app, arguments)
    assert again.exit_code == 0
    assert "already screened" in again.stdout
    assert sidecar.stat().st_mtime_ns == stamp
    assert run(app, [*arguments, "--median", "0"]).exit_code == 0  # other settings: computed again
    assert json.loads(sidecar.read_text())["Parameters"]["median"] == 0
    stamp = sidecar.stat().st_mtime_ns
    assert run(app, [*arguments, "--median", "0", "--overwrite"]).exit_code == 0
    assert sidecar.stat().st_mtime_ns > stamp


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--runtime", "abacus"], "runtime-unavailable"),
        (["--device", "toaster"], "device-unavailable"),
        (["--weights", "nowhere.safetensors"], "weights-missing"),
        (["--score", "nonsense"], "value"),
        (["--median", "4"], "value"),
        (["--threshold", "0"], "value"),
        (["--mask", "nowhere.nii.gz"], "file-missing"),
    ],
)
def test_bad_settings(tmp_path, scan, weights, options, code):
    result = run(app, ["screen", str(scan), str(tmp_path / "o"), "--weights", weights, *options])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error [{code}]: ")
    assert not (tmp_path / "o").exists()


def test_unwritable_output(tmp_path, scan, weights):
    (tmp_path / "file").write_text("x")
    result = run(app, ["screen", str(scan), str(tmp_path / "file" / "o"), "--weights", weights])
    assert result.exit_code == 2
    assert result.stderr.startswith("error [output-unwritable]: ")
    assert result.stderr.endswith("; choose another folder\n")


def test_full_disk(tmp_path, scan, weights, monkeypatch):
    """A real limit on the size of files, in a real process; the cache is full, too."""
    resource = pytest.importorskip("resource", reason="needs Unix")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    done = command(
        "screen", scan, tmp_path / "o", "--weights", weights,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error [disk-full]: ")
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("target", "code"),
    [
        pytest.param("onnx", "disk-full", marks=pytest.mark.long),
        ("openvino", "output-unwritable"),
    ],
)
def test_an_export_to_a_full_disk(tmp_path, weights, target, code):
    """OpenVINO does not say why it could not write."""
    resource = pytest.importorskip("resource", reason="needs Unix")
    pytest.importorskip({"onnx": "onnxscript"}.get(target, target))
    done = command(
        "export", tmp_path / "o", "--weights", weights, "--to", target,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)),
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith(f"error [{code}]: ")
    assert not (tmp_path / "o").exists()


def folder_of_scans(root):
    for n, axes in (("01", "RAS"), ("02", "LPS")):
        data, affine, _ = phantom(axes, seed=int(n))
        (root / f"sub-{n}" / "anat").mkdir(parents=True)
        save(root / f"sub-{n}" / "anat" / f"sub-{n}_T2w.nii.gz", data, affine)
    return root


def test_folder_with_a_bad_scan_goes_on(tmp_path, weights):
    root, out = folder_of_scans(tmp_path / "study"), tmp_path / "out"
    (root / "sub-00_T1w.nii.gz").write_bytes(b"not a scan")
    arguments = ["screen", str(root), str(out), "--weights", weights, "--runtime", "torch"]
    result = run(app, arguments)
    assert result.exit_code == 1
    assert "2 screened, 0 already there, 1 failed" in result.stdout
    assert "failed [not-gzip]" in result.stderr
    failures = (out / "failures.tsv").read_text().splitlines()
    assert failures[0] == "scan\tcode\tmessage"
    assert failures[1].startswith("sub-00_T1w.nii.gz\tnot-gzip\t")
    assert len(failures) == 2
    scores = [line.split("\t") for line in (out / "scores.tsv").read_text().splitlines()]
    assert scores[0][:4] == ["scan", "score", "volume_ml", "flags"]
    assert scores[0][4:] == ["mask_from", "brain_ml", "mask_confidence"]
    assert {(row[4], row[6]) for row in scores[1:]} == {("nonzero", "n/a")}
    assert {row[0] for row in scores[1:]} == {f"sub-{n}/anat/sub-{n}_T2w" for n in ("01", "02")}
    assert float(scores[1][1]) >= float(scores[2][1])
    page = (out / "index.html").read_text()
    for link in re.findall(r'(?:href|src)="([^"]+)"', page):
        assert (out / link).is_file()
    about = json.loads((out / "dataset_description.json").read_text())
    assert about["GeneratedBy"][0]["Name"] == "dal_fast"

    # the second run keeps what is complete; the bad scan is repaired and the study is done
    (root / "sub-00_T1w.nii.gz").unlink()
    data, affine, _ = phantom("PSR", seed=5)
    save(root / "sub-00_T1w.nii.gz", data, affine)
    with without_workers():
        again = run(app, arguments)
    assert again.exit_code == 0
    assert "1 screened, 2 already there, 0 failed" in again.stdout
    assert len((out / "failures.tsv").read_text().splitlines()) == 1


@pytest.mark.usefixtures("in_this_process")
def test_folder_inside_the_study_is_not_screened_again(tmp_path, weights):
    root = folder_of_scans(tmp_path / "study")
    out = root / "maps"
    arguments = ["screen", str(root), str(out), "--weights", weights, "--runtime", "torch"]
    assert "2 screened" in run(app, arguments).stdout
    assert "0 screened, 2 already there, 0 failed" in run(app, arguments).stdout


def test_mask_belongs_to_one_scan(tmp_path, weights):
    root = folder_of_scans(tmp_path / "study")
    result = run(app, ["screen", str(root), str(tmp_path / "o"), "--mask", "m.nii.gz"])
    assert result.exit_code == 2
    assert "mask-for-folder" in result.stderr


@needs_default_weights
def test_doctor_names_what_matters():
    result = run(app, ["doctor"])
    for word in ("dal_fast", "torch", "instruction set", "cuda", "weights", "sha256"):
        assert word in result.stdout
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("variable", "code"), [("DAL_FAST_BACKEND", "value"), ("DAL_FAST_CPU", "instruction-set")]
)
def test_doctor_refuses_a_variable_that_means_nothing(variable, code):
    result = command("doctor", env={**os.environ, variable: "nonsense"})
    assert result.returncode == 2
    assert result.stderr.startswith(f"error [{code}]: {variable}=nonsense: ")
    assert len(result.stderr.splitlines()) == 1


def test_help_of_the_demo_names_the_extra():
    assert "dal_fast[demo]" in run(app, ["demo", "--help"]).stdout


@needs_default_weights
def test_demo_finds_what_was_painted(tmp_path):
    pytest.importorskip("nilearn", reason="the demo's template comes with nilearn")
    done = command("demo", tmp_path / "demo")
    assert done.returncode == 0, done.stderr
    from dal_fast.demo import LESION_CENTRE

    sidecar = json.loads((tmp_path / "demo" / "sub-demo_desc-anomaly_T1w.json").read_text())
    nearest = min(
        np.linalg.norm(np.subtract(region["centre"], LESION_CENTRE))
        for region in sidecar["Regions"][:3]
    )
    assert nearest < 12


def test_demo_without_nilearn_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nilearn.datasets", None)
    result = run(app, ["demo", str(tmp_path / "demo")])
    assert result.exit_code == 2
    assert result.stderr.startswith("error [extra-missing]: ")
    assert "pip install" in result.stderr
    assert not (tmp_path / "demo").exists()


HOLES = """
import sys
import numpy as np
from dal_fast.memory import return_freed_volumes
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
if sys.argv[1] == "return":
    return_freed_volumes()
kept = []
np.ones(30 << 20, np.uint8)
before = resident()
for size in range(5, 15):  # none fits where the one before was
    volume = np.ones(size << 20, np.uint8)
    kept.append(bytearray(2000))
    del volume
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
def test_freed_volumes_leave_no_holes():
    def growth(how):
        call = [sys.executable, "-c", HOLES, how]
        return int(subprocess.run(call, check=True, capture_output=True, text=True).stdout)

    assert growth("return") < 4 << 20 < growth("leave")


FAULTS = """
import resource, sys
import numpy as np
from dal_fast.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
for step in range(12):
    if step == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(40 << 20, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
def test_freed_memory_is_kept_for_the_next_volume():
    def faults(how):
        call = [sys.executable, "-c", FAULTS, how]
        return int(subprocess.run(call, capture_output=True, check=True).stdout)

    assert faults("keep") < faults("usual") / 4
