"""A lock for the moment in which a shared file is read and written anew."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Other processes that lock the folder wait until the block ends; nothing is left behind.

    The lock ends with its process, however that ends. Where the system has no such locks (Windows,
    folders on some network file systems) the block runs without.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError, OSError):
            fcntl: Any = importlib.import_module("fcntl")
            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
