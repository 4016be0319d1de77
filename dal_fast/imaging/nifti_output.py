"""Write maps and masks as NIfTI files on the grid of a scan."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from isal import igzip
from numpy.typing import NDArray

from dal_fast.errors import Code, InputError, OutputError
from dal_fast.imaging.atomic import open_atomic
from dal_fast.imaging.nifti import Volume

_FREE_TEXT = ("descrip", "aux_file", "intent_name", "data_type", "db_name")
_CHUNK = 1 << 19  # bytes; what they are compressed to is copied whenever it outgrows its place
_PRIMER = 8  # bytes; see write_volume


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
        for start in range(0, voxels.nbytes, _CHUNK):
            stream.write(voxels.view(np.uint8)[start : start + _CHUNK].data)


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
