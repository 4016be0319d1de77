"""Weight files: those that come with the package, and where a name or path leads. No torch here."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from dal_fast.errors import Code, InputError

_FOLDER = Path(__file__).resolve().parent
DEFAULT = _FOLDER / "default.safetensors"
BRAIN = _FOLDER / "brain.safetensors"
PACKAGED = {"default": DEFAULT, "brain": BRAIN} | {
    path.stem: path for path in sorted(_FOLDER.glob("*.safetensors"))
}
"""Weight files that come with the package, by name: every one that lies here."""


def weights_path(source: str | Path = "default") -> Path:
    """The file behind a name of ``PACKAGED``, or a path.

    Raises:
        InputError: ``weights-missing``.
    """
    path = PACKAGED.get(str(source), Path(source))
    if not path.is_file():
        names = " or ".join(repr(name) for name in PACKAGED if name != "brain")
        raise InputError(
            Code.WEIGHTS_MISSING,
            f"there is no weight file {path}; give the path of a .safetensors file, or {names}",
        )
    return path


def weights_sha256(source: str | Path = "default") -> str:
    """SHA-256 of the weight file, as hexadecimal digits; computed once for as long as it stays."""
    path = weights_path(source)
    status = path.stat()
    return _sha256(path, status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=16)
def _sha256(path: Path, *_: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_config(source: str | Path = "default") -> dict[str, Any]:
    """The configuration of the model in a weight file, as it stands there.

    Args:
        source: a file that :func:`dal_fast.models.load_model` would take.
    """
    with weights_path(source).open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    config: dict[str, Any] = json.loads(header["__metadata__"]["config"])
    return config
