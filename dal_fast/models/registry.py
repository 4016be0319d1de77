"""Models by name, and by what describes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, overload

from pydantic import Discriminator, Tag

from dal_fast.errors import Code, InputError
from dal_fast.models import autoencoder, brain_net, dal
from dal_fast.models.autoencoder import Autoencoder, AutoencoderConfig, AutoencoderOutput
from dal_fast.models.brain_net import BrainNet, BrainNetConfig
from dal_fast.models.config import DALConfig
from dal_fast.models.dal import DAL, DALOutput, parts_needed


def _kind(config: Any) -> str:
    kind = config.get("kind", "dal") if isinstance(config, dict) else config.kind
    return str(kind)


AnyModel = DAL | Autoencoder
"""Models that screen a brain."""
Trainable = AnyModel | BrainNet
"""Models that a weight file may hold."""
AnyOutput = DALOutput | AutoencoderOutput
AnyConfig = Annotated[
    Annotated[DALConfig, Tag("dal")]
    | Annotated[AutoencoderConfig, Tag("autoencoder")]
    | Annotated[BrainNetConfig, Tag("brain")],
    Discriminator(_kind),
]
"""A configuration that says by ``kind`` whose it is; ``"dal"`` where it says nothing."""
PARTS_OF = {"dal": dal.PARTS, "autoencoder": autoencoder.PARTS, "brain": brain_net.PARTS}
"""Names of networks by the kind of model."""

_MODELS: dict[str, Callable[[], AnyModel]] = {
    "dal": lambda: DAL(DALConfig(recoupler="film")),
    "dal_closed_form": lambda: DAL(DALConfig(recoupler="closed_form")),
    "luo2023": lambda: Autoencoder(AutoencoderConfig()),
    "luo2023_spatial": lambda: Autoencoder(AutoencoderConfig(code="spatial", length=16)),
    "luo2023_vae": lambda: Autoencoder(AutoencoderConfig(code="variational")),
    "f_anogan": lambda: Autoencoder(AutoencoderConfig(code="adversarial", length=128)),
}


def model_names() -> list[str]:
    """Names that :func:`create_model` knows."""
    return sorted(_MODELS)


def create_model(name: str) -> AnyModel:
    """An untrained model: ``"dal"`` as published, ``"dal_closed_form"`` as shipped.

    ``"luo2023"``, ``"luo2023_spatial"``, ``"luo2023_vae"`` and ``"f_anogan"`` are those of
    :mod:`dal_fast.models.autoencoder`.

    Raises:
        InputError: ``model-unknown``.
    """
    if name not in _MODELS:
        raise InputError(
            Code.MODEL_UNKNOWN, f"there is no model {name!r}; choose of {', '.join(model_names())}"
        )
    return _MODELS[name]()


@overload
def build_model(config: BrainNetConfig, parts: Sequence[str] | None = None) -> BrainNet: ...
@overload
def build_model(
    config: DALConfig | AutoencoderConfig, parts: Sequence[str] | None = None
) -> AnyModel: ...
@overload
def build_model(
    config: DALConfig | AutoencoderConfig | BrainNetConfig, parts: Sequence[str] | None = None
) -> Trainable: ...
def build_model(
    config: DALConfig | AutoencoderConfig | BrainNetConfig, parts: Sequence[str] | None = None
) -> Trainable:
    """An untrained model of a configuration, with the parts that inference needs, or with these."""
    if isinstance(config, BrainNetConfig):
        return BrainNet(config, parts)
    if isinstance(config, AutoencoderConfig):
        return Autoencoder(config, parts)
    return DAL(config, parts)


def inference_parts(config: DALConfig | AutoencoderConfig | BrainNetConfig) -> tuple[str, ...]:
    """What inference needs of a model, and its weight file holds."""
    if isinstance(config, BrainNetConfig):
        return brain_net.PARTS
    return parts_needed(config) if isinstance(config, DALConfig) else autoencoder.NEEDED
