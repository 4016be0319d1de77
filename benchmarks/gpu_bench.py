"""What the parts of a chain benchmark share: files, weights, a device, and a table that is kept."""

from __future__ import annotations

import csv
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from benchmarks import results_file
from benchmarks.gpu_timing import AnyStopwatch
from dal_fast.context import _C
from dal_fast.models import load_screening_model
from dal_fast.screening.device import DeviceChain
from dal_fast.screening.device.chain import Options
from dal_fast.screening.device.precision import Precision
from dal_fast.screening.screener import Screener
from dal_fast.synthesis.brains import Brain


@dataclass(frozen=True)
class Row:
    """One measurement of a part, see the module's text."""

    part: str
    voxel_mm: float
    contender: str
    measure: str
    value: float
    unit: str
    gpu: str
    torch: str
    commit: str
    date: str


class Table:
    """Prints each measurement and keeps the file of all of them up to date."""

    def __init__(self, folder: Path, gpu: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"chain-{results_file.slug(gpu)}.csv"
        common = results_file.gpu_provenance(gpu)
        self._common = {k: v for k, v in common.items() if k != "cuda"}
        self._rows: list[Row] = []

    def add(self, part: str, mm: float, contender: str, measure: str, value: float, unit: str):
        self._rows.append(Row(part, mm, contender, measure, value, unit, **self._common))
        print(f"{part:<10} {mm:g} mm  {contender:<28} {measure:<22} {value:>10.4g} {unit}")
        sys.stdout.flush()
        with self.path.open("w", newline="") as file:
            names = [field.name for field in fields(Row)]
            writer = csv.DictWriter(file, names, lineterminator="\n")
            writer.writeheader()
            for row in self._rows:
                writer.writerow({**asdict(row), "value": f"{row.value:.5g}"})


@dataclass(frozen=True)
class Bench:
    """What every part needs: files, weights, device, where results go, and brains to make sick."""

    table: Table
    watch: AnyStopwatch
    device: str
    mm: float
    scans: list[Path]
    weights: Path
    folder: Path
    brains: list[Brain]

    @property
    def has_bf16(self) -> bool:
        """Whether the device multiplies bfloat16; a CPU that does not takes five times as long."""
        return self.device == "cuda" or (_C is not None and bool(_C.has_bf16()))

    def screener(self, precision: Precision = "float32") -> Screener:
        """With the chain that stays on the device, the networks in ``precision``.

        A rehearsal runs that chain on the CPU.
        """
        screener = Screener(self.weights, runtime="torch", device=self.device)
        if precision != "float32" or self.device == "cpu":
            model, options = load_screening_model(self.weights), Options("enhanced", 0, 1.0)
            screener.chain = DeviceChain(
                model, screener.calibration, self.device, options, precision
            )
        return screener
