"""A pack of brains in one file, small enough to be carried to a GPU host.

    python -m benchmarks.gpu_pack FILE --data derivative/ [--maps label-maps/] [--voxel-mm 2]
    python -m benchmarks.gpu_pack FILE --pack LARGER     the first 16 scans of another pack
    python -m benchmarks.gpu_pack FILE --synthetic 6 --sides 32 40 32

Label maps and scans on the model's grid, cropped to the brain, as ``dal-fast train`` reads them.
Each volume is stored as one byte a voxel and the table of its values: without loss where a volume
has at most 256 values, as most scans of one byte a voxel have; otherwise the values are rounded to
256 even steps. Members are compressed by LZMA, which takes a quarter less than deflate.
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.volumes import brain
from dal_fast.imaging.normalise import BRAIN_LEVEL
from dal_fast.ops import LEVELS
from dal_fast.synthesis.brains import Brain, bids_sources, load_brains, map_sources

VALUES = 256  # of one byte
FEW = 16  # scans that the benchmark of the chain takes
MAP = "structures"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_pack", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--data", type=Path, help="BIDS derivative with scans and label maps")
    parser.add_argument("--maps", type=Path, help="folder of FreeSurfer label maps")
    parser.add_argument("--pack", type=Path, help="take the first scans of this pack instead")
    parser.add_argument("--voxel-mm", type=float, default=2.0)
    parser.add_argument("--synthetic", type=int, metavar="N", help="so many made-up brains instead")
    parser.add_argument("--sides", type=int, nargs=3, default=[32, 40, 32], help="of made-up ones")
    options = parser.parse_args(arguments)
    if sum(given is not None for given in (options.data, options.pack, options.synthetic)) != 1:
        parser.error("give one of --data, --pack and --synthetic")
    if options.pack is not None:
        brains = read(options.pack, FEW)
    elif options.synthetic is not None:
        depth, height, width = options.sides
        brains = [synthetic(f"sub-{n}", (depth, height, width)) for n in range(options.synthetic)]
    else:
        brains = []
        for held_out in (False, True):
            brains += load_brains(bids_sources(options.data, held_out), options.voxel_mm)
            if options.maps:
                brains += load_brains(map_sources(options.maps, held_out), options.voxel_mm)
    write(options.file, brains)
    size = options.file.stat().st_size / 2**20
    print(f"{options.file}: {len(brains)} brains, {size:.1f} MiB")
    return 0


def write(path: Path, brains: Sequence[Brain]) -> None:
    """All brains into one file, each volume as bytes and a table of values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as file:
        for one in brains:
            for name, volume in {MAP: one.structures, **one.scans}.items():
                codes, values = _coded(volume)
                _add(file, f"{one.name}/{name}/codes", codes)
                _add(file, f"{one.name}/{name}/values", values)


def read(path: Path, scanned: int | None = None) -> list[Brain]:
    """The brains of a pack, in the order in which they were written, or so many with a scan."""
    with zipfile.ZipFile(path) as file:
        names = [name.rsplit("/", 2)[:2] for name in file.namelist() if name.endswith("/codes")]
        if scanned is not None:
            first = list(dict.fromkeys(subject for subject, name in names if name != MAP))
            names = [(subject, name) for subject, name in names if subject in first[:scanned]]
        with ThreadPoolExecutor() as pool:
            volumes = list(pool.map(lambda name: _volume(file, "/".join(name)), names))
    found: dict[str, dict[str, Tensor]] = {}
    for (subject, name), volume in zip(names, volumes, strict=True):
        found.setdefault(subject, {})[name] = volume
    return [Brain(name, own.pop(MAP), own) for name, own in found.items()]


def synthetic(name: str, sides: tuple[int, int, int]) -> Brain:
    """A made-up brain with a T1w scan, for rehearsals."""
    anatomy = brain(sides).anatomy
    structures = torch.zeros(anatomy.shape, dtype=torch.int16)
    for tissue, level in enumerate(LEVELS):
        structures[anatomy == level] = (tissue + 1) * 256 + tissue + 1
    median = anatomy[structures > 0].median()
    return Brain(name, structures, {"T1w": (anatomy * (BRAIN_LEVEL / median)).half()})


def _coded(volume: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """One byte a voxel, and the value of each byte."""
    values, codes = volume.unique(return_inverse=True)
    if len(values) > VALUES:
        if not volume.is_floating_point():
            raise ValueError(f"a label map holds {len(values)} structures; {VALUES} are the most")
        low, high = float(values[0]), float(values[-1])
        codes = ((volume.float() - low) * ((VALUES - 1) / (high - low))).round()
        values = torch.linspace(low, high, VALUES).to(volume.dtype)
    return codes.to(torch.uint8).numpy(), values.numpy()


def _volume(file: zipfile.ZipFile, name: str) -> Tensor:
    codes, values = (_get(file, f"{name}/{part}") for part in ("codes", "values"))
    return torch.from_numpy(values[codes])


def _add(file: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    with file.open(name, "w") as member:
        np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)


def _get(file: zipfile.ZipFile, name: str) -> np.ndarray:
    with file.open(name) as member:
        return np.lib.format.read_array(member, allow_pickle=False)


if __name__ == "__main__":
    sys.exit(main())
