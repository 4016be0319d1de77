"""The user's cache: what can be computed again, kept so that it need not be.

It lies in ``$XDG_CACHE_HOME/dal_fast``, or in ``~/.cache/dal_fast``. Entries are folders that
appear whole or not at all, under names that hold a hash of everything they depend on; deleting them
is always safe. Whoever writes one removes those of its kind that nobody has used for
``UNUSED_DAYS``. Where there is no such folder (a user without a home) or it cannot be written,
everything works without it, and takes longer.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

UNUSED_DAYS = 30


def cache_home() -> Path | None:
    """The folder of all entries, which need not exist; None for a user who has no home.

    A relative ``XDG_CACHE_HOME`` is ignored, as the XDG specification asks.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if base.is_absolute():
        return base / "dal_fast"
    try:
        home = Path.home()
    except RuntimeError:  # HOME is unset, and the system knows no such user
        return None
    return home / ".cache" / "dal_fast" if home.is_absolute() else None


def find(folder: Path | None) -> Path | None:
    """An entry, if there is one, which counts as used now.

    Another process may remove it while it is read, though only one that nobody used for long, or
    that could not be read: where files turn out to be missing, the entry is to be made anew.
    """
    if folder is None or not os.path.isdir(folder):
        return None
    with contextlib.suppress(OSError):  # a cache that cannot be written
        os.utime(folder)
    return folder


def keep(folder: Path | None, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill ``folder``, which appears whole or not at all.

    A cache that cannot be written is no reason to stop: the entry is then made every time.

    Args:
        folder: an entry, ``KIND/KEY`` below :func:`cache_home`, where nothing else may lie in
            ``KIND``; None where there is no cache.
        write: is given the path of a folder to create.
    """
    if folder is None:
        return
    with contextlib.suppress(OSError):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_unused(folder.parent)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            write(Path(temporary) / "content")
            shutil.rmtree(folder, ignore_errors=True)  # what could not be read
            os.rename(Path(temporary) / "content", folder)


def _remove_unused(kind: Path) -> None:
    """Entries of a kind, and what killed writers left of theirs; others may do the same now."""
    oldest = time.time() - UNUSED_DAYS * 24 * 3600
    for entry in list(kind.iterdir()):
        with contextlib.suppress(OSError):
            if entry.stat().st_mtime < oldest:
                with tempfile.TemporaryDirectory(dir=kind) as temporary:  # nobody sees half of it
                    os.rename(entry, Path(temporary) / "unused")


def problem() -> str | None:
    """Why entries cannot be kept, by writing one; None where they can."""
    home = cache_home()
    if home is None:
        return "HOME is not set, nor XDG_CACHE_HOME"
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home) as folder:
            (Path(folder) / "file").write_bytes(b"content")
    except OSError as error:
        return f"{home} cannot be written: {error.strerror or error}"
    return None


def writable_folder(name: str) -> Path:
    """A folder of the cache for a dependency that keeps a cache of its own.

    Where the cache cannot be written it is a temporary one, which this process removes when it
    ends.
    """
    home = cache_home()
    if home is not None:
        with contextlib.suppress(OSError):
            (home / name).mkdir(parents=True, exist_ok=True)
            if os.access(home / name, os.W_OK | os.X_OK):
                return home / name
    folder = Path(tempfile.mkdtemp(prefix=f"dal_fast-{name}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
