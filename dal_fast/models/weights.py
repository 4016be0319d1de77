"""Weight files: safetensors with the model's configuration and card in the metadata.

Parameters are stored in half precision and computed with in single precision. A file holds whole
parts (networks) of a model and names them; a model that was loaded without a part refuses to use
it. Loading executes nothing: safetensors is data only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import save

from dal_fast.errors import Code, InputError
from dal_fast.imaging.atomic import write_bytes
from dal_fast.models.autoencoder import AutoencoderConfig
from dal_fast.models.brain_net import BrainNet, BrainNetConfig
from dal_fast.models.config import DALConfig
from dal_fast.models.dal import DAL
from dal_fast.models.registry import PARTS_OF, AnyConfig, AnyModel, Trainable, build_model
from dal_fast.weights import weights_path

FORMAT = "dal-fast-weights-1"
_CONFIG: TypeAdapter[DALConfig | AutoencoderConfig | BrainNetConfig] = TypeAdapter(AnyConfig)


def save_weights(
    path: str | Path,
    model: Trainable,
    card: Mapping[str, Any],
    parts: Sequence[str],
) -> None:
    """Write parts of ``model`` atomically.

    Args:
        path: of the file, which is replaced in one step or not at all.
        model: its configuration goes along.
        card: JSON-serialisable facts about the training.
        parts: names of the trained networks.

    Raises:
        OutputError: ``output-unwritable`` or ``disk-full``.
    """
    tensors = {
        name: _stored(value.detach().cpu())
        for name, value in model.state_dict().items()
        if name.split(".")[0] in parts
    }
    metadata = {
        "format": FORMAT,
        "config": model.config.model_dump_json(),
        "parts": json.dumps(list(parts)),
        "card": json.dumps(dict(card)),
    }
    write_bytes(path, _sorted(save(tensors, metadata)))


def rewrite_card(source: str | Path, path: str | Path, facts: Mapping[str, Any]) -> None:
    """Write a weight file with some facts of its card replaced; the tensors' bytes stay.

    Args:
        source: a name of ``dal_fast.weights.PACKAGED`` or a path.
        path: of the new file, which may be the old one's.
        facts: JSON-serialisable, by their names in the card.

    Raises:
        InputError: ``weights-missing``, ``weights-corrupt``.
        OutputError: ``output-unwritable`` or ``disk-full``.
    """
    card = read_card(source) | dict(facts)  # which has checked the file
    content = weights_path(source).read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"]["card"] = json.dumps(card)
    text = json.dumps(header).encode()
    write_bytes(path, _sorted(len(text).to_bytes(8, "little") + text + content[8 + length :]))


def _sorted(content: bytes) -> bytes:
    """A safetensors file with its header in order, so that equal models are equal bytes."""
    length = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + length]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)  # tensors start at a multiple of 8
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def _stored(value: torch.Tensor) -> torch.Tensor:
    """Half precision; counters stay what they are."""
    return (value.half() if value.is_floating_point() else value).contiguous()


def load_weights(source: str | Path = "default") -> DAL:
    """The DAL of a weight file, in evaluation mode; see :func:`load_model`.

    Raises:
        InputError: ``weights-kind`` where it holds another model, and those of ``load_model``.
    """
    model = load_model(source)
    if not isinstance(model, DAL):
        raise _other_kind(source, model, "a DAL")
    return model


def load_screening_model(source: str | Path = "default") -> AnyModel:
    """The model of a weight file, which screens brains; see :func:`load_model`.

    Raises:
        InputError: ``weights-kind`` where it holds another model, and those of ``load_model``.
    """
    model = load_model(source)
    if isinstance(model, BrainNet):
        raise _other_kind(source, model, "a model that screens brains")
    return model


def load_brain_net(source: str | Path = "brain") -> BrainNet:
    """The brain extraction network of a weight file, in evaluation mode; see :func:`load_model`.

    Raises:
        InputError: ``weights-kind`` where it holds another model, and those of ``load_model``.
    """
    model = load_model(source)
    if not isinstance(model, BrainNet):
        raise _other_kind(source, model, "a brain extraction network")
    return model


def _other_kind(source: str | Path, model: Trainable, needed: str) -> InputError:
    return InputError(
        Code.WEIGHTS_KIND,
        f"{source} holds a model of kind {model.config.kind!r}, and this needs {needed}",
    )


def load_model(source: str | Path = "default") -> Trainable:
    """The model of a weight file, in evaluation mode.

    Args:
        source: ``"default"``, ``"published"`` or ``"brain"``, the weights that come with the
            package, or a path.

    Raises:
        InputError: ``weights-missing``, ``weights-corrupt`` (not a weight file, cut short, values
            that are not finite), ``weights-mismatch`` (another format, or tensors that do not fit
            the configuration).
    """
    path = weights_path(source)
    metadata, tensors = _read(path)
    if metadata.get("format") != FORMAT:
        raise InputError(
            Code.WEIGHTS_MISMATCH, f"{path} is not of format {FORMAT}: {metadata.get('format')!r}"
        )
    try:
        config = _CONFIG.validate_json(metadata["config"])
        parts = tuple(json.loads(metadata["parts"]))
    except (KeyError, ValueError, ValidationError) as error:
        raise InputError(Code.WEIGHTS_MISMATCH, f"{path}: bad metadata: {error}") from None
    if not set(parts) <= set(PARTS_OF[config.kind]):
        raise InputError(Code.WEIGHTS_MISMATCH, f"{path} has unknown parts {parts}")
    model = build_model(config, parts)
    _check_tensors(path, model, tensors)
    model.load_state_dict(
        {n: v.float() if v.is_floating_point() else v for n, v in tensors.items()}
    )
    return model.eval()


def read_card(source: str | Path = "default") -> dict[str, Any]:
    """The training facts that a weight file carries."""
    metadata, _ = _read(weights_path(source))
    return dict(json.loads(metadata.get("card", "{}")))


def _read(path: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise InputError(Code.WEIGHTS_CORRUPT, f"{path} is not readable: {error}") from None


def _check_tensors(path: Path, model: Trainable, tensors: dict[str, torch.Tensor]) -> None:
    want = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    have = {name: tuple(value.shape) for name, value in tensors.items()}
    if want != have:
        names = want.keys() | have.keys()
        wrong = sorted(name for name in names if want.get(name) != have.get(name))
        raise InputError(
            Code.WEIGHTS_MISMATCH,
            f"{path} does not fit its configuration: {len(wrong)} tensors differ, first {wrong[0]}",
        )
    broken = [name for name, value in tensors.items() if not value.isfinite().all()]
    if broken:
        raise InputError(
            Code.WEIGHTS_CORRUPT, f"{path}: {broken[0]} holds values that are not finite"
        )
