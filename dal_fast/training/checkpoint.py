"""Checkpoints: written atomically, read without executing anything that they hold."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from dal_fast.errors import Code, InputError
from dal_fast.imaging.atomic import write_bytes

KEYS = {"config", "done", "model", "average", "optimiser"}


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; the old one stays until the new one is whole on the disk.

    Raises:
        OutputError: ``output-unwritable`` or ``disk-full``.
    """
    content = io.BytesIO()  # torch turns an error of the file that it writes into one of its own
    torch.save(state, content)
    write_bytes(path, content.getvalue())


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint: tensors and plain values only.

    Raises:
        InputError: ``train-corrupt``.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise InputError(Code.TRAIN_CORRUPT, f"{path} is not a checkpoint: {error}") from None
    if not isinstance(state, dict) or set(state) != KEYS:
        raise InputError(Code.TRAIN_CORRUPT, f"{path} is not a checkpoint of dal_fast")
    return state
