"""How far every op is from float64: ``python -m benchmarks.accuracy [--quick]``.

Largest and RMS error per op, kind of input, storage type and instruction set, against the float64
reference on the same stored values. "Naive" is the textbook's formula in float32, in torch: what
E[x²] − μ² loses (beside an offset of 1,000 even float64 loses 1e-7 by it, which is ours here). For
ops that choose and do not compute, the error is the share of voxels that differ.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.results_file import FOLDER
from benchmarks.volumes import Volumes, brain
from dal_fast import ops, reference
from dal_fast.context import _C

FULL, QUICK = (64, 72, 60), (20, 22, 24)
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Pair:
    """Two volumes in float64 and their data range."""

    x: Tensor
    y: Tensor
    data_range: float


@dataclass(frozen=True)
class Error:
    """In units of the result's range; ``naive``: the textbook's formula's largest error."""

    op: str
    inputs: str
    dtype: str
    isa: str
    worst: float
    rms: float
    naive: float | None


def pairs(v: Volumes) -> dict[str, Pair]:
    """A brain, and what is hard on E[x²] − μ²."""
    x, y = v.scan.double(), v.healthy.double()
    noise = torch.randn(2, *x.shape, generator=torch.Generator().manual_seed(1)).double()
    return {
        "brain": Pair(x, y, 1.0),
        "two constants": Pair(torch.full_like(x, 0.625), torch.full_like(y, 0.4), 1.0),
        "deviation 1e-4": Pair(0.5 + 1e-4 * noise[0], 0.5 + 1e-4 * noise[1], 1.0),
        "brain + 1,000": Pair(x + 1000, y + 1000, 1.0),
        "16-bit integers": Pair((32767 * x).round(), (32767 * y).round(), 32767.0),
    }


Call = Callable[[Tensor, Tensor, float, str], Tensor]


def _gradients(loss: Callable[..., Tensor], x: Tensor, y: Tensor, **options: object) -> Tensor:
    x, y = x.detach().requires_grad_(), y.detach().requires_grad_()
    return torch.stack(torch.autograd.grad(loss(x, y, **options), (x, y)))


# name: ours, the formula in the type of its inputs, and is the error one of the largest value?
ARITHMETIC: dict[str, tuple[Call, Callable[[Tensor, Tensor, float], Tensor], bool]] = {
    "SSIM map": (
        lambda x, y, r, b: ops.ssim3d(x, y, data_range=r, reduction="none", backend=b),
        lambda x, y, r: reference.ssim3d(x, y, data_range=r),
        False,
    ),
    "mean SSIM": (
        lambda x, y, r, b: ops.ssim3d(x, y, data_range=r, backend=b),
        lambda x, y, r: reference.ssim3d(x, y, data_range=r).mean(),
        False,
    ),
    "hybrid score": (
        lambda x, y, r, b: ops.hybrid_score(x, y, data_range=r, backend=b) / r,
        lambda x, y, r: reference.hybrid_score(x, y, data_range=r) / r,
        False,
    ),
    "L1 + SSIM loss, gradients": (
        lambda x, y, r, b: _gradients(ops.l1_ssim_loss, x, y, data_range=r, backend=b),
        lambda x, y, r: _gradients(reference.l1_ssim_loss, x, y, data_range=r),
        True,
    ),
}


def decisions(v: Volumes, dtype: torch.dtype) -> dict[str, Callable[[str], Tensor]]:
    """Ops that choose or count; each takes a backend."""
    scan, anatomy, logits = (t.to(dtype) for t in (v.scan, v.anatomy, v.logits))
    score = v.score.to(dtype)

    def average_precision(backend: str) -> Tensor:
        if backend == "reference":
            exact = reference.exact_curve(score.float(), v.lesion)
            return torch.tensor(reference.average_precision(exact))
        metrics = ops.VoxelMetrics(backend=backend)
        metrics.update(score, v.lesion)
        return torch.tensor(metrics.average_precision())

    return {
        "Canny of three grey levels": lambda b: ops.canny3d(anatomy, mask=v.mask, backend=b),
        "Canny of the scan": lambda b: ops.canny3d(scan, mask=v.mask, backend=b),
        "logits to edges": lambda b: ops.anatomy_edges(logits, mask=v.mask, backend=b),
        "one-hot": lambda b: ops.onehot_ste(logits, backend=b),
        "anatomical image": lambda b: ops.anatomy_image(logits, mask=v.mask, backend=b),
        "median 3³": lambda b: ops.median3d(scan, 3, backend=b),
        "median 5³": lambda b: ops.median3d(scan, 5, backend=b),
        "components, 26 neighbours": lambda b: ops.components3d(v.blobs, backend=b),
        "remove components below 30 voxels": lambda b: ops.remove_small(v.blobs, 30, backend=b),
        "average precision": average_precision,
    }


