"""Where the parts of the C library lie: header, library, what build tools ask for, bundle.

They come with the package, beside its compiled module, as ``cmake --install`` lays them out.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from dal_fast.errors import Code, RuntimeUnavailable

_PACKAGE = Path(__file__).parent


def include_folder() -> Path:
    """The folder of ``dal_fast.h``.

    Raises:
        RuntimeUnavailable: ``runtime-unavailable`` where the package was built without the library,
            as are the errors of the functions below.
    """
    return _folder("include", "dal_fast.h")


def library_folder() -> Path:
    """The folder of ``libdal_fast.so.1``."""
    return _folder("lib", "libdal_fast.so.1")


def cmake_folder() -> Path:
    """The folder of ``dal_fastConfig.cmake``."""
    return _folder("share/cmake/dal_fast", "dal_fastConfig.cmake")


def pkgconfig_folder() -> Path:
    """The folder of ``dal_fast.pc``."""
    return _folder("lib/pkgconfig", "dal_fast.pc")


def engine_folder() -> Path:
    """The folder of the openvino package, which ``dal_options.engine_path`` takes."""
    spec = find_spec("openvino")
    if spec is None or spec.origin is None:
        raise RuntimeUnavailable(
            Code.RUNTIME_UNAVAILABLE,
            "openvino, which runs the networks for the C library, is not installed: "
            "pip install 'dal_fast[openvino]'",
        )
    return Path(spec.origin).parent


def default_bundle() -> Path:
    """The bundle of the default weights, which comes with the package; finding it takes no torch.

    ``make bundle`` writes it anew where weights have changed.
    """
    path = _PACKAGE / "share/dal_fast/default.dalb"
    if not path.is_file():
        raise RuntimeUnavailable(
            Code.RUNTIME_UNAVAILABLE,
            "this installation has no default bundle; write one: dal-fast bundle default.dalb",
        )
    return path


def _folder(name: str, holding: str) -> Path:
    """A folder beside the compiled module, which in an editable installation lies elsewhere."""
    from dal_fast import _C

    folder = Path(str(_C.__file__)).parent / name
    if not (folder / holding).is_file():
        raise RuntimeUnavailable(
            Code.RUNTIME_UNAVAILABLE,
            f"this installation has no {holding}; install dal_fast again, from a wheel or with pip",
        )
    return folder
