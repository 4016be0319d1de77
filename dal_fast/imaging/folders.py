"""Folders of outputs, and what an error of the file system means for the user."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dal_fast.errors import Code, OutputError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_ATTEMPTS = 100  # at making a folder that another process removes at the same time


def check_folder(folder: str | Path) -> None:
    """Refuse an output folder that cannot be written before any work is done; leaves nothing.

    Args:
        folder: need not exist.

    Raises:
        OutputError: ``output-unwritable`` or ``disk-full``.
    """
    folder = Path(folder)
    with file_refusals(folder):
        existing = folder
        while not os.path.lexists(existing) and existing != existing.parent:
            existing = existing.parent
        if len(os.fsencode(folder.name)) > 255:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"x")


def make_folder(folder: str | Path) -> None:
    """Make a folder and its parents, even while another process that has failed removes them.

    Raises:
        OutputError: ``output-unwritable`` or ``disk-full``.
    """
    folder = Path(folder)
    with file_refusals(folder):
        for attempt in range(_ATTEMPTS):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                return
            except (FileNotFoundError, FileExistsError):  # another process was in between
                with contextlib.suppress(FileNotFoundError):
                    if not stat.S_ISDIR(folder.stat().st_mode):
                        raise
                if attempt == _ATTEMPTS - 1:
                    raise


def refusal(path: str | Path, error: OSError) -> OutputError:
    """What an error of the file system means for the user."""
    code = Code.DISK_FULL if is_full(error) else Code.OUTPUT_UNWRITABLE
    way_out = f"{'free space or ' if code == Code.DISK_FULL else ''}choose another folder"
    return OutputError(code, f"{path} cannot be written: {error.strerror or error}; {way_out}")


@contextlib.contextmanager
def file_refusals(path: str | Path) -> Iterator[None]:
    """Turns an error of the file system into the package's own.

    Raises:
        OutputError: ``output-unwritable`` or ``disk-full``.
    """
    try:
        yield
    except OSError as error:
        raise refusal(path, error) from error


def is_full(error: OSError) -> bool:
    """Whether there is no room left on the disk, in the quota, or in a file."""
    return error.errno in _FULL
