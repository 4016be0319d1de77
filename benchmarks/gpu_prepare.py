"""Is everything here that a GPU host without a network needs? And small enough to be carried there?

    python -m benchmarks.gpu_prepare [--mebibytes 60]

Looks into ``.whl`` and ``.carry`` of the checkout: that every wheel is there, that the wheels fit
each other, that both packs of brains are whole and that of the training has brains to learn from
and held-out ones, and that what git tracks and what each part carries are within the limit. The
exit status is the number of things that are wrong, each named.
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
LISTS = {"gpu_wheels.txt": ".whl", "gpu_peers.txt": ".carry/evidence/peers"}
"""Names of wheels, and where they lie."""
CARRIED = {"evidence": (".whl", ".carry/evidence"), "training": (".whl", ".carry/brains.zip")}
PYTHON = {"python_version": "3.12", "python_full_version": "3.12.3", "extra": ""}
LIMIT = 60  # MiB


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_prepare", description=__doc__)
    parser.add_argument("--mebibytes", type=float, default=LIMIT)
    options = parser.parse_args(arguments)
    wrong = [*wrong_wheels(ROOT), *wrong_packs(ROOT / ".carry")]
    tracked = tracked_bytes(ROOT)
    print(f"{'tracked files':<14} {tracked / 2**20:6.1f} MiB")
    for part, names in CARRIED.items():
        size = (tracked + sum(bytes_of(ROOT / name) for name in names)) / 2**20
        print(f"{part:<14} {size:6.1f} MiB with {' and '.join(names)}")
        if size > options.mebibytes:
            wrong.append(f"what {part} carries is larger than {options.mebibytes:g} MiB")
    for line in wrong:
        print(f"wrong: {line}")
    return len(wrong)


def wrong_wheels(root: Path) -> Iterator[str]:
    """Wheels that are missing, and those whose requirements another one here does not meet."""
    found = {}
    for wanted, folder in LISTS.items():
        here = {}
        for path in sorted((root / folder).glob("*.whl")):
            name, version, _, _ = parse_wheel_filename(path.name)
            here[name] = (version, path)
        lines = (ROOT / "benchmarks" / wanted).read_text().splitlines()
        for name in (line for line in lines if not line.startswith("#")):
            if canonicalize_name(name) not in here:
                yield f"{root / folder} holds no wheel of {name}"
        found |= here
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


def wrong_packs(folder: Path) -> Iterator[str]:
    """What keeps the chain's benchmark, or a training, from starting with its pack."""
    few, path = folder / "evidence" / "brains.zip", folder / "brains.zip"
    for pack in (few, path):
        if not pack.is_file():
            yield f"there is no {pack}"
    if few.is_file() and not any(one.scans for one in gpu_pack.read(few)):
        yield f"{few} has no brain with a scan"
    brains = gpu_pack.read(path) if path.is_file() else []
    for held_out in (False, True) if brains else ():
        if not any(one.scans and is_held_out(one.name) == held_out for one in brains):
            yield f"{path} has no {'held-out ' if held_out else ''}brain with a scan"


def tracked_bytes(root: Path) -> int:
    """Of the files that git tracks, and of those that it would."""
    words = ["git", "-C", str(root), "ls-files", "-z", "-c", "-o", "--exclude-standard"]
    names = subprocess.run(words, capture_output=True, check=True).stdout.decode().split("\0")
    return sum((root / name).stat().st_size for name in names if name and (root / name).is_file())


def bytes_of(path: Path) -> int:
    """Of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(one.stat().st_size for one in files if one.is_file())


if __name__ == "__main__":
    sys.exit(main())
