"""The user's cache: what can be computed again, kept so that it need not be.

``$XDG_CACHE_HOME/dal_fast``, or ``~/.cache/dal_fast``. Entries are folders that appear whole or
not at all, under names that hold a hash of everything they depend on; deleting them is always safe.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def cache_home() -> Path:
    """The folder of all entries; it need not exist."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "dal_fast"


def keep(folder: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill ``folder``, which appears whole or not at all.

    A cache that cannot be written is no reason to stop: the entry is then made every time.
    """
    with contextlib.suppress(OSError):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            write(Path(temporary) / "content")
            shutil.rmtree(folder, ignore_errors=True)  # what could not be read
            os.rename(Path(temporary) / "content", folder)
