"""What bfloat16 networks do to results: every engine of the C library on the same sets.

    python -m benchmarks.precision SET [SET ...] [--library LIBRARY]

SET is what ``dal-fast make-validation`` writes. Mean over cases of the average precision of the
voxels in the brain, the largest change of a case, of a scan's score, and seconds a scan.
"""

from __future__ import annotations

import argparse
import ctypes as c
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median
from types import ModuleType
from typing import Any

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from dal_fast import embedding
from dal_fast.evaluation.validation_set import read_rows
from dal_fast.ops import VoxelMetrics

ENGINES = ("openvino", "openvino-bf16")
DAL_ANOMALY_MAP, DAL_SECONDS_TOTAL = 1, 15
CONTRASTS = {"T1w": 1, "T2w": 2, "FLAIR": 3}
ROOT = Path(__file__).resolve().parents[1]


class DalOutput(c.Structure):
    _fields_ = (
        ("struct_size", c.c_uint32), ("what", c.c_int32), ("stride", c.c_int64 * 3),
        ("data", c.c_void_p),
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__)
    parser.add_argument("sets", type=Path, nargs="+", metavar="SET")
    parser.add_argument("--library", type=Path, help="default: the installed one")
    options = parser.parse_args(arguments)
    library = options.library or embedding.library_folder() / "libdal_fast.so.1"
    rows = [(folder, row) for folder in options.sets for row in read_rows(folder)]
    sessions = {name: Session(library, name) for name in ENGINES}
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ENGINES}
    for folder, row in track(rows, "screening"):
        scan, brain = nib.load(folder / row.scan), _mask(folder / row.brain)
        lesion = _mask(folder / row.lesion) if row.lesion else None
        for name, session in sessions.items():
            anomaly, score, seconds = session.run(scan, brain, row.contrast)
            precision = np.nan if lesion is None else average_precision(anomaly, lesion, brain)
            found[name].append((precision, score, seconds))
    Console().print(table(found))
    return 0


class Session:
    """An engine and a session of the C library, for scans of any size."""

    def __init__(self, library: Path, engine: str) -> None:
        self.dal, self.lib = _structs(), c.CDLL(str(library))
        self.error = self.dal.sized(self.dal.DalError)
        self.engine, self.session = c.c_void_p(), c.c_void_p()
        options = self.dal.sized(
            self.dal.DalOptions, engine=engine.encode(), threads=torch.get_num_threads(),
            engine_path=os.fsencode(embedding.engine_folder()),
        )  # fmt: skip
        bundle = os.fsencode(embedding.default_bundle())
        self._check(
            self.lib.dal_engine_open(bundle, c.byref(options), c.byref(self.engine), self._failure)
        )
        self._check(
            self.lib.dal_session_open(self.engine, None, c.byref(self.session), self._failure)
        )

    def run(
        self, scan: Any, brain: NDArray[np.bool_], contrast: str
    ) -> tuple[NDArray[np.float32], float, float]:
        """The anomaly map, the score, and seconds."""
        values = np.asfortranarray(scan.get_fdata(dtype=np.float32))
        anomaly = np.zeros(scan.shape, np.float32, order="F")
        image = self._image(values, 7)
        image.affine[:] = scan.affine.ravel().tolist()
        mask = self._image(np.asfortranarray(brain.astype(np.uint8)), 1)
        output = DalOutput(c.sizeof(DalOutput), DAL_ANOMALY_MAP, data=anomaly.ctypes.data)
        request = self.dal.sized(
            self.dal.DalRequest, scan=c.pointer(image), mask=c.pointer(mask),
            contrast=CONTRASTS[contrast], outputs_count=1,
            outputs=c.cast(c.pointer(output), c.c_void_p),
        )  # fmt: skip
        summary = self.dal.sized(self.dal.DalSummary)
        self._check(
            self.lib.dal_run(self.session, c.byref(request), c.byref(summary), self._failure)
        )
        return anomaly, summary.score, summary.seconds[DAL_SECONDS_TOTAL]

    def _image(self, array: NDArray[Any], dtype: int) -> Any:
        image = self.dal.sized(self.dal.DalImage, dtype=dtype, shape=array.shape)
        image.data = c.cast(array.ctypes.data, c.c_char_p)
        image.owner = array  # lives as long as the struct
        return image

    @property
    def _failure(self) -> Any:
        return c.byref(self.error)

    def _check(self, status: int) -> None:
        if status:
            raise SystemExit(self.error.message.decode())


def average_precision(
    anomaly: NDArray[np.float32], lesion: NDArray[np.bool_], brain: NDArray[np.bool_]
) -> float:
    metrics = VoxelMetrics()
    volumes = (anomaly, lesion & brain, brain)
    metrics.update(*(torch.from_numpy(np.ascontiguousarray(v))[None, None] for v in volumes))
    return metrics.average_precision()


def table(found: dict[str, list[tuple[float, float, float]]]) -> Table:
    first = np.array(found[ENGINES[0]])
    lesions = ~np.isnan(first[:, 0])
    shown = Table(f"{lesions.sum()} lesions, {len(first)} scans", "mean AP", "largest change of AP",
                  "largest change of a score", "median seconds")  # fmt: skip
    for name, values in found.items():
        rows = np.array(values)
        moved = np.abs(rows - first)
        shown.add_row(
            name,
            f"{fmean(rows[lesions, 0]):.4f}",
            f"{moved[lesions, 0].max():.4f}",
            f"{moved[:, 1].max():.3f}",
            f"{median(rows[:, 2]):.3f}",
        )
    return shown


def _mask(path: Path) -> NDArray[np.bool_]:
    return np.asfortranarray(np.asanyarray(nib.load(path).dataobj) > 0)


def _structs() -> ModuleType:
    """Those of the example that needs nothing of ours."""
    path = ROOT / "examples/python/ctypes_screen.py"
    spec = importlib.util.spec_from_file_location("ctypes_screen", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main())
