"""What can execute the kernels: instruction sets, a GPU, and what stands in for it.

======================  ==========================================================================
``portable`` ...        the CPU kernels of one instruction set
``cuda-on-host``        the CUDA sources, compiled by g++ and run by fibers (tests/cuda_on_host)
``cuda-on-host-asan``   the same under AddressSanitizer and UBSan (needs them preloaded)
``cuda-on-host-race``   the same, every access checked against barriers and warps
``triton-interpreter``  the Triton kernels in Triton's interpreter (needs TRITON_INTERPRET=1)
``cuda``, ``triton``    on a GPU
======================  ==========================================================================

``DAL_FAST_ENGINES`` chooses by name, separated by commas; else all that run without preparation.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import torch
from cuda_on_host.build import build, why_not
from support import DTYPES

from dal_fast import context
from dal_fast.ops import _dispatch

BUILT = Path(__file__).resolve().parents[1] / "build" / "cuda_on_host"
GPU_DTYPES = [torch.float32, torch.float16, torch.bfloat16]


@dataclass(frozen=True)
class Engine:
    """One way to run the ops.

    Attributes:
        name: as above.
        backend: what the ops are asked for.
        device: where their tensors are.
        small: so slow that only small volumes are worth while.
    """

    name: str
    backend: str
    device: str = "cpu"
    small: bool = False

    @property
    def emulated(self) -> bool:
        """Whether a CPU plays the GPU's threads."""
        return self.backend != "cpu" and self.device == "cpu"

    @property
    def dtypes(self) -> list[torch.dtype]:
        if self.name == "triton-interpreter":  # it rounds bfloat16 wrongly
            return GPU_DTYPES[:2]
        return DTYPES if self.backend == "cpu" else GPU_DTYPES

    @contextmanager
    def running(self):
        """The ops run on this engine; afterwards nothing may have been reported."""
        if self.backend == "cpu":
            with context.use(instruction_set=self.name):
                yield
        elif self.name.startswith("cuda-on-host"):
            with host_cuda(self.name.removeprefix("cuda-on-host").lstrip("-") or "fast"):
                yield
        else:
            yield


@cache
def host_module(mode: str):
    """The CUDA kernels as a Python module for CPU tensors, built when it is first asked for."""
    path = str(build(mode, BUILT))
    loader = importlib.machinery.ExtensionFileLoader("_cuda_on_host", path)
    spec = importlib.util.spec_from_file_location("_cuda_on_host", path, loader=loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    module.device_type = "cpu"
    return module


ORDERS = {"ascending": 0, "descending": 1, "random": 2, "priorities": 3}


@contextmanager
def host_cuda(mode: str, order: str = "ascending", seed: int = 1):
    """``backend="cuda"`` runs on CPU tensors, the threads of each block in the given order."""
    module, before = host_module(mode), _dispatch._CUDA
    race = mode == "race"
    module.coh_config(ORDERS[order], seed, 20 if race else 0, 4 if race else 1)
    _dispatch._CUDA = module
    try:
        yield module
    finally:
        _dispatch._CUDA = before
    assert module.coh_races() == 0, module.coh_message()


def _no_gpu(name: str) -> str | None:
    if not torch.cuda.is_available():
        return "there is no GPU"
    return _dispatch.why_not(name, torch.device("cuda"))


def _named(name: str) -> Engine:
    if name in context.supported_instruction_sets():
        return Engine(name, "cpu")
    if name in ("cuda", "triton"):
        return Engine(name, name, "cuda")
    if name == "triton-interpreter":
        return Engine(name, "triton", small=True)
    if name in ("cuda-on-host", "cuda-on-host-asan", "cuda-on-host-race"):
        return Engine(name, "cuda", small=name != "cuda-on-host")
    raise ValueError(f"DAL_FAST_ENGINES: no such engine: {name}")


def engines() -> list:
    """pytest parameters; ``None`` and a skip with the reason for one that cannot run here."""
    asked = os.environ.get("DAL_FAST_ENGINES")
    if asked:
        return [pytest.param(_named(name), id=name) for name in asked.split(",")]
    obstacles = {"cuda-on-host": why_not(), "cuda": _no_gpu("cuda"), "triton": _no_gpu("triton")}
    found = [pytest.param(_named(name), id=name) for name in context.supported_instruction_sets()]
    for name, obstacle in obstacles.items():
        marks = [pytest.mark.gpu] if name != "cuda-on-host" else []
        if obstacle:
            marks.append(pytest.mark.skip(reason=f"{name}: {obstacle}"))
        found.append(pytest.param(None if obstacle else _named(name), id=name, marks=marks))
    return found
