"""OpenVINO, the fastest way through the networks on a CPU."""

from __future__ import annotations

import contextlib
import errno
import threading
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dal_fast.cache import find, keep
from dal_fast.context import _C
from dal_fast.errors import Code, RuntimeUnavailable
from dal_fast.extras import isolate
from dal_fast.models import Trainable
from dal_fast.screening.runtimes.compiled import CompiledRuntime, Engine, check_fork, quiet
from dal_fast.screening.settings import BFLOAT16

BFLOAT16_TOLERANCE = 0.04
"""Of the eager output's largest magnitude, as in ``csrc/capi/engine.cpp``."""


def openvino_runtime(model: Trainable, bfloat16: bool = False) -> CompiledRuntime:
    """``model`` on OpenVINO's CPU device, with as many threads as torch has.

    Args:
        model: whose networks it runs.
        bfloat16: compute them in bfloat16 instead of float32.

    Raises:
        RuntimeUnavailable: see :func:`check_bfloat16`.
    """
    if not bfloat16:
        return CompiledRuntime("openvino", library().__version__, model, build)
    check_bfloat16()
    in_bfloat16 = partial(build, precision="bf16")
    version = library().__version__
    return CompiledRuntime(BFLOAT16, version, model, in_bfloat16, tolerance=BFLOAT16_TOLERANCE)


def check_bfloat16() -> None:
    """Refuse a processor that does not multiply bfloat16 itself: OpenVINO would take more time
    there, or float32.

    Raises:
        RuntimeUnavailable: ``runtime-unavailable``.
    """
    if _C is None or not _C.has_bf16():
        raise RuntimeUnavailable(
            Code.RUNTIME_UNAVAILABLE,
            "this processor has no arithmetic of bfloat16 (AVX512-BF16); choose --runtime openvino",
        )


def library() -> Any:
    """The module ``openvino``, which reports nothing to its makers.

    Raises:
        RuntimeUnavailable: in a process that was forked from one that uses it.
    """
    check_fork("openvino")
    isolate("openvino")
    import openvino

    return openvino


def build(
    net: nn.Module,
    examples: tuple[Tensor, ...],
    free: bool,
    folder: Path | None,
    precision: str = "f32",
) -> Engine:
    """Compile ``net``, to compute in ``precision``; its intermediate form is kept in ``folder``."""
    core = library().Core()
    network = _kept(core, folder)
    if network is None:
        network = convert(net, examples, free)
        keep(folder, lambda path: save(network, path))
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "ENABLE_CPU_PINNING": False,  # several processes would be pinned to the same cores
    }
    compiled = core.compile_model(network, "CPU", settings)
    requests = threading.local()  # a request serves one caller at a time

    def run(inputs: tuple[Tensor, ...]) -> Tensor:
        if not hasattr(requests, "infer"):
            requests.infer = compiled.create_infer_request().infer
        outputs = requests.infer([x.numpy() for x in inputs], share_inputs=True)
        return torch.from_numpy(outputs[0])

    return run


def convert(net: nn.Module, examples: tuple[Tensor, ...], free: bool) -> Any:
    """``net`` as an OpenVINO model whose volumes have any sides, if those are free."""
    openvino = library()
    with quiet(), torch.no_grad():  # training takes other ways through a network
        network = openvino.convert_model(net, example_input=examples)
    any_sides = [-1, -1, -1]
    shapes = [
        [*x.shape[:2], *any_sides] if free and x.dim() == 5 else list(x.shape) for x in examples
    ]
    network.reshape(dict(zip(network.inputs, map(openvino.PartialShape, shapes), strict=True)))
    return network


def save(network: Any, folder: Path, half: bool = False) -> None:
    """``network.xml`` and ``network.bin`` in a new ``folder``, in single or ``half`` precision.

    Raises:
        OSError: where they cannot be written; OpenVINO does not say why, such as a full disk.
    """
    folder.mkdir()
    try:
        library().save_model(network, folder / "network.xml", compress_to_fp16=half)
    except RuntimeError as error:
        raise OSError(errno.EIO, f"OpenVINO could not write it ({error})") from error


def _kept(core: Any, folder: Path | None) -> Any:
    """What an earlier run saved, or None."""
    with contextlib.suppress(RuntimeError, OSError):
        if (found := find(folder)) is not None and (found / "network.xml").is_file():
            return core.read_model(found / "network.xml")
    return None
