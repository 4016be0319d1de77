"""The log of a training: CSV tables, pictures, and files for TensorBoard."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from dal_fast.imaging.atomic import write_bytes
from dal_fast.imaging.folders import file_refusals, make_folder
from dal_fast.report import png
from dal_fast.training.config import LOSS_NAMES
from dal_fast.training.loop import Step
from dal_fast.training.validation import COLUMNS, ValidationResult

_STEP = ("step", "stage", "rate", "seconds", "synthesis", "total")


class Journal:
    """``log.csv``, ``validation.csv``, ``pictures/`` and ``tensorboard/`` of a folder.

    Args:
        folder: of the training.
        done: steps that the checkpoint holds; the lines of later steps, which a killed run made,
            are removed.
        kind: of the model.

    Raises:
        OutputError: ``output-unwritable`` or ``disk-full``, here and in every method.
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
            with file_refusals(self.folder / "tensorboard"):
                for name, value in step.losses.items():
                    self._board.add_scalar(f"{step.stage}/{name}", value, step.number)

    def validation(self, step: int, result: ValidationResult) -> None:
        metrics = {name: f"{value:.4f}" for name, value in result.metrics.items()}
        self._validations.add({"step": step, **metrics})
        folder = self.folder / "pictures"
        make_folder(folder)
        write_bytes(folder / f"step-{step:06d}.png", png.encode(result.picture))
        if self._board is not None:
            with file_refusals(self.folder / "tensorboard"):
                for name, value in result.metrics.items():
                    self._board.add_scalar(f"held-out/{name}", value, step)
                self._board.add_image("held-out", result.picture, step, dataformats="HWC")

    def close(self) -> None:
        if self._board is not None:
            with file_refusals(self.folder / "tensorboard"):
                self._board.close()


class _Table:
    """A CSV file to which a line at a time is added."""

    def __init__(self, path: Path, columns: tuple[str, ...], done: int) -> None:
        self.path, self.columns = path, columns
        kept = []
        if path.is_file():
            with path.open(newline="") as file:
                rows = csv.DictReader(file)
                kept = [r for r in rows if (r["step"] or "").isdigit() and int(r["step"]) <= done]
        write_bytes(path, self._lines(kept, header=True).encode())

    def add(self, row: dict[str, Any]) -> None:
        with file_refusals(self.path), self.path.open("a", newline="") as file:
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
