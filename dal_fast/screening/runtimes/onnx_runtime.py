"""ONNX Runtime: the portable engine."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dal_fast.cache import find, keep
from dal_fast.extras import isolate
from dal_fast.models import Trainable
from dal_fast.screening.runtimes.compiled import CompiledRuntime, Engine, check_fork, quiet

OPSET = 18


def onnx_runtime(model: Trainable) -> CompiledRuntime:
    """``model`` on ONNX Runtime's CPU provider, with as many threads as torch has."""
    return CompiledRuntime("onnx", library().__version__, model, build)


def library() -> Any:
    """The module ``onnxruntime``, which reports nothing to its makers.

    Raises:
        RuntimeUnavailable: in a process that was forked from one that uses it.
    """
    check_fork("onnx")
    isolate("onnxruntime")
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # on Windows the variable is not read
    return onnxruntime


def build(net: nn.Module, examples: tuple[Tensor, ...], free: bool, folder: Path | None) -> Engine:
    """Compile ``net``; its ONNX form is kept in ``folder``."""
    session = _kept(folder)
    if session is None:
        content = convert(net, examples, free)
        keep(folder, lambda path: save(content, path))
        session = _session(content)
    names = [entry.name for entry in session.get_inputs()]

    def run(inputs: tuple[Tensor, ...]) -> Tensor:
        feed = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
        return torch.from_numpy(session.run(None, feed)[0])

    return run


def convert(net: nn.Module, examples: tuple[Tensor, ...], free: bool) -> bytes:
    """``net`` as an ONNX model whose volumes have any sides, if those are free."""
    isolate("torch_compiler")
    sides = dict.fromkeys((2, 3, 4), torch.export.Dim.AUTO)
    shapes = tuple(sides if free and x.dim() == 5 else None for x in examples)
    with quiet(), torch.no_grad():  # training takes other ways through a network
        program = torch.onnx.export(
            net, examples, dynamo=True, dynamic_shapes=shapes, opset_version=OPSET, verbose=False
        )
    assert program is not None
    content: bytes = program.model_proto.SerializeToString()
    return content


def save(content: bytes, folder: Path) -> None:
    """``network.onnx`` in a new ``folder``."""
    folder.mkdir()
    (folder / "network.onnx").write_bytes(content)


def _session(model: bytes | str) -> Any:
    onnxruntime = library()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _kept(folder: Path | None) -> Any:
    """A session of what an earlier run saved, or None."""
    with contextlib.suppress(Exception):  # its errors have no common base; then build anew
        if (found := find(folder)) is not None:
            return _session(str(found / "network.onnx"))
    return None
