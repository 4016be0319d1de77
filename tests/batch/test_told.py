"""What commands for many scans say of flags, of a full disk, and of an OUT that is no folder."""

import re
from types import SimpleNamespace

import pytest
from heads import head
from phantom import phantom, save
from test_cli import command
from typer.testing import CliRunner

from dal_fast.batch.job import Outcome
from dal_fast.batch.tables import Tally, tally_of
from dal_fast.cli import app
from dal_fast.cli.console import say_score
from dal_fast.cli.pool import say_doubts, told_if_full
from dal_fast.errors import Code, OutputError

run = CliRunner().invoke


def scans(root, count):
    for n in range(count):
        data, affine, _ = phantom("RAS", (4.0, 4.0, 4.0), seed=n)
        folder = root / f"sub-{n}" / "anat"
        folder.mkdir(parents=True)
        save(folder / f"sub-{n}_T2w.nii.gz", data, affine)
    return root


def test_flags_are_counted(capsys):
    flags = [(), ("anisotropic",), ("brain-mask-uncertain", "brain-mask-shape"), ()]
    failures = [("a", Code.NONFINITE, ""), ("b", Code.LEFT_OUT, "")]
    assert tally_of(failures, flags) == Tally(failed=1, flagged=2, doubtful=1)
    say_doubts(Tally(0, 1, 1), "out/index.html")
    say_doubts(Tally(0, 2, 0), "out/index.html")
    say_doubts(Tally(0, 0, 0), "out/index.html")
    assert capsys.readouterr().out.splitlines() == [
        "1 scan with quality flags, 1 with a doubtful brain mask: see out/index.html",
        "2 scans with quality flags: see out/index.html",
    ]


@pytest.mark.usefixtures("in_this_process")
def test_a_run_of_many_says_how_many_have_flags(tmp_path, weights):
    """A brain in voxels of 4 mm is flagged as coarse; strip, screen and bids say so."""
    source, words = scans(tmp_path / "ds", 2), ["--runtime", "torch"]
    (source / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    a, b, c = (tmp_path / name for name in "abc")
    weights = ["--weights", str(weights), *words]
    screened = run(app, ["screen", str(source), str(a), *weights]).stdout
    assert told(2, a / "index.html", screened), screened
    stripped = run(app, ["strip", str(source), str(b), *words]).stdout
    assert told(2, b / "brains.html", stripped), stripped
    call = ["bids", str(source), str(c), "participant", *weights]
    done = run(app, call)
    assert done.exit_code == 0, (done.output, done.exception)
    of_all = done.stdout
    assert told(2, c / "sub-*.html", of_all), of_all
    of_one = run(app, [*call, "--participant-label", "0"]).stdout
    assert told(1, c / "sub-*.html", of_one), of_one


def told(count, page, output):
    noun = "scan" if count == 1 else "scans"
    line = rf"^{count} {noun} with quality flags(, \d with a doubtful brain mask)?: see "
    return re.search(line + re.escape(str(page)), output, re.MULTILINE)


@pytest.mark.parametrize(("known", "line"), [("intensities", True), ("file name", False)])
def test_a_guessed_contrast_is_told(capsys, known, line):
    parameters = {"sign": "dark", "contrast": "T1w", "contrast_from": known}
    result = SimpleNamespace(
        regions=[None], score=0.5, volume_ml=1.0, brain={}, parameters=parameters
    )
    say_score("scan", result)
    out = capsys.readouterr().out
    assert "in 1 region (sign" in out
    assert ("contrast guessed: T1w" in out) == line


def test_a_full_disk_ends_a_run_of_many(tmp_path, weights):
    """A real limit on the size of files, in real processes: tables fit, maps do not."""
    resource = pytest.importorskip("resource", reason="needs Unix")
    source = scans(tmp_path / "study", 6)
    done = command(
        "screen", source, tmp_path / "out", "--weights", weights, "--runtime", "torch",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, 8_000)),
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "0 screened, 0 already there, 6 failed" in done.stdout
    assert done.stderr.count("failed [disk-full]") == 1
    assert "; free space or choose another folder" in done.stderr
    assert "the disk is full: 5 scans not tried" in done.stderr


def test_tables_that_do_not_fit_either_are_no_other_failure(tmp_path, capsys):
    full = Outcome(tmp_path / "a.nii.gz", tmp_path, "failed", Code.DISK_FULL, "full")
    with told_if_full([full]):
        raise OutputError(Code.DISK_FULL, "scores.tsv cannot be written")
    assert "tables were not written [disk-full]: scores.tsv" in capsys.readouterr().err
    for outcomes, code in (([], Code.DISK_FULL), ([full], Code.OUTPUT_UNWRITABLE)):
        with pytest.raises(OutputError), told_if_full(outcomes):
            raise OutputError(code, "")


@pytest.mark.parametrize("name", ["screen", "strip", "bids"])
@pytest.mark.parametrize("source", ["scan.nii.gz", "none", "."])
def test_an_out_that_is_a_file_is_told_before_anything_else(tmp_path, name, source):
    data, affine, _ = head((4.0, 4.0, 4.0))
    out = save(tmp_path / "scan.nii.gz", data, affine)
    words = [name, str(tmp_path / source), str(out), *["participant"] * (name == "bids")]
    refused = run(app, words)
    assert refused.exit_code == 2
    assert refused.stderr.startswith(f"error [not-a-folder]: OUT, {out}, is a file")


@pytest.mark.parametrize("name", ["screen", "strip"])
@pytest.mark.parametrize("patience", ["0", "-5", "nan"])
def test_no_patience_is_refused_for_one_scan_as_for_a_folder(tmp_path, name, patience):
    data, affine, _ = head((4.0, 4.0, 4.0))
    save(tmp_path / "scan.nii.gz", data, affine)
    for source in (tmp_path, tmp_path / "scan.nii.gz"):
        refused = run(app, [name, str(source), str(tmp_path / "o"), f"--patience={patience}"])
        assert refused.exit_code == 2
        assert refused.stderr.startswith("error [value]: the patience must be positive")
