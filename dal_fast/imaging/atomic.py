"""Write files so that a reader sees the old content or the whole new one, never a part.

A temporary file beside the target (``.XXXXXXXX.dal-fast-tmp``), fsync, rename over the
target, fsync of the folder. Whatever goes wrong, the temporary file is removed and the target is
as it was. Refusal codes: ``output-unwritable`` (folder missing, read-only, permissions, target is
a folder), ``disk-full`` (no space or quota left).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from isal import igzip
from numpy.typing import NDArray

from dal_fast.errors import Code, InputError, OutputError
from dal_fast.imaging.nifti import Volume

_FREE_TEXT = ("descrip", "aux_file", "intent_name", "data_type", "db_name")
TEMPORARY_SUFFIX = ".dal-fast-tmp"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CHUNK = 1 << 22
_PRIMER = 8  # bytes; see write_volume


@contextlib.contextmanager
def open_atomic(path: str | Path) -> Iterator[IO[bytes]]:
    """A binary file that takes the name ``path`` when the block ends without an exception.

    Raises:
        OutputError: ``output-unwritable`` or ``disk-full``.
    """
    path = Path(path)
    temporary = path.with_name(f".{secrets.token_hex(8)}{TEMPORARY_SUFFIX}")
    try:
        if path.is_dir():
            raise OutputError(Code.OUTPUT_UNWRITABLE, f"{path} is a folder")
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        code = Code.DISK_FULL if error.errno in _FULL else Code.OUTPUT_UNWRITABLE
        raise OutputError(code, f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Atomically write ``content``; for text, encode it.

    Raises:
        OutputError: ``output-unwritable`` or ``disk-full``.
    """
    with open_atomic(path) as file:
        file.write(content)


def write_json(path: str | Path, content: dict[str, Any]) -> None:
    """Atomically write ``content`` for people to read.

    Raises:
        OutputError: ``output-unwritable`` or ``disk-full``.
    """
    write_bytes(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def write_volume(
    path: str | Path,
    data: NDArray[Any],
    like: Volume,
    dtype: Literal["float32", "uint8"] = "float32",
) -> None:
    """Atomically write a map or mask on the grid of a scan, as ``.nii.gz`` or ``.nii``.

    Geometry (sform, qform, their codes, voxel sizes, units, NIfTI version) is the scan's, byte
    for byte; scaling is none, the display window is the data's range, and free text and header
    extensions, which may name the patient, are left out. Same input, same bytes.

    Args:
        path: of the file.
        data: (I, J, K) on the scan's grid.
        like: the scan.
        dtype: ``"float32"`` for maps, ``"uint8"`` for masks.

    Raises:
        InputError: ``grid-mismatch``, ``output-name``, ``output-unwritable`` or ``disk-full``.
    """
    path = Path(path)
    if data.shape != like.data.shape:
        raise InputError(
            Code.GRID_MISMATCH, f"the data are {data.shape}, the scan {like.path} {like.data.shape}"
        )
    if not path.name.endswith((".nii", ".nii.gz")):
        raise OutputError(Code.OUTPUT_NAME, f"{path} must end in .nii.gz or .nii")
    voxels = np.asarray(data, dtype=np.dtype(dtype).newbyteorder("<")).reshape(-1, order="F")
    header = _header_like(like, voxels)
    with open_atomic(path) as file, _compressed(file, path) as stream:
        # ISA-L's fast loop takes the hash of a stream's second byte from a stale register, an
        # address (igzip_icf_body_h1_gr_bt.asm, write_first_byte): one file in some hundreds comes
        # out with another match. A flush of 8 bytes begins the stream in its slow loop.
        stream.write(header[:_PRIMER])
        stream.flush()
        stream.write(header[_PRIMER:])
        for start in range(0, voxels.size, _CHUNK):
            stream.write(voxels[start : start + _CHUNK].data)


def _compressed(file: IO[bytes], path: Path) -> contextlib.AbstractContextManager[Any]:
    if path.name.endswith(".gz"):  # no name and no time inside, so that equal data are equal files
        stream: contextlib.AbstractContextManager[Any]
        stream = igzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0)  # type: ignore[no-untyped-call]
        return stream
    return contextlib.nullcontext(file)


def _header_like(like: Volume, voxels: NDArray[Any]) -> bytes:
    """Header bytes and the four bytes that say "no extensions"."""
    header = like.header.as_byteswapped("<")
    header.set_data_dtype(voxels.dtype)
    header.set_data_shape(like.data.shape)
    header["vox_offset"] = header.sizeof_hdr + 4
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["cal_min"], header["cal_max"] = voxels.min(), voxels.max()
    header["slice_start"] = header["slice_end"] = header["slice_code"] = 0
    header["slice_duration"] = header["toffset"] = header["intent_code"] = 0
    for text in _FREE_TEXT:
        if text in header.keys():  # noqa: SIM118 - a header is no mapping
            header[text] = b""
    return header.binaryblock + bytes(4)  # type: ignore[no-any-return]


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the file system lets a folder be opened."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
