"""Checkpoints: written atomically, read without executing anything."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from dal_fast.errors import Code, InputError
from dal_fast.imaging.atomic import open_atomic

KEYS = {"config", "done", "model", "average", "optimiser"}


def save(path: Path, state: dict[str, Any]) -> None:
    """The old checkpoint stays until the new one is whole on the disk.

    Raises:
        InputError: ``output-unwritable`` or ``disk-full``.
    """
    with open_atomic(path) as file:
        torch.save(state, file)


def load(path: Path) -> dict[str, Any]:
    """Tensors and plain values only.

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
