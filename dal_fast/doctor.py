"""``dal-fast doctor``: everything that a bug report needs, in plain text."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from dal_fast import __version__

_CORE = ("torch", "numpy", "nibabel", "isal", "safetensors", "pydantic", "typer", "rich")
_EXTRAS = {
    "demo": ("nilearn",),
    "train": ("lightning-fabric", "tensorboard"),
    "evaluate": ("matplotlib", "scipy"),
    "lmdb": ("lmdb",),
    "openvino": ("openvino",),
    "onnx": ("onnxruntime", "onnxscript"),
    "ray": ("ray", "pyarrow"),
    "triton": ("triton",),
}


def report() -> tuple[list[str], bool]:
    """The lines to print, and whether everything that screening needs is there."""
    lines: list[str] = []
    healthy = True
    for title, section in (
        ("versions", _versions()),
        ("processor", _processor()),
        ("backends", _backends()),
        ("graphics", _graphics()),
        ("weights", _weights()),
        ("extras", _extras()),
    ):
        lines += ["", title] if lines else [title]
        for name, value, good in section:
            lines.append(f"  {name:<22}{value}")
            healthy &= good
    lines += ["", "ready to screen" if healthy else "NOT ready: see the lines with 'problem' above"]
    return lines, healthy


Section = Iterator[tuple[str, str, bool]]


def _versions() -> Section:
    yield "dal_fast", __version__, True
    yield "python", f"{platform.python_version()} ({sys.executable})", True
    yield "system", platform.platform(), True
    for name in _CORE:
        version = _version(name)
        yield name, version or "problem: not installed", version is not None


def _processor() -> Section:
    import torch

    from dal_fast import backend

    yield "model", _cpu_model(), True
    yield "cores", f"{os.cpu_count()} ({len(_affinity())} usable)", True
    yield "threads of torch", str(torch.get_num_threads()), True
    if backend._C is not None:
        yield "instruction set", backend._C.current_isa(), True
        yield "supported", ", ".join(backend._C.supported_isas()), True
    for name in ("DAL_FAST_CPU", "DAL_FAST_BACKEND", "OMP_NUM_THREADS"):
        if name in os.environ:
            yield name, os.environ[name], True


def _backends() -> Section:
    import torch

    from dal_fast.backend import BACKENDS, why_not

    for name in BACKENDS:
        device = torch.device("cuda" if name in ("cuda", "triton") else "cpu")
        reason = why_not(name, device)
        if reason is None:
            yield name, "yes", True
        else:  # only the CPU kernels are needed everywhere
            yield name, f"{'problem' if name == 'cpu' else 'no'}: {reason}", name != "cpu"


def _graphics() -> Section:
    import torch

    if not torch.cuda.is_available():
        built = torch.version.cuda or "a build without CUDA"
        yield "GPU", f"none that torch sees (torch's CUDA: {built})", True
        return
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        memory = facts.total_memory / 2**30
        yield (
            f"cuda:{index}",
            f"{facts.name}, {memory:.0f} GiB, sm_{facts.major}{facts.minor}",
            True,
        )


def _weights() -> Section:
    from dal_fast.errors import DalFastError
    from dal_fast.models.weights import load_weights, weights_path, weights_sha256

    try:
        model = load_weights("default")
        yield "default", str(weights_path("default")), True
        yield "sha256", weights_sha256("default"), True
        yield "networks", ", ".join(model.parts), True
    except DalFastError as error:
        yield "default", f"problem [{error.code}]: {error.message}", False


def _extras() -> Section:
    for extra, names in _EXTRAS.items():
        for name in names:
            version = _version(name)
            hint = f"not installed (pip install 'dal_fast[{extra}]')"
            yield name, version or hint, True


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _affinity() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
