"""Unfinished files: those of a dead process are removed, those of a running one are not."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dal_fast.imaging import temporary
from dal_fast.imaging.atomic import staged_files, write_bytes
from dal_fast.imaging.folders import make_folder

HOLDER = """
import os, sys, time
from dal_fast.imaging.atomic import open_atomic, staged_files
with open_atomic(sys.argv[1] + "/file") as file, staged_files(sys.argv[1], ["a"]) as stage:
    (stage / "a").write_bytes(b"half")
    print("ready", flush=True)
    time.sleep(600)
"""


def holder(folder):
    """A process in the middle of writing a file and a folder of files."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    process.stdout.close()
    return process


def hidden(folder):
    return {p.name for p in folder.iterdir() if p.name.startswith(".")}


def test_only_what_a_dead_process_left_is_removed(tmp_path):
    running, killed = holder(tmp_path), None
    try:
        theirs = hidden(tmp_path)
        assert len(theirs) == 2
        killed = holder(tmp_path)
        assert len(hidden(tmp_path)) == 4
        write_bytes(tmp_path / "x", b"")
        assert len(hidden(tmp_path)) == 4
        killed.kill()
        deadline = time.monotonic() + 60
        while hidden(tmp_path) != theirs:  # not even waited for, it is a zombie
            write_bytes(tmp_path / "x", b"")
            assert time.monotonic() < deadline
        with staged_files(tmp_path, ["x"]) as stage:
            write_bytes(stage / "x", b"")
        assert hidden(tmp_path) == theirs
    finally:
        for process in filter(None, (running, killed)):
            process.kill()
            process.wait()
    write_bytes(tmp_path / "x", b"")
    assert os.listdir(tmp_path) == ["x"]


def test_a_process_number_that_is_used_again_is_another_process(tmp_path):
    ours = temporary.temporary_name(tmp_path)
    other = tmp_path / ours.name.replace(f"-{temporary._process(os.getpid())[1]}", "-1")
    for path in (ours, other):
        path.mkdir()
    temporary.remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == [ours]


@pytest.mark.parametrize("old", [False, True])
def test_what_another_machine_writes_is_left_alone_for_a_day(tmp_path, monkeypatch, old):
    with monkeypatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: "another")
        path = temporary.temporary_name(tmp_path)
    nobodys = tmp_path / f".0123456789abcdef{temporary.TEMPORARY_SUFFIX}"
    for left in (path, nobodys):
        left.write_bytes(b"half")
        if old:
            os.utime(left, (time.time() - 25 * 3600,) * 2)
    foreign = tmp_path / ".git"
    foreign.mkdir()
    os.utime(foreign, (0, 0))
    temporary.remove_leftovers(tmp_path)
    assert set(tmp_path.iterdir()) == ({foreign} if old else {foreign, path, nobodys})


FAILER = """
import sys
from dal_fast.imaging.atomic import staged_files
for _ in range(300):
    try:
        with staged_files(sys.argv[1] + "/a/b", ["x"]) as stage:
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
"""


def test_a_folder_that_another_process_removes_is_made_again(tmp_path):
    """One process fails over and over, and removes what it made; the other one goes on."""
    failing = subprocess.Popen([sys.executable, "-c", FAILER, str(tmp_path)])
    while failing.poll() is None:
        with staged_files(tmp_path / "a" / "b", ["x"]) as stage:
            write_bytes(stage / "x", b"x")
        shutil.rmtree(tmp_path / "a", ignore_errors=True)
    assert failing.returncode == 0


def test_a_folder_that_is_made_again_at_once_is_taken(tmp_path, monkeypatch):
    """``mkdir`` finds it there, then not, and now it is there again."""
    make, calls = Path.mkdir, []

    def mkdir(path, *arguments, **options):
        calls.append(path)
        make(path, *arguments, **options)
        if len(calls) == 1:
            raise FileExistsError(17, "File exists")

    monkeypatch.setattr(Path, "mkdir", mkdir)
    make_folder(tmp_path / "a")
    assert len(calls) == 2
