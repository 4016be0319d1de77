"""The cache: where it lies, that entries appear whole, and that nothing needs it."""

import os
import subprocess
import sys
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


@pytest.mark.parametrize("home", [None, "/proc/nowhere"])
def test_a_user_without_a_home_can_screen(tmp_path, home):
    """As in a container with ``--user 54321``: the system knows no such user, and no home."""
    data, affine, _ = phantom(voxel_mm=(4.0, 4.0, 4.0))
    scan, weights = save(tmp_path / "sub-01_T1w.nii.gz", data, affine), tiny_weights(tmp_path)
    out = tmp_path / "out"
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "LD_LIBRARY_PATH")}
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
