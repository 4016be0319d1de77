"""What surrounds a command: standard streams that may be lost, and signals that stop it.

A reader that goes away (``| head``), a stream that was closed and a log on a full disk cost no
scan and no table: what cannot be shown is dropped.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import io
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

_BY_SIGNAL = 128  # added to a signal's number in an exit status
_INTERRUPTED = _BY_SIGNAL + signal.SIGINT


@contextlib.contextmanager
def terminal() -> Iterator[None]:
    """Run a command in this block; it ends with ``SystemExit``.

    A command that a signal stopped ends without waiting for its threads, which may be compiling a
    network, or wait for a lock of an import that the signal broke off.

    Output that was lost for another reason than that nobody reads it is one line on stderr, and
    the status is then 2 if it would have been 0.
    """
    _open_descriptors()
    output = _replace("stdout", 1)
    _replace("stderr", 2)
    _exit_on_signals()
    status: Any = 0
    try:
        yield
    except SystemExit as end:
        status = end.code
        if status == _INTERRUPTED:
            _say_stopped(signal.SIGINT)
    sys.stdout.flush()
    if output.lost is not None and output.lost.errno != errno.EPIPE:
        from dal_fast.imaging.folders import refusal

        refused = refusal("standard output", output.lost)
        print(f"error [{refused.code}]: {refused.message}", file=sys.stderr)
        status = status or 2
    if isinstance(status, int) and status > _BY_SIGNAL:
        _end_without_threads(status)
    raise SystemExit(status)


class _Descriptor(io.FileIO):
    """A stream's file; what cannot be written is dropped.

    Attributes:
        lost: why something was, the first time.
    """

    lost: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.lost = self.lost or error
            return memoryview(data).nbytes


def _open_descriptors() -> None:
    """Lead closed ones nowhere, or the next file that is opened would take a stream's place."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number


def _replace(name: str, descriptor: int) -> _Descriptor:
    """Put a stream in the place of ``sys.stdout`` or ``sys.stderr`` that bears any name and loss.

    Characters that its encoding does not hold, as in names of files, are shown as escapes.
    """
    old = getattr(sys, name)
    if old is not None:
        with contextlib.suppress(OSError):
            old.flush()
    raw = _Descriptor(descriptor, "w", closefd=False)
    stream = io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(old, "encoding", None) or "utf-8",
        errors="backslashreplace",
        line_buffering=name == "stderr" or raw.isatty(),
    )
    setattr(sys, name, stream)
    return raw


def _exit_on_signals() -> None:
    """End in the ordinary way when a scheduler or a closed terminal stops this process.

    Workers are then stopped and unfinished files removed. Signals that are ignored, as under
    ``nohup``, stay ignored.
    """

    def stop(number: int, _: Any) -> None:
        _say_stopped(number)
        raise SystemExit(_BY_SIGNAL + number)

    for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, stop)


def _end_without_threads(status: int) -> None:
    """End this process now, after what was registered to be cleaned up at its end."""
    atexit._run_exitfuncs()
    sys.stderr.flush()
    os._exit(status)


def _say_stopped(number: int) -> None:
    """Without Python's buffer, which the signal may have come in the middle of."""
    text = f"stopped by {signal.Signals(number).name}: what is complete stays, and nothing else is "
    text += "left; run the same command again to go on\n"
    with contextlib.suppress(OSError):
        os.write(2, text.encode())
