"""What a training leaves to read: CSV tables, pictures, and files for TensorBoard."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from dal_fast.imaging.atomic import write_bytes
from dal_fast.report import png
from dal_fast.training.config import LOSS_NAMES
from dal_fast.training.loop import Step
from dal_fast.training.validation import COLUMNS, Validation

_STEP = ("step", "stage", "rate", "seconds", "synthesis", "total")


class Journal:
    """``log.csv``, ``validation.csv``, ``pictures/`` and ``tensorboard/`` of a folder.

    Args:
        folder: of the training.
        done: steps that the checkpoint holds; later lines, of a run that was killed, go.
        kind: of the model.
    """

    def __init__(self, folder: Path, done: int, kind: str) -> None:
        self.folder = folder
        self._steps = _Table(folder / "log.csv", (*_STEP, *LOSS_NAMES[kind]), done)
        self._validations = _Table(folder / "validation.csv", ("step", *COLUMNS[kind]), done)
        self._board = _tensorboard(folder / "tensorboard", done)

    def step(self, step: Step) -> None:
        row = {
            "step": step.number,
            "stage": step.stage,
            "rate": f"{step.rate:.4g}",
            "seconds": f"{step.seconds:.3f}",
            "synthesis": f"{step.synthesis:.3f}",
            **{name: f"{value:.5f}" for name, value in step.losses.items()},
        }
        self._steps.add(row)
        if self._board is not None:
            for name, value in step.losses.items():
                self._board.add_scalar(f"{step.stage}/{name}", value, step.number)

    def validation(self, step: int, seen: Validation) -> None:
        numbers = {name: f"{value:.4f}" for name, value in seen.numbers.items()}
        self._validations.add({"step": step, **numbers})
        (self.folder / "pictures").mkdir(exist_ok=True)
        picture = self.folder / "pictures" / f"step-{step:06d}.png"
        write_bytes(picture, png.encode(seen.picture))
        if self._board is not None:
            for name, value in seen.numbers.items():
                self._board.add_scalar(f"held-out/{name}", value, step)
            self._board.add_image("held-out", seen.picture, step, dataformats="HWC")

    def close(self) -> None:
        if self._board is not None:
            self._board.close()


class _Table:
    """A CSV file that grows by a line at a time."""

    def __init__(self, path: Path, columns: tuple[str, ...], done: int) -> None:
        self.path, self.columns = path, columns
        kept = []
        if path.is_file():
            with path.open(newline="") as file:
                rows = csv.DictReader(file)
                kept = [r for r in rows if (r["step"] or "").isdigit() and int(r["step"]) <= done]
        write_bytes(path, self._lines(kept, header=True).encode())

    def add(self, row: dict[str, Any]) -> None:
        with self.path.open("a", newline="") as file:
            file.write(self._lines([row], header=False))

    def _lines(self, rows: list[dict[str, Any]], header: bool) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n", extrasaction="ignore")
        if header:
            writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()


def _tensorboard(folder: Path, done: int) -> Any:
    """A writer, or None where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=done + 1)  # type: ignore[no-untyped-call]
