"""Write files so that a reader sees the old content or the whole new one, never a part.

Three ways with the same guarantees:

- :func:`open_atomic`, and on top of it :func:`write_bytes`, :func:`write_text` and
  :func:`write_json`: one file.
- :func:`staged_files`: several files of one folder that belong together; the last one appears
  last, so that it can stand for all of them.
- :func:`staged_folder`: a whole new folder.

Each of them writes under a temporary name on the same file system, flushes the content to the
disk, renames it, and flushes the folder that holds the new name. When anything fails, the
temporary files are removed and the targets are as they were. Inside a staged folder the functions
for one file write plainly, as the whole folder is renamed later.

Whoever writes into a folder first removes what a process that was killed left there, and leaves
alone what belongs to a running process: see :mod:`dal_fast.imaging.temporary`.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from dal_fast.errors import Code, OutputError
from dal_fast.imaging.folders import file_refusals, is_full, make_folder, refusal
from dal_fast.imaging.lock import locked
from dal_fast.imaging.temporary import TEMPORARY_SUFFIX, remove_leftovers, temporary_name
from dal_fast.imaging.text import printable

_EXISTS = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)


@contextlib.contextmanager
def open_atomic(path: str | Path) -> Iterator[IO[bytes]]:
    """A binary file that takes the name ``path`` when the block ends without an exception.

    An exception of the block itself, an ``OSError`` among them, passes through unchanged.

    Args:
        path: of the file; its folder must exist.

    Raises:
        OutputError: ``output-unwritable`` or ``disk-full``.
    """
    path = Path(path)
    if _is_staged(path):
        with _output(path, _shown(path)) as file:
            yield file
        return
    remove_leftovers(path.parent)
    temporary = temporary_name(path.parent)
    with file_refusals(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    try:
        with _output(temporary, path) as file:
            yield file
            file.flush()
            with file_refusals(path):
                os.fsync(file.fileno())
        with file_refusals(path):
            os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


@contextlib.contextmanager
def staged_files(folder: str | Path, names: Sequence[str]) -> Iterator[Path]:
    """A hidden folder whose files move to ``folder`` when the block ends without an exception.

    Args:
        folder: of the targets; created where it does not exist, and removed again on failure.
        names: of the files that the block writes. The last one appears after all others are
            on the disk under their names, and an old one of that name goes before any of them.

    Yields:
        The folder to write into.

    Raises:
        OutputError: ``output-unwritable`` or ``disk-full``; then none of the files is there.
    """
    folder = Path(folder)
    with _created(folder), _stage(folder) as stage:
        yield stage
        with file_refusals(folder), locked(folder):  # two writers of one result do not mix
            _publish(stage, folder, names)
    _sync_folder(folder)


@contextlib.contextmanager
def staged_folder(target: str | Path) -> Iterator[Path]:
    """A hidden folder that takes the name ``target`` when the block ends without an exception.

    Args:
        target: of the new folder; its parents are created where they do not exist.

    Yields:
        The folder to write into.

    Raises:
        OutputError: ``output-exists`` where ``target`` is there already and not an empty folder,
            ``output-unwritable`` or ``disk-full``.
    """
    target = Path(target)
    with _created(target.parent), _stage(target.parent) as stage:
        yield stage
        with file_refusals(target):
            for parent, _, files in os.walk(stage):
                for file in files:
                    _sync_file(Path(parent, file))
                _sync_folder(Path(parent))
            try:
                os.rename(stage, target)
            except OSError as error:
                if error.errno not in _EXISTS:
                    raise
                raise OutputError(Code.OUTPUT_EXISTS, f"{target} exists already") from error
    _sync_folder(target.parent)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write ``content`` atomically.

    Raises:
        OutputError: ``output-unwritable`` or ``disk-full``.
    """
    with open_atomic(path) as file:
        file.write(content)


def write_text(path: str | Path, content: str) -> None:
    """Write text atomically, as UTF-8; see :func:`dal_fast.imaging.text.printable`.

    Raises:
        OutputError: ``output-unwritable`` or ``disk-full``.
    """
    write_bytes(path, printable(content).encode())


def write_json(path: str | Path, content: dict[str, Any]) -> None:
    """Write ``content`` atomically, indented.

    Bytes of a file name that are not UTF-8 become escapes (``\\udcNN``), which Python's ``json``
    reads back as it had them.

    Raises:
        OutputError: ``output-unwritable`` or ``disk-full``.
    """
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


class _Output(io.BufferedWriter):
    """A file whose own errors are refusals, so that they cannot be taken for the caller's."""

    def __init__(self, path: Path, target: Path) -> None:
        super().__init__(io.FileIO(path, "w"))
        self._target = target

    def write(self, data: Any) -> int:
        with file_refusals(self._target):
            return super().write(data)

    def flush(self) -> None:
        with file_refusals(self._target):
            super().flush()


@contextlib.contextmanager
def _output(path: Path, target: Path) -> Iterator[_Output]:
    """The file at ``path``, closed at the end; messages speak of ``target``."""
    with file_refusals(target):
        file = _Output(path, target)
    try:
        yield file
        with file_refusals(target):
            file.close()
    except BaseException:
        with contextlib.suppress(OSError, OutputError):  # closing flushes, and fails again
            file.close()
        raise


@contextlib.contextmanager
def _created(folder: Path) -> Iterator[None]:
    """The folder while the block runs; what was created for it goes again if the block fails."""
    with file_refusals(folder):
        created = [p for p in (folder, *folder.parents) if not p.exists()]
    make_folder(folder)
    try:
        yield
    except BaseException:
        for path in created:
            with contextlib.suppress(OSError):  # another process has put something there
                path.rmdir()
        raise


@contextlib.contextmanager
def _stage(folder: Path) -> Iterator[Path]:
    """A hidden folder below ``folder`` that is gone when the block ends."""
    remove_leftovers(folder)
    stage = temporary_name(folder)
    make_folder(stage)
    try:
        yield stage
    except OSError as error:  # other libraries write into the stage, too
        if is_full(error):
            raise refusal(folder, error) from error
        raise
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _publish(stage: Path, folder: Path, names: Sequence[str]) -> None:
    """Rename whole files to their targets, the last one last; each step is durable."""
    *others, last = names
    for name in names:
        _sync_file(stage / name)
        if (folder / name).is_dir():
            raise IsADirectoryError(errno.EISDIR, f"{name} is a folder")
    with contextlib.suppress(FileNotFoundError):
        (folder / last).unlink()
        _sync_folder(folder)
    moved: list[Path] = []
    try:
        for name in others:
            os.replace(stage / name, folder / name)
            moved.append(folder / name)
        _sync_folder(folder)
        os.replace(stage / last, folder / last)
    except BaseException:
        for path in moved:  # without the last one they are no result
            with contextlib.suppress(OSError):
                path.unlink()
        raise


def _is_staged(path: Path) -> bool:
    return any(parent.name.endswith(TEMPORARY_SUFFIX) for parent in path.parents)


def _shown(path: Path) -> Path:
    """Where a staged file will be, for messages."""
    return Path(*(part for part in path.parts if not part.endswith(TEMPORARY_SUFFIX)))


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """Make renames durable, where the file system lets a folder be opened and flushed."""
    with contextlib.suppress(OSError):
        _sync_file(folder)
