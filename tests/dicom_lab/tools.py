"""Programs that stand beside the lab as independent readers, writers and validators."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest


def path_of(name: str) -> str:
    """Of a program; the test is skipped where it is not installed."""
    import sys

    for folder in (
        sysconfig.get_path("scripts"),
        *(Path(p).parents[2] / "bin" for p in sys.path if p.endswith("site-packages")),
    ):
        if (found := shutil.which(name, path=str(folder))) is not None:
            return found
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}")
    return found


def run(name: str, *arguments) -> str:
    """What a program prints, on either stream; it must end with status 0."""
    call = [path_of(name), *map(str, arguments)]
    done = subprocess.run(call, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, f"{name}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout + done.stderr


def errors_of(file, name="dciodvfy") -> list[str]:
    """What a validator calls an error; it ends with another status then."""
    arguments = [file] if not isinstance(file, list) else file
    call = [path_of(name), *map(str, arguments)]
    done = subprocess.run(call, capture_output=True, text=True, errors="replace")
    lines = (done.stdout + done.stderr).splitlines()
    return [line for line in lines if line.startswith("Error")]
