"""What the benchmarks of a weight file on drawn cases share: rows of a folder, and numbers.

Each case's row is appended to a file, a JSON object a line; the same command goes on where it
stopped, and ``--share 0/2`` and ``--share 1/2`` divide the work between two processes. Rows that
other weights made are refused; rows of other code are not told apart.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, ClassVar, Protocol, TypeVar

from rich.console import Console
from rich.progress import track

from dal_fast.errors import Code, InputError
from dal_fast.models import AnyModel, load_screening_model, read_card, weights_sha256
from dal_fast.screening.calibration import Calibration
from dal_fast.synthesis.brains import Brain, bids_sources, load_brains


class Row(Protocol):
    """A dataclass of a case: unique name, and SHA-256 of the weight file."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def case(self) -> str: ...

    @property
    def weights(self) -> str: ...


R = TypeVar("R", bound=Row)


@dataclass(frozen=True)
class Detector:
    """Weights that are measured.

    Attributes:
        model: in evaluation mode.
        calibration: of the weight file.
        digest: SHA-256 of the weight file.
    """

    model: AnyModel
    calibration: Calibration
    digest: str


def read_rows(out: Path, kind: type[R]) -> list[R]:
    """Every row of a folder, one for each case; a line that was cut off is left out."""
    rows = {}
    for path in sorted(out.glob("rows-*.jsonl")):
        for line in path.read_text("utf-8").splitlines(keepends=True):
            if line.endswith("\n"):
                row = kind(**json.loads(line))
                rows[row.case] = row
    return list(rows.values())


def mean_of(rows: Sequence[Row], name: str) -> float:
    """Of a field that is a number in every row."""
    return fmean(getattr(row, name) for row in rows)


def _whole_lines(path: Path) -> None:
    """Remove what a killed process left unfinished."""
    if path.is_file():
        text = path.read_bytes()
        path.write_bytes(text[: text.rfind(b"\n") + 1])


def append_rows(
    out: Path,
    kind: type[R],
    digest: str,
    cases: Mapping[str, Callable[[], R]],
    share: tuple[int, int] = (0, 1),
) -> None:
    """Measure the cases, or a share of them, that the folder does not hold.

    Args:
        out: the folder.
        kind: of the rows.
        digest: SHA-256 of the weight file.
        cases: by name, what measures it.
        share: number of this part, and parts.

    Raises:
        InputError: ``value`` for rows of other weights.
    """
    out.mkdir(parents=True, exist_ok=True)
    done = read_rows(out, kind)
    if any(row.weights != digest for row in done):
        raise InputError(Code.VALUE, f"{out} holds rows of other weights; name another folder")
    names = {row.case for row in done}
    number, parts = share
    own = [case for name, case in islice(cases.items(), number, None, parts) if name not in names]
    path = out / f"rows-{number}-of-{parts}.jsonl"
    _whole_lines(path)
    with path.open("a", encoding="utf-8") as file:
        for case in track(own, "measuring", console=Console(stderr=True)):
            file.write(f"{json.dumps(asdict(case()))}\n")
            file.flush()


def options_of(program: str, about: str | None, seeds: Sequence[int]) -> argparse.ArgumentParser:
    """The options that every such benchmark has; without ``--data`` nothing is measured."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=about)
    parser.add_argument("out", type=Path, help="folder of the rows")
    parser.add_argument("--data", type=Path, help="as for dal-fast train")
    parser.add_argument("--weights", default="default")
    parser.add_argument("--brains", type=int, default=8, help="held-out ones")
    parser.add_argument("--skip", type=int, default=17, help="leave out this many of them first")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(seeds))
    parser.add_argument("--share", type=_share, default=(0, 1), help="such as 0/2 and 1/2")
    return parser


def _share(text: str) -> tuple[int, int]:
    number, parts = (int(part) for part in text.split("/"))
    if not 0 <= number < parts:
        raise ValueError(text)
    return number, parts


def load(options: argparse.Namespace) -> tuple[Detector, list[Brain]]:
    """The weights and the held-out brains that the options name."""
    model = load_screening_model(options.weights)
    calibration = Calibration.model_validate(read_card(options.weights).get("healthy", {}))
    sources = bids_sources(options.data, held_out=True)[options.skip :][: options.brains]
    brains = load_brains(sources, model.config.voxel_mm)
    return Detector(model, calibration, weights_sha256(options.weights)), brains


def standard_error(values: Sequence[float]) -> float:
    """Of the mean; NaN for one value."""
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def short(value: float) -> str:
    """Three decimals, without a leading 0."""
    return f"{value:.3f}".replace("0.", ".", 1).replace("-", "−")


def signed(value: float) -> str:
    """The same, with its sign."""
    return f"{value:+.3f}".replace("0.", ".", 1).replace("-", "−")
