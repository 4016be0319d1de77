"""Is everything here that a GPU host without a network needs? And small enough to be carried there?

    python -m benchmarks.gpu_prepare [--mebibytes 60]

Looks into ``.whl`` and ``.carry`` of the checkout: that every wheel is there, that the wheels fit
each other, that the pack of brains is whole and has brains to learn from and held-out ones, and
that what git tracks and the two folders are within the limit together. The exit status is the
number of things that are wrong, each named.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from email.parser import HeaderParser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from benchmarks import gpu_pack
from dal_fast.synthesis.brains import is_held_out

ROOT = Path(__file__).resolve().parents[1]
LIST = ROOT / "benchmarks" / "gpu_wheels.txt"
PYTHON = {"python_version": "3.12", "python_full_version": "3.12.3", "extra": ""}
LIMIT = 60  # MiB


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_prepare", description=__doc__)
    parser.add_argument("--mebibytes", type=float, default=LIMIT)
    options = parser.parse_args(arguments)
    wrong = [*wrong_wheels(ROOT / ".whl"), *wrong_pack(ROOT / ".carry" / "brains.zip")]
    sizes = {"tracked files": tracked_bytes(ROOT)}
    sizes |= {name: folder_bytes(ROOT / name) for name in (".whl", ".carry")}
    for name, size in sizes.items():
        print(f"{name:<14} {size / 2**20:6.1f} MiB")
    if sum(sizes.values()) > options.mebibytes * 2**20:
        wrong.append(f"together they are larger than {options.mebibytes:g} MiB")
    for line in wrong:
        print(f"wrong: {line}")
    return len(wrong)


def wrong_wheels(folder: Path) -> Iterator[str]:
    """Wheels that are missing, and those whose requirements another one here does not meet."""
    found = {}
    for path in sorted(folder.glob("*.whl")):
        name, version, _, _ = parse_wheel_filename(path.name)
        found[name] = (version, path)
    names = [line for line in LIST.read_text().splitlines() if not line.startswith("#")]
    for name in names:
        if canonicalize_name(name) not in found:
            yield f"{folder} holds no wheel of {name}"
    for name, (_, path) in found.items():
        for requirement in _requirements(path):
            have = found.get(canonicalize_name(requirement.name))
            if have and have[0] not in requirement.specifier:
                yield f"{name} needs {requirement}, and here is {have[0]}"


def _requirements(path: Path) -> Iterator[Requirement]:
    with zipfile.ZipFile(path) as wheel:
        (name,) = (n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))
        text = wheel.read(name).decode()
    for line in HeaderParser().parsestr(text).get_all("Requires-Dist", []):
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(PYTHON):
            yield requirement


def wrong_pack(path: Path) -> Iterator[str]:
    """What keeps a training from starting with the pack."""
    if not path.is_file():
        yield f"there is no {path}"
        return
    brains = gpu_pack.read(path)
    for held_out in (False, True):
        if not any(one.scans and is_held_out(one.name) == held_out for one in brains):
            yield f"{path} has no {'held-out ' if held_out else ''}brain with a scan"


def tracked_bytes(root: Path) -> int:
    """Of the files that git tracks, and of those that it would."""
    words = ["git", "-C", str(root), "ls-files", "-z", "-c", "-o", "--exclude-standard"]
    names = subprocess.run(words, capture_output=True, check=True).stdout.decode().split("\0")
    return sum((root / name).stat().st_size for name in names if name and (root / name).is_file())


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    sys.exit(main())