ENHANCEMENT, LEVELS = "TFCE", 24  # the reference labels the map once for each of its values


def measure(shape: tuple[int, int, int], isas: Sequence[str]) -> Iterator[Error]:
    """Every row, op by op; the instruction set in use is as before afterwards."""
    volumes, before = brain(shape), _C.current_isa()
    try:
        for dtype in DTYPES:
            yield from _arithmetic(volumes, dtype, isas)
            yield from _decisions(volumes, dtype, isas)
            yield from _enhancement(volumes, dtype, isas)
    finally:
        _C.set_isa(before)


def _arithmetic(v: Volumes, dtype: torch.dtype, isas: Sequence[str]) -> Iterator[Error]:
    for inputs, pair in pairs(v).items():
        x, y = pair.x.to(dtype), pair.y.to(dtype)
        if not (x.isfinite().all() and y.isfinite().all()):
            continue  # beyond the type's range
        for name, (ours, formula, relative) in ARITHMETIC.items():
            exact = formula(x.double(), y.double(), pair.data_range)
            scale = float(exact.abs().max()) or 1.0 if relative else 1.0
            naive = None
            if dtype == torch.float32:
                naive = _difference(formula(x, y, pair.data_range), exact, scale)[0]
            for isa in isas:
                _C.set_isa(isa)
                worst, rms = _difference(ours(x, y, pair.data_range, "cpu"), exact, scale)
                yield Error(name, inputs, _name(dtype), isa, worst, rms, naive)


def _decisions(v: Volumes, dtype: torch.dtype, isas: Sequence[str]) -> Iterator[Error]:
    for name, call in decisions(v, dtype).items():
        exact = call("reference").double()
        for isa in isas:
            _C.set_isa(isa)
            ours = call("cpu").double()
            if exact.ndim:  # voxels, of which some differ
                worst = rms = float((ours != exact).double().mean())
            else:
                worst, rms = _difference(ours, exact, 1.0)
            yield Error(name, "brain", _name(dtype), isa, worst, rms, None)


def _enhancement(v: Volumes, dtype: torch.dtype, isas: Sequence[str]) -> Iterator[Error]:
    """Of the largest value; the anomaly map in steps, so that the reference ends."""
    x = ((v.anomaly / v.anomaly.max() * LEVELS).round() / LEVELS).to(dtype)
    exact = reference.tfce3d(x.double(), None, 0.5, 2.0, 26)
    scale, naive = float(exact.max()), None
    if dtype == torch.float32:
        naive = _difference(reference.tfce3d(x, None, 0.5, 2.0, 26), exact, scale)[0]
    for isa in isas:
        _C.set_isa(isa)
        worst, rms = _difference(ops.tfce3d(x, backend="cpu"), exact, scale)
        yield Error(ENHANCEMENT, "brain", _name(dtype), isa, worst, rms, naive)


def _difference(ours: Tensor, exact: Tensor, scale: float) -> tuple[float, float]:
    error = (ours.double() - exact).abs() / scale
    return float(error.max()), float(error.square().mean().sqrt())


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def write(rows: Sequence[Error], path: Path) -> None:
    """As CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Error)], lineterminator="\n")
        writer.writeheader()
        for row in rows:
            values = asdict(row).items()
            writer.writerow({k: f"{x:.2g}" if isinstance(x, float) else x for k, x in values})


def table(rows: Sequence[Error]) -> Table:
    """One line an op and kind of input: largest and RMS error by type, of the worst path."""
    shown = Table(title="error against float64: largest (RMS), the worst instruction set")
    names = [_name(dtype) for dtype in DTYPES]
    for heading in ("op", "inputs", *names, "naive, float32"):
        shown.add_column(heading)
    for op, inputs in dict.fromkeys((r.op, r.inputs) for r in rows):
        cells, naive = [], ""
        for name in names:
            of = [r for r in rows if (r.op, r.inputs, r.dtype) == (op, inputs, name)]
            worst = max(of, key=lambda r: r.worst, default=None)
            cells.append(f"{worst.worst:.1g} ({worst.rms:.1g})" if worst else "–")
            naive = next((f"{r.naive:.1g}" for r in of if r.naive is not None), naive)
        shown.add_row(op, inputs, *cells, naive)
    return shown


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} instead of {FULL} voxels")
    parser.add_argument("--out", type=Path, default=FOLDER / "accuracy.csv")
    options = parser.parse_args(arguments)
    isas = _C.supported_isas()
    rows = list(measure(QUICK if options.quick else FULL, isas))
    write(rows, options.out)
    console = Console()
    console.print(table(rows))
    console.print(f"written: {options.out} ({', '.join(isas)})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
