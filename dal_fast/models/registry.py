"""Models by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from dal_fast.errors import InputError
from dal_fast.models.autoencoder import Autoencoder, AutoencoderConfig
from dal_fast.models.config import DALConfig
from dal_fast.models.dal import DAL

_MODELS: dict[str, Callable[[], nn.Module]] = {
    "dal": lambda: DAL(DALConfig(recoupler="film")),
    "dal_closed_form": lambda: DAL(DALConfig(recoupler="closed_form")),
    "luo2023": lambda: Autoencoder(AutoencoderConfig()),
    "luo2023_spatial": lambda: Autoencoder(AutoencoderConfig(code="spatial", length=16)),
    "luo2023_vae": lambda: Autoencoder(AutoencoderConfig(code="variational")),
}


def model_names() -> list[str]:
    """Names that :func:`create_model` knows."""
    return sorted(_MODELS)


def create_model(name: str) -> nn.Module:
    """An untrained model: ``"dal"`` as published, ``"dal_closed_form"`` as shipped.

    ``"luo2023"``, ``"luo2023_spatial"`` and ``"luo2023_vae"`` are the autoencoders of
    :mod:`dal_fast.models.autoencoder`.

    Raises:
        InputError: ``model-unknown``.
    """
    if name not in _MODELS:
        raise InputError(
            "model-unknown", f"there is no model {name!r}; choose of {', '.join(model_names())}"
        )
    return _MODELS[name]()
