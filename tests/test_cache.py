"""The cache: where it lies, that entries appear whole, and that nothing needs it."""

import contextlib
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from phantom import phantom, save
from tiny import tiny_weights

from dal_fast import cache
from dal_fast.extras import isolate


def test_where_it_lies(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.cache_home() == tmp_path / "dal_fast"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for value in ("", "relative/folder"):  # the latter is ignored, as XDG asks
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache.cache_home() == tmp_path / "home" / ".cache" / "dal_fast"


def test_no_home_is_no_cache(monkeypatch):
    def unknown():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", unknown)
    assert cache.cache_home() is None
    assert "HOME is not set" in cache.problem()
    cache.keep(None, lambda path: pytest.fail("there is nowhere to write"))
    folder = cache.writable_folder("triton")
    assert os.access(folder, os.W_OK)
    folder.rmdir()


def test_an_entry_appears_whole_or_not_at_all(tmp_path):
    entry = tmp_path / "cache" / "entry"

    def write(path):
        path.mkdir()
        (path / "file").write_text("content")
        assert not entry.exists()

    cache.keep(entry, write)
    assert (entry / "file").read_text() == "content"
    cache.keep(entry, write_broken)
    assert (entry / "file").read_text() == "content"
    assert [p.name for p in entry.parent.iterdir()] == ["entry"]


def write_broken(path):
    path.mkdir()
    raise OSError(28, "No space left on device")


def filled(entry, content="content"):
    """An entry of two files of one content."""

    def write(path):
        path.mkdir()
        for name in ("one", "two"):
            (path / name).write_text(content)

    cache.keep(entry, write)
    return entry


def unused_for(days, entry):
    then = time.time() - days * 24 * 3600
    os.utime(entry, (then, then))


def test_what_nobody_has_used_for_long_goes_when_an_entry_of_its_kind_is_written(tmp_path):
    old, used, young = (filled(tmp_path / "kind" / name) for name in ("old", "used", "young"))
    left, other = tmp_path / "kind" / "tmpabc", filled(tmp_path / "other kind" / "old")
    (left / "content").mkdir(parents=True)  # of a writer that was killed
    for entry in (old, used, left, other):
        unused_for(cache.UNUSED_DAYS + 1, entry)
    unused_for(cache.UNUSED_DAYS - 1, young)
    assert cache.find(used) == used
    new = filled(tmp_path / "kind" / "new")
    assert sorted((tmp_path / "kind").iterdir()) == sorted([new, used, young])
    assert other.is_dir()


def test_there_is_no_entry_to_be_found(tmp_path):
    (tmp_path / "file").write_text("")
    assert [cache.find(p) for p in (None, tmp_path / "none", tmp_path / "file")] == [None] * 3


def test_processes_that_write_read_and_remove_at_once(tmp_path, monkeypatch):
    """Whatever is read is of one writer, and whole; what is missing is no error."""
    monkeypatch.setattr(cache, "UNUSED_DAYS", -1)  # every entry is old
    kind, found = tmp_path / "kind", []

    def work(number):
        for turn in range(60):
            entry = filled(kind / f"entry-{turn % 3}", content=f"{number} {turn}" * 1000)
            if cache.find(entry):
                with contextlib.suppress(FileNotFoundError):
                    found.append((entry / "one").read_text())

    with ThreadPoolExecutor(4) as four:
        list(four.map(work, range(4)))
    whole = {f"{number} {turn}" * 1000 for number in range(4) for turn in range(60)}
    assert found
    assert set(found) <= whole
    assert filled(kind / "last").is_dir()
    assert [path.name for path in kind.iterdir()] == ["last"]


def test_a_problem_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.problem() is None
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert "cannot be written" in cache.problem()


def test_dependencies_keep_theirs_in_ours(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TRITON_CACHE_DIR", raising=False)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/chosen/by/the/user")
    monkeypatch.setenv("TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS", "1")
    isolate("torch_compiler")
    assert os.environ["TRITON_CACHE_DIR"] == str(tmp_path / "dal_fast" / "triton")
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/chosen/by/the/user"


@pytest.mark.parametrize("home", [None, pytest.param("/proc/nowhere", marks=pytest.mark.long)])
def test_a_user_without_a_home_can_screen(tmp_path, home):
    """As in a container with ``--user 54321``: the system knows no such user, and no home."""
    data, affine, _ = phantom(voxel_mm=(4.0, 4.0, 4.0))
    scan, weights = save(tmp_path / "sub-01_T1w.nii.gz", data, affine), tiny_weights(tmp_path)
    out = tmp_path / "out"
    names = ("PATH", "LANG", "LD_LIBRARY_PATH", "OMP_WAIT_POLICY")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    code = f"""
import pwd

def unknown(uid):
    raise KeyError(f"getpwuid(): uid not found: {{uid}}")

pwd.getpwuid = unknown
from dal_fast.cli import app
for words in (["doctor"], ["screen", {str(scan)!r}, {str(out)!r}, "--weights", {str(weights)!r}]):
    status = app(words, standalone_mode=False)
    assert not status, (words, status)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd="/", timeout=280, capture_output=True, text=True,
        env=kept | ({"HOME": home} if home else {}), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "engines are compiled anew on every start" in done.stdout
    assert (out / "sub-01_desc-anomaly_T1w.nii.gz").is_file()
