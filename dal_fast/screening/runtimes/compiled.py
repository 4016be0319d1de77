"""The networks compiled by an engine, one engine a network; what lies between them stays ours.

An engine takes any volume whose sides are multiples of the model's stride; that of an autoencoder
or of a brain extraction network takes its model's own volume alone. It is built once, kept in a
cache, and compared with eager torch on every start: an engine that computes something else is
refused instead of used.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from dal_fast import __version__
from dal_fast.cache import cache_home
from dal_fast.errors import Code, RuntimeUnavailable
from dal_fast.models import Autoencoder, BrainNet, Trainable
from dal_fast.models.residual_head import CHANNELS as RESIDUAL_CHANNELS
from dal_fast.screening.runtimes.base import Runtime
from dal_fast.screening.runtimes.precision import full_precision

Engine = Callable[[tuple[Tensor, ...]], Tensor]
"""A network's output from its contiguous inputs, all on the engine's device."""
Build = Callable[[nn.Module, tuple[Tensor, ...], bool, Path | None], Engine]
"""Compiles a network, given example inputs, whether sides of volumes are free (multiples of the
stride) or the examples', and a folder of its own for what is worth keeping, if there is a cache."""

_LOADED_BY: dict[str, int] = {}
"""Process that first loaded an engine's library, by its name."""
TOLERANCE = 1e-3  # of the eager output's largest magnitude
_SHORTEST = 24  # voxels of the volume that an engine is built with; exporters fix sides of 1


class CompiledRuntime(Runtime):
    """Runs every network of a model through engines.

    Args:
        name: of the engine.
        version: of the engine's library, part of the cache's key.
        model: whose networks are replaced; moved to the device.
        build: how the engine compiles one.
        device: that the engine runs on.
        tolerance: of its outputs, a share of the eager output's largest magnitude.

    Raises:
        RuntimeUnavailable: ``engine-parity`` when an engine's output is not eager torch's.
    """

    def __init__(
        self,
        name: str,
        version: str,
        model: Trainable,
        build: Build,
        device: str = "cpu",
        tolerance: float = TOLERANCE,
    ) -> None:
        self.name, self.device = name, device
        entry = _cache_entry(name, version, model)
        self.model = model.eval()
        examples = [example_inputs(model, more) for more in ((0, 3) if free_sides(model) else (0,))]
        for part in [p for p in model.parts if p in examples[0]]:
            net = model.part(part)
            folder = None if entry is None else entry.with_name(f"{entry.name}-{part}")
            served = _Served(build(net, examples[0][part], free_sides(model), folder))
            net.to(device)
            for inputs in examples:
                on_device = tuple(x.to(device) for x in inputs[part])
                _check_parity(f"{name} engine of {part}", net, served, on_device, tolerance)
            setattr(model, part, served)
        self.model.to(device)


def check_fork(name: str) -> None:
    """Refuse to use an engine's library in a child of the process that loaded it.

    Its threads do not come along: building an engine hangs there, or ends the process. Engines that
    the parent built do run.

    Raises:
        RuntimeUnavailable: ``runtime-unavailable``.
    """
    if _LOADED_BY.setdefault(name, os.getpid()) != os.getpid():
        raise RuntimeUnavailable(
            Code.RUNTIME_UNAVAILABLE,
            f"runtime {name!r} was loaded before this process was forked; create the Screener "
            "before the fork, or start processes by 'spawn'",
        )


class _Served(nn.Module):
    """An engine in the place of a network."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.engine(tuple(x.contiguous() for x in inputs))


def free_sides(model: Trainable) -> bool:
    """Whether the networks take volumes of other sides than the examples'."""
    return not isinstance(model, Autoencoder | BrainNet)


def example_inputs(model: Trainable, more: int = 0) -> dict[str, tuple[Tensor, ...]]:
    """Inputs of every network that inference may use, by part, as small as engines take them.

    Args:
        model: says how many channels.
        more: strides by which each side is longer, where sides are free; other values elsewhere.
    """
    g = torch.Generator().manual_seed(more)
    if isinstance(model, BrainNet):
        return {
            part: (torch.rand((1, 1, *model.config.shape), generator=g),) for part in model.parts
        }
    if isinstance(model, Autoencoder):
        x = torch.rand((1, 1, *model.config.shape), generator=g)
        return {
            "encoder": (x,),
            "decoder": (torch.randn((1, *model.code_shape), generator=g),),
        }
    config = model.config
    blocks = _SHORTEST // model.stride + more
    # unequal sides, so that no engine can mistake one for another
    space = [model.stride * (blocks + axis) for axis in range(3)]

    def volume(channels: int) -> Tensor:
        return torch.rand((1, channels, *space), generator=g)

    mask = volume(1) > 0.3  # no pattern that a wrong engine might survive
    length = len(config.tissues) if config.modality == "means" else config.modality_length
    v = torch.rand((1, length), generator=g)
    channels = 1 + 2 * len(config.tissues) if config.tissue_input == "evidence" else 1
    return {
        "tissue": (volume(channels),),
        "modality": (volume(1), mask),
        "restorer": ((volume(1) > 0.8).float(),),
        "head": (volume(config.anatomy_channels),),
        "decoder": (volume(config.anatomy_channels), v, mask),
        "residual_head": (volume(RESIDUAL_CHANNELS),),
    }


def _check_parity(
    what: str, net: nn.Module, served: nn.Module, inputs: tuple[Tensor, ...], tolerance: float
) -> None:
    with torch.inference_mode(), full_precision():
        eager, other = net(*inputs), served(*inputs)
    worst = float((eager - other).abs().max() / eager.abs().max().clamp_min(1e-6))
    if not worst <= tolerance:
        raise RuntimeUnavailable(
            Code.ENGINE_PARITY,
            f"the {what} differs from eager torch by {worst:.2g} of the largest value "
            f"({tolerance:g} is allowed); choose --runtime torch and report this",
        )


def _cache_entry(name: str, version: str, model: Trainable) -> Path | None:
    """Of engines of these very weights and this library version; None without a cache."""
    home = cache_home()
    if home is None:
        return None
    content = hashlib.sha256(model.config.model_dump_json().encode())
    for key, value in sorted(model.state_dict().items()):
        content.update(key.encode() + value.detach().numpy().tobytes())
    facts = {"engine": f"{name} {version}", "dal_fast": __version__, "torch": torch.__version__}
    content.update(json.dumps(facts).encode())
    return home / name / content.hexdigest()[:32]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Exporters warn of themselves and of packages that nobody needs here; errors still come."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
