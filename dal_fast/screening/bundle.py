"""A bundle: all that the C library needs, in one file.

safetensors, so that a small reader is enough. Networks are OpenVINO's intermediate form, as bytes;
what the library must know beside them stands in the metadata, text by text (numbers in decimal):

``format``, ``min_abi``, ``requires``
    What a reader must understand; ``requires`` names the features, separated by spaces.
``payload_sha256``
    Of everything behind the header.
``voxel_mm``, ``stride``, ``tissues``, ``tissue_input``, ``input_ceiling``
    Of the model, as in :class:`dal_fast.models.config.DALConfig`.
``threshold.<contrast>.<score>``, ``peak.<contrast>.<sign>.mean`` and ``.spread``
    Of :class:`dal_fast.screening.calibration.Calibration`.
``usual/<contrast>/<score>`` among the tensors
    Of :mod:`dal_fast.screening.usual_residual`, where the weights have it.
``brain.voxel_mm``, ``brain.shape.0`` to ``.2``, ``brain.reach_mm``
    Of the network that extracts brains.
``golden.<part>.<input>.<axis>``, ``golden.<part>.step``
    Shapes of the inputs (:func:`golden_input`) for which ``golden/<part>`` holds every ``step``-th
    value of the network's output, by eager torch: a reader compares its engine with them.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save
from torch import Tensor, nn

from dal_fast._version import __version__
from dal_fast.errors import Code, InputError, OutputError
from dal_fast.imaging.atomic import write_bytes
from dal_fast.imaging.folders import check_folder
from dal_fast.models import BrainNet, Trainable
from dal_fast.models.dal import DAL
from dal_fast.models.residual_head import CHANNELS as RESIDUAL_CHANNELS
from dal_fast.models.weights import load_brain_net, load_screening_model, read_card
from dal_fast.screening.calibration import STRUCTURE, Calibration
from dal_fast.screening.runtimes import check_installed
from dal_fast.screening.runtimes.compiled import example_inputs, free_sides
from dal_fast.screening.runtimes.precision import full_precision
from dal_fast.screening.scoring import ENHANCED
from dal_fast.screening.usual_residual import unpack
from dal_fast.weights import weights_sha256

FORMAT = "dal-fast-bundle-1"
MIN_ABI = 1
SUFFIX = ".dalb"
GOLDEN_VALUES = 4000
"""About so many values of each network's output are kept."""
_PARTS = ("tissue", "residual_head", "extractor")
"""Networks that the library runs."""


def write_bundle(out: Path, weights: str | Path = "default", brain: str | Path = "brain") -> None:
    """Write a bundle.

    Args:
        out: the new file, ``.dalb``.
        weights: of the model that screens, ``"default"`` or a path.
        brain: of the network that extracts brains, ``"brain"`` or a path.

    Raises:
        InputError: ``weights-kind`` for a model that the library has no chain for, and those of
            :func:`dal_fast.models.weights.load_model`.
        RuntimeUnavailable: ``runtime-unavailable`` without OpenVINO.
        OutputError: ``output-name``, ``output-exists``, ``output-unwritable``, ``disk-full``.
    """
    if out.suffix != SUFFIX:
        raise OutputError(Code.OUTPUT_NAME, f"a bundle's name ends in {SUFFIX}, not as {out.name}")
    if out.exists():
        raise OutputError(Code.OUTPUT_EXISTS, f"{out} is there already; name a new file")
    check_folder(out)
    write_bytes(out, bundle(weights, brain))


def bundle(weights: str | Path = "default", brain: str | Path = "brain") -> bytes:
    """The bytes of a bundle; see :func:`write_bundle`."""
    check_installed("openvino")
    model, extractor = load_screening_model(weights), load_brain_net(brain)
    if not isinstance(model, DAL) or not _has_a_chain(model):
        raise InputError(
            Code.WEIGHTS_KIND,
            f"{weights}: a bundle holds a DAL that recouples in closed form and names tissue by "
            "logits, such as the default weights",
        )
    healthy = Calibration.model_validate(read_card(weights).get("healthy", {}))
    usual = {
        f"usual/{contrast}/{score}": unpack(text).numpy()[None]
        for contrast, atlases in healthy.usual.items()
        for score, text in atlases.items()
    }
    facts = _facts(model) | _calibration(healthy) | _brain(extractor)
    facts |= {
        "format": FORMAT,
        "min_abi": str(MIN_ABI),
        "requires": " ".join([*_features(model), *(["usual_residual"] if usual else [])]),
        "dal_fast": __version__,
        "weights_sha256": weights_sha256(weights),
        "brain_weights_sha256": weights_sha256(brain),
    }
    atlas: Any = model.part("evidence")
    tensors: dict[str, NDArray[Any]] = usual | {"atlas": atlas.atlas[0].numpy()}
    for owner in (model, extractor):
        for part in (part for part in owner.parts if part in _PARTS):
            content, about = _network(owner, part)
            tensors |= content
            facts |= about
    return _with_checksum(tensors, facts)


