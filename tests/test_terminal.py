"""The terminal's side of a command: streams that are closed, full or not read, and signals."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import nibabel as nib
import pytest
from phantom import phantom, save
from tiny import tiny_weights

SCANS = ("a", "b", "c")


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """``screen STUDY OUT …`` without OUT, for a folder with scans and a file that is none."""
    folder = tmp_path_factory.mktemp("study")
    data, affine, _ = phantom("LAS", (4.0, 4.0, 4.0))
    for name in SCANS:
        save(folder / f"{name}.nii.gz", data, affine)
    (folder / "0-bad.nii.gz").write_bytes(b"no scan")
    weights = tiny_weights(tmp_path_factory.mktemp("weights"))
    return ["screen", str(folder), "--weights", str(weights), "--runtime", "torch"]


def shell(script, *arguments, **options):
    """A script in which ``"$@"`` is the command."""
    call = ["bash", "-c", script, "bash", sys.executable, "-m", "dal_fast.cli"]
    return subprocess.run(
        [*call, *map(str, arguments)],
        capture_output=True, text=True, timeout=200, check=False, **options,
    )  # fmt: skip


@contextmanager
def watched(run):
    """The block has a test's time and no limit of its own, as a busy machine is no fault of the
    run; where it fails, the run and its workers are killed."""
    try:
        yield
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
        run.communicate()
        raise


def is_complete(out):
    scores = (out / "scores.tsv").read_text().splitlines()[1:]
    assert sorted(line.split("\t")[0] for line in scores) == list(SCANS)
    assert "0-bad.nii.gz" in (out / "failures.tsv").read_text()
    assert (out / "index.html").is_file()
    assert not list(out.glob(".*.dal-fast-tmp"))
    return True


@pytest.mark.parametrize(
    "script",
    [
        '"$@" 2>&1 | head -n 0; exit ${PIPESTATUS[0]}',
        '"$@" <&- >&- 2>&-',
        'exec "$@" 2>/dev/full',
    ],
    ids=["a reader that goes away", "no streams at all", "a log on a full disk"],
)
def test_nobody_reads_along_and_the_tables_are_written(tmp_path, words, script):
    done = shell(script, *words, tmp_path / "out")
    assert done.returncode == 1, done.stderr  # for the file that is no scan
    assert "Traceback" not in done.stderr
    assert is_complete(tmp_path / "out")


def test_output_on_a_full_disk_is_one_line_and_costs_no_table(tmp_path, words):
    out = tmp_path / "out"
    done = shell('exec "$@" >/dev/full', *words, out)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error [disk-full]: standard output cannot be")
    assert "Traceback" not in done.stderr
    assert is_complete(out)


def test_status_tells_that_the_answer_was_lost():
    done = shell('exec "$@" >/dev/full', "--version")
    assert done.returncode == 2
    assert done.stderr.startswith("error [disk-full]: standard output cannot be written")
    assert done.stderr.count("\n") == 1
    read = shell('"$@" | head -n 1; exit ${PIPESTATUS[0]}', "--help")
    assert (read.returncode, read.stderr) == (0, "")


@pytest.mark.parametrize("position", [1, 2])
def test_an_argument_that_is_empty_is_no_folder(tmp_path, words, position):
    """``dal-fast screen "$SCANS" out`` with a variable that is not set means no folder at all."""
    arguments = ["screen", words[1], "out"]
    arguments[position] = ""
    before = sorted(os.listdir(tmp_path))
    done = shell('exec "$@"', *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error [value]: an argument is empty")
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_says_so_and_leaves_nothing_half_done(tmp_path, words, number):
    out = tmp_path / "out"
    call = [sys.executable, "-m", "dal_fast.cli", *words, str(out)]
    run = subprocess.Popen(
        call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # a shell's job may ignore it
    )  # fmt: skip
    with watched(run):
        while not list(out.glob("*")) and not list(out.glob(".*")):
            assert run.poll() is None
            time.sleep(0.005)
        os.killpg(run.pid, number) if number == signal.SIGINT else os.kill(run.pid, number)
        _, stderr = run.communicate()
        with pytest.raises(ProcessLookupError):
            os.killpg(run.pid, 0)  # no worker is left
    assert run.returncode == 128 + number
    assert f"stopped by {number.name}" in stderr.splitlines()[-1]
    assert "run the same command again" in stderr
    assert "Traceback" not in stderr
    assert not list(out.rglob(".*.dal-fast-tmp"))
    for image in out.glob("*.nii.gz"):
        nib.load(image).get_fdata()


def test_a_run_that_is_stopped_waits_for_no_thread(tmp_path):
    """One that opens the chain may be in the middle of it, or never come to an end."""
    left = tmp_path / "to be removed"
    left.write_text("")
    script = f"""
import atexit, os, threading
from dal_fast.cli.terminal import terminal
atexit.register(os.remove, {str(left)!r})
threading.Thread(target=threading.Event().wait).start()
with terminal():
    print("said before")
    raise SystemExit(130)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=200, check=False
    )
    assert (done.returncode, done.stdout) == (130, "said before\n")
    assert "stopped by SIGINT" in done.stderr
    assert not left.exists()


def test_a_hangup_under_nohup_stops_nothing(tmp_path, words):
    script = 'trap "" HUP; "$@" & sleep 2; kill -HUP $!; wait $!'
    done = shell(script, *words, tmp_path / "out")
    assert done.returncode == 1, done.stderr
    assert is_complete(tmp_path / "out")
