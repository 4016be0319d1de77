"""Temporary names that say which process made them, and what dead processes left behind.

A name is ``.TOKEN.MACHINE-PID-START.dal-fast-tmp``. MACHINE stands for what process numbers belong
to: one start of a machine, and within it one container. START is when the process began, as numbers
are used again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import socket
import time
from pathlib import Path

TEMPORARY_SUFFIX = ".dal-fast-tmp"
_OWNER = re.compile(rf"\.[0-9a-f]+\.([0-9a-f]{{8}})-(\d{{1,9}})-(\d+){re.escape(TEMPORARY_SUFFIX)}")
_ABANDONED = 24 * 3600.0
"""Seconds after which a temporary file whose owner cannot be looked up counts as left behind."""


def temporary_name(folder: Path) -> Path:
    """A name that no other file of ``folder`` has."""
    pid = os.getpid()
    facts = _process(pid)
    owner = f"{_machine()}-{pid}-{facts[1] if facts else 0}"
    return folder / f".{secrets.token_hex(8)}.{owner}{TEMPORARY_SUFFIX}"


def remove_leftovers(folder: str | Path) -> None:
    """Remove temporary files and folders whose process has ended.

    Those of running processes stay. Whether a process of another machine or container runs cannot
    be known here: what it made is removed when nobody has touched it for a day.
    """
    with contextlib.suppress(OSError):
        with os.scandir(folder) as entries:
            hidden = [e for e in entries if e.name[0] == "." and e.name.endswith(TEMPORARY_SUFFIX)]
        for entry in filter(_is_left_behind, hidden):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)


def _is_left_behind(entry: os.DirEntry[str]) -> bool:
    owner = _OWNER.fullmatch(entry.name)
    if owner is not None and owner[1] == _machine():
        return not _is_running(int(owner[2]), int(owner[3]))
    try:
        return time.time() - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED
    except OSError:
        return False


def _machine() -> str:
    """Eight digits for what process numbers belong to: a start of a machine, and a container."""
    facts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        facts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
    with contextlib.suppress(OSError):
        facts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\n".join(facts).encode("utf-8", "surrogateescape")).hexdigest()[:8]


def _is_running(pid: int, start: int) -> bool:
    if os.name != "posix":  # there, signal 0 would end the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        pass
    facts = _process(pid)
    return facts is None or (facts[0] not in "ZX" and facts[1] == start)


def _process(pid: int) -> tuple[str, int] | None:
    """State and start time (clock ticks) of a process; ``None`` where the system does not say."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        fields = text.rpartition(")")[2].split()
        return fields[0], int(fields[19])
    except (OSError, IndexError, ValueError):
        return None