def golden_input(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Values in [0, 1) that any language can make: ``splitmix64(index) >> 40``, times 2⁻²⁴."""
    z = (np.arange(1, 1 + int(np.prod(shape)), dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    values: NDArray[np.float32] = ((z ^ (z >> np.uint64(31))) >> np.uint64(40)).astype(np.float32)
    return (values * np.float32(2**-24)).reshape(shape)


def _has_a_chain(model: DAL) -> bool:
    config = model.config
    return (
        config.recoupler == "closed_form"
        and config.tissue_mode == "logits"
        and len(config.tissues) == 3
        and {"tissue", "evidence"} <= set(model.parts)
    )


def _features(model: DAL) -> list[str]:
    """What a reader must be able to do with this bundle."""
    features = ["closed_form", f"tissue_input_{model.config.tissue_input}", "extractor"]
    return features + (["residual_head"] if "residual_head" in model.parts else [])


def _facts(model: DAL) -> dict[str, str]:
    config = model.config
    return {
        "voxel_mm": repr(config.voxel_mm),
        "stride": str(model.stride),
        "tissues": str(len(config.tissues)),
        "tissue_input": config.tissue_input,
        "input_ceiling": repr(config.input_ceiling),
        "residual_channels": str(RESIDUAL_CHANNELS),
    }


def _calibration(healthy: Calibration) -> dict[str, str]:
    facts = {
        f"threshold.{contrast}.{score}": repr(value)
        for contrast, levels in healthy.thresholds.items()
        for score, value in levels.items()
        if score in (*ENHANCED, STRUCTURE)
    }
    for contrast, signs in healthy.peaks.items():
        for sign, (mean, spread) in signs.items():
            facts[f"peak.{contrast}.{sign}.mean"] = repr(mean)
            facts[f"peak.{contrast}.{sign}.spread"] = repr(spread)
    return facts


def _brain(extractor: BrainNet) -> dict[str, str]:
    config = extractor.config
    sides = {f"brain.shape.{axis}": str(side) for axis, side in enumerate(config.shape)}
    return sides | {
        "brain.voxel_mm": repr(config.voxel_mm),
        "brain.reach_mm": repr(config.reach_mm),
    }


def _network(model: Trainable, part: str) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """A network's form and golden output as tensors, and what the metadata says of them."""
    from dal_fast.screening.runtimes import openvino_runtime

    net, examples = model.part(part), example_inputs(model)[part]
    with TemporaryDirectory() as folder:
        written = Path(folder) / part
        network = openvino_runtime.convert(net, examples, free_sides(model))
        openvino_runtime.save(network, written, half=True)  # weights are stored in half precision
        tensors: dict[str, NDArray[Any]] = {
            f"openvino/{part}.{kind}": np.fromfile(written / f"network.{kind}", np.uint8)
            for kind in ("xml", "bin")
        }
    inputs = tuple(torch.from_numpy(golden_input(tuple(x.shape))) for x in examples)
    output = _eager(net, inputs).flatten()
    step = max(1, len(output) // GOLDEN_VALUES)
    tensors[f"golden/{part}"] = output[::step].contiguous().numpy()
    facts = {f"golden.{part}.step": str(step), f"golden.{part}.inputs": str(len(inputs))}
    for number, x in enumerate(inputs):
        facts |= {f"golden.{part}.{number}.{axis}": str(side) for axis, side in enumerate(x.shape)}
    return tensors, facts


def _eager(net: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    with torch.inference_mode(), full_precision():
        output: Tensor = net.eval()(*inputs)
    return output


def _with_checksum(tensors: dict[str, NDArray[Any]], facts: dict[str, str]) -> bytes:
    """A safetensors file in order, so that equal bundles are equal bytes."""
    content = save({name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)})
    length = int.from_bytes(content[:8], "little")
    payload = content[8 + length :]
    header = json.loads(content[8 : 8 + length])
    digest = hashlib.sha256(payload).hexdigest()
    header["__metadata__"] = facts | {"payload_sha256": digest}
    text = json.dumps(header, sort_keys=True).encode()
    text += b" " * (-len(text) % 64)  # tensors start at a multiple of 64
    return len(text).to_bytes(8, "little") + text + payload
