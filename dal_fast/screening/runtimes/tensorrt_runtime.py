"""TensorRT and TensorRT-RTX: one module, as both offer the same builder, parser and runtime.

An engine is built from the network's ONNX form for one kind of GPU. TensorRT-RTX builds for Ampere,
Ada and Blackwell without a GPU at hand, but not for Hopper; TensorRT builds for the GPU it runs on.
"""

from __future__ import annotations

import contextlib
import threading
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dal_fast.cache import find, keep
from dal_fast.errors import Code, InputError, RuntimeUnavailable
from dal_fast.extras import isolate
from dal_fast.models import Trainable
from dal_fast.screening.runtimes.compiled import CompiledRuntime, Engine
from dal_fast.screening.runtimes.onnx_runtime import convert

USUAL_SIDES, LONGEST_SIDE = (72, 96, 80), 256
"""Voxels of a brain at 2 mm, which engines are tuned for, and the most that they take."""
_TYPES = {"FLOAT": torch.float32, "HALF": torch.float16, "BF16": torch.bfloat16, "BOOL": torch.bool}


def tensorrt_runtime(model: Trainable, device: str) -> CompiledRuntime:
    """``model`` on a GPU of this machine.

    Args:
        model: whose networks become engines, built on this very GPU: TensorRT builds, loads and
            runs on the calling thread's current device.
        device: ``"cuda"`` or ``"cuda:N"``.
    """
    trt = library()

    def build(
        net: nn.Module, examples: tuple[Tensor, ...], free: bool, folder: Path | None
    ) -> Engine:
        with torch.cuda.device(device):
            kept = _kept(folder)
            if kept is not None:
                with contextlib.suppress(RuntimeUnavailable):  # damaged; then build anew
                    return _load(kept, device)
            plan = build_plan(convert(net, examples, free), examples)
            keep(folder, lambda path: save(plan, path))
            return _load(plan, device)

    gpu = torch.cuda.get_device_properties(device)
    version = f"{trt.__name__} {trt.__version__} {gpu.name} sm_{gpu.major}{gpu.minor}"
    return CompiledRuntime("tensorrt", version, model, build, device)


def library() -> Any:
    """``tensorrt`` where it is installed, else ``tensorrt_rtx``."""
    isolate("cuda")
    return import_module("tensorrt" if find_spec("tensorrt") else "tensorrt_rtx")


def build_plan(onnx: bytes, examples: tuple[Tensor, ...], gpu: str | None = None) -> bytes:
    """Compile an ONNX network whose volumes may have any sides up to ``LONGEST_SIDE``.

    Args:
        onnx: of :func:`dal_fast.screening.runtimes.onnx_runtime.convert`.
        examples: the smallest inputs.
        gpu: compute capability to build for, such as ``"sm80"``; default the GPU of this machine.

    Raises:
        RuntimeUnavailable: ``engine-build``, with what the builder says.
        InputError: ``value`` for an unknown GPU.
    """
    trt = library()
    log = _log(trt)
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    if not parser.parse(onnx):
        raise RuntimeUnavailable(
            Code.ENGINE_BUILD, f"TensorRT cannot read it: {parser.get_error(0)}"
        )
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # it is on by default, and costs three decimals
    if gpu is not None:
        _target(trt, config, gpu)
    profile = builder.create_optimization_profile()
    for index, example in enumerate(examples):
        given = network.get_input(index)
        head, sides = tuple(example.shape[:2]), -1 in tuple(given.shape)
        usual = (*head, *USUAL_SIDES) if sides else tuple(example.shape)
        longest = (*head, *[LONGEST_SIDE] * 3) if sides else usual
        profile.set_shape(given.name, tuple(example.shape), usual, longest)
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise RuntimeUnavailable(
            Code.ENGINE_BUILD, f"TensorRT cannot build it: {'; '.join(log.errors)}"
        )
    return bytes(plan)


def save(plan: bytes, folder: Path) -> None:
    """``network.engine`` in a new ``folder``."""
    folder.mkdir()
    (folder / "network.engine").write_bytes(plan)


def _kept(folder: Path | None) -> bytes | None:
    with contextlib.suppress(OSError):
        if (found := find(folder)) is not None:
            return (found / "network.engine").read_bytes()
    return None


def _target(trt: Any, config: Any, gpu: str) -> None:
    if not hasattr(config, "set_compute_capability"):
        raise InputError(
            Code.VALUE,
            "TensorRT builds for the GPU it runs on; install tensorrt-rtx to name another",
        )
    known = {name.lower(): value for name, value in trt.ComputeCapability.__members__.items()}
    if gpu.lower() not in known:
        raise InputError(Code.VALUE, f"gpu must be one of {', '.join(sorted(known))}, not {gpu!r}")
    config.num_compute_capabilities = 1
    config.set_compute_capability(known[gpu.lower()], 0)


def _log(trt: Any) -> Any:
    """A logger that keeps errors and is silent otherwise."""

    class Log(trt.ILogger):
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR:
                self.errors.append(message)

    return Log()


def _load(plan: bytes, device: str) -> Engine:
    trt = library()
    log = _log(trt)
    engine = trt.Runtime(log).deserialize_cuda_engine(plan)
    if engine is None:
        raise RuntimeUnavailable(
            Code.ENGINE_BUILD, f"TensorRT cannot load it: {'; '.join(log.errors)}"
        )
    context = engine.create_execution_context()
    names = [engine.get_tensor_name(n) for n in range(engine.num_io_tensors)]
    inputs = [n for n in names if engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT]
    (output,) = (n for n in names if n not in inputs)
    dtype = _TYPES[engine.get_tensor_dtype(output).name]
    one_at_a_time = threading.Lock()  # a context holds the shapes and addresses of one call

    def run(given: tuple[Tensor, ...]) -> Tensor:
        with torch.cuda.device(device), one_at_a_time:
            for name, x in zip(inputs, given, strict=True):
                context.set_input_shape(name, tuple(x.shape))
                context.set_tensor_address(name, x.data_ptr())
            shape = tuple(context.get_tensor_shape(output))
            out = torch.empty(shape, dtype=dtype, device=device)
            context.set_tensor_address(output, out.data_ptr())
            if not context.execute_async_v3(torch.cuda.current_stream().cuda_stream):
                raise RuntimeError(f"TensorRT failed: {'; '.join(log.errors)}")
        return out

    return run
