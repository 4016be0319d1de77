"""Read a NIfTI volume: either every voxel is as it was written, or the file is refused.

The header is checked before anything is allocated. A gzip stream is decompressed exactly as far as
the header promises, and its CRC and length are verified (nibabel alone reads most files with a
flipped bit as valid). A refusal takes about a second at most and no more memory than the file's own
voxels. An uncompressed ``.nii`` has no checksum, so that a flipped bit of a voxel goes unnoticed.

What is read is what nibabel and ITK read. A header that leaves something in doubt, above all which
side is left, is read with a note, see :mod:`dal_fast.imaging.orientation`.

Every refusal is one :class:`~dal_fast.InputError` with one of these codes:

===================== ===========================================================================
the file
``file-missing``      no such file
``not-a-file``        a folder, a pipe or a device
``file-unreadable``   permissions or the disk do not let it be read
``empty-file``        zero bytes
``unsupported-format`` not .nii or .nii.gz (MGZ, DICOM, NRRD), or an Analyze or .hdr/.img pair
the gzip stream
``not-gzip``          named .gz but no gzip stream
``gzip-truncated``    the stream ends early
``gzip-corrupt``      bad deflate data, CRC or length; bytes after the end of the stream
the header
``not-nifti``         neither NIfTI-1 nor NIfTI-2, of either byte order
``nifti-truncated``   fewer bytes than the header promises
``nifti-extra-data``  more bytes than the header promises, among them decompression bombs; less
                      than a plane of zeros is padding, and read
``dimensions``        a number of dimensions outside 1 to 7
``not-3d``            one or two dimensions
``several-frames``    more than one frame or component
``size-nonpositive``  a zero or negative size
``size-too-large``    more than 1024 voxels a side or 2^28 in all
``too-small``         fewer than 8 voxels a side
``dtype-complex``     complex numbers
``dtype-colour``      RGB or RGBA
``dtype-unknown``     any other datatype code that is not an integer or float of 8 to 64 bits
``vox-offset``        voxels inside the header, or 16 MiB behind it
``scaling``           infinite scl_slope or scl_inter
``affine-invalid``    a qform that is no rotation, and no usable sform; a scan that lies a
                      kilometre away
``affine-nonfinite``  NaN or infinity in the affine, and no usable qform
``affine-singular``   an affine that cannot be inverted, and no usable qform
``voxel-size``        voxels finer than 0.05 mm or coarser than 20 mm
the voxels
``all-nan``           no finite voxel at all
``nonfinite``         NaN or infinity among the voxels, with ``nonfinite="refuse"``
``all-zero``          every voxel 0
``constant``          every voxel the same
===================== ===========================================================================
"""

from __future__ import annotations

import gzip
import hashlib
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from isal import igzip, isal_zlib
from numpy.typing import NDArray

from dal_fast.errors import Code, InputError
from dal_fast.imaging.header import LONGEST_HEADER, CheckedHeader, other_format, parse_header
from dal_fast.imaging.orientation import Note
from dal_fast.imaging.other_formats import way_out
from dal_fast.imaging.paths import missing, no_file, path_of
from dal_fast.imaging.text import counted

_CHUNK = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_DEFLATE_LIMIT = 1032
"""Deflate cannot shrink more than 1032:1."""
_GZIP_ERRORS: Any = (gzip.BadGzipFile, isal_zlib.error)


@dataclass(frozen=True, eq=False)
class Volume:
    """One scan as stored, on its own grid and in its own axis order.

    Attributes:
        data: (I, J, K) float32, scaled as the header says.
        affine: (4, 4) float64, voxel index to world millimetres (RAS+).
        header: nibabel header, the template of what is written on the same grid.
        path: where it came from.
        sha256: of the file's bytes, hexadecimal.
        nonfinite: how many voxels were NaN or infinite and are now 0.
        notes: what the header leaves in doubt.
        title: what messages call it where it is no file, such as ``series 5 of /data/study``; its
            name alone is then taken from ``path``.
    """

    data: NDArray[np.float32]
    affine: NDArray[np.float64]
    header: Any
    path: Path
    sha256: str
    nonfinite: int
    notes: tuple[Note, ...] = ()
    title: str = ""

    @property
    def voxel_mm(self) -> tuple[float, float, float]:
        """Size of a voxel along the three stored axes, millimetres."""
        a, b, c = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(a), float(b), float(c)

    @property
    def shown(self) -> str:
        """What messages call it."""
        return self.title or str(self.path)


def read_volume(path: str | Path, nonfinite: Literal["refuse", "replace"] = "refuse") -> Volume:
    """Read one 3D NIfTI-1 or NIfTI-2 file, ``.nii`` or ``.nii.gz``, of either byte order.

    Args:
        path: of the file.
        nonfinite: ``"refuse"`` a scan with NaN or infinite voxels, or ``"replace"`` them by 0.

    Raises:
        InputError: one of the codes that the module's docstring lists; ``value`` for what is no
            path, such as an image in memory.
    """
    path = path_of(path)
    if nonfinite not in ("refuse", "replace"):
        raise InputError(Code.VALUE, f"nonfinite must be 'refuse' or 'replace', not {nonfinite!r}")
    size = _check_file(path)
    try:
        with path.open("rb") as file:
            header, stored = _read_voxels(file, size, path)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(Code.FILE_UNREADABLE, f"{path} cannot be read: {error.strerror}") from None
    data, replaced = _check_voxels(_scaled(stored, header), path, nonfinite)
    return Volume(data, header.affine, header.raw, path, digest, replaced, header.notes)


def _check_file(path: Path) -> int:
    """Size of an existing regular file with a name we read; never opens a pipe."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise missing(path) from None
    except (OSError, ValueError) as error:
        raise InputError(Code.FILE_UNREADABLE, f"{path} cannot be read: {error}") from None
    if not stat.S_ISREG(status.st_mode):
        raise no_file(path)
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        how = way_out(path)
        raise InputError(Code.UNSUPPORTED_FORMAT, f"{path} is not a .nii or .nii.gz file; {how}")
    if status.st_size == 0:
        raise InputError(Code.EMPTY_FILE, f"{path} is empty; copy or download it again")
    return status.st_size


def _read_voxels(file: IO[bytes], size: int, path: Path) -> tuple[CheckedHeader, NDArray[Any]]:
    """Header and stored voxels of a file of ``size`` bytes, whole and with nothing behind them."""
    name = str(path)
    if not name.lower().endswith(".gz"):
        return _read_stream(file, size, size, name)
    start = file.read(4)
    if start[:2] != _GZIP_MAGIC:
        raise _not_gzip(file, name)
    if start[3:] >= b"\x20":  # the three highest flags are reserved; decoders may ignore them
        raise InputError(
            Code.GZIP_CORRUPT, f"{name} has a damaged gzip header; copy or download it again"
        )
    file.seek(0)
    try:
        with igzip.GzipFile(fileobj=file, mode="rb") as stream:  # type: ignore[no-untyped-call]
            return _read_stream(stream, size, _DEFLATE_LIMIT * size, name)
    except EOFError:
        raise InputError(
            Code.GZIP_TRUNCATED,
            f"{name} ends inside its gzip stream, or other bytes follow it; copy or download it "
            "again",
        ) from None
    except _GZIP_ERRORS as error:
        raise InputError(
            Code.GZIP_CORRUPT,
            f"{name} is a damaged gzip stream ({error}); copy or download it again",
        ) from None


def _not_gzip(file: IO[bytes], name: str) -> InputError:
    """What a file that is only named .gz holds, and what to do about it."""
    file.seek(0)
    block = _read_up_to(file, LONGEST_HEADER)
    plain = name[: -len(".gz")]
    if other := other_format(block):
        advice = other
    else:
        try:
            parse_header(block, name)
        except InputError:
            advice = "copy or download it again"
        else:
            advice = f"it is an uncompressed NIfTI file: rename it to {Path(plain).name}"
    return InputError(Code.NOT_GZIP, f"{name} is named .gz but is not compressed; {advice}")


def _read_stream(
    stream: Any, size: int, most: int, name: str
) -> tuple[CheckedHeader, NDArray[Any]]:
    """Read what the header promises and not a byte more.

    Args:
        stream: of decompressed bytes.
        size: bytes of the file on disk.
        most: decompressed bytes that a file of that size can hold.
        name: for messages.
    """
    block = _read_up_to(stream, LONGEST_HEADER)
    if name.lower().endswith(".gz") and block.startswith(_GZIP_MAGIC):
        raise InputError(Code.NOT_NIFTI, f"{name} is compressed twice; unpack it once")
    header = parse_header(block, name)
    if header.total_bytes > most:
        raise InputError(
            Code.NIFTI_TRUNCATED,
            f"{name} promises {header.total_bytes} bytes; its {size} bytes cannot hold them. "
            "Copy or download it again",
        )
    if size > header.total_bytes + header.total_bytes // 8 + _CHUNK:
        raise _extra_data(name, header)
    head, filled = block[header.offset :], max(0, len(block) - header.offset)
    _skip(stream, header.offset - len(block))
    voxels = np.empty(header.data_bytes, np.uint8)  # pages are only touched as they are filled
    voxels[:filled] = np.frombuffer(head, np.uint8)
    while filled < voxels.size:
        chunk = stream.read(min(_CHUNK, voxels.size - filled))
        if not chunk:
            raise InputError(
                Code.NIFTI_TRUNCATED,
                f"{name} promises {voxels.size} bytes of voxels and holds {filled}; copy or "
                "download it again",
            )
        voxels[filled : filled + len(chunk)] = np.frombuffer(chunk, np.uint8)
        filled += len(chunk)
    rest = _read_up_to(stream, header.padding)  # where a gzip stream ends, its CRC is verified
    if len(rest) == header.padding or rest.strip(b"\0"):
        raise _extra_data(name, header)
    return header, voxels.view(header.dtype).reshape(header.shape, order="F")


def _extra_data(name: str, header: CheckedHeader) -> InputError:
    return InputError(
        Code.NIFTI_EXTRA_DATA,
        f"{name} goes on after the {header.total_bytes} bytes that its header promises; either "
        "the header's sizes are wrong or the rest does not belong to the scan. Convert it anew",
    )


def _read_up_to(stream: Any, count: int) -> bytes:
    block = b""
    while len(block) < count and (more := stream.read(count - len(block))):
        block += more
    return block


def _skip(stream: Any, count: int) -> None:
    while count > 0 and (skipped := stream.read(min(_CHUNK, count))):
        count -= len(skipped)


def _scaled(stored: NDArray[Any], header: CheckedHeader) -> NDArray[np.float32]:
    """slope * stored + inter in float64, slice by slice, rounded once to float32."""
    with np.errstate(over="ignore", invalid="ignore"):
        if (header.slope, header.inter) == (1.0, 0.0):
            return stored.astype(np.float32, order="F", copy=False)
        out = np.empty(stored.shape, np.float32, order="F")
        for k in range(stored.shape[2]):
            out[:, :, k] = stored[:, :, k].astype(np.float64) * header.slope + header.inter
    return out


def _check_voxels(
    data: NDArray[np.float32], path: Path, nonfinite: str
) -> tuple[NDArray[np.float32], int]:
    """Finite voxels that are not all alike, and how many had to be replaced."""
    low, high = data.min(), data.max()
    bad = 0
    if not (np.isfinite(low) and np.isfinite(high)):
        finite = np.isfinite(data)
        bad = data.size - int(np.count_nonzero(finite))
        if bad == data.size:
            raise InputError(
                Code.ALL_NAN,
                f"{path} has no finite voxel, so it holds no image; export or convert it again",
            )
        if nonfinite == "refuse":
            raise InputError(
                Code.NONFINITE,
                f"{path} has {counted(bad, 'NaN or infinite voxel')}; to read 0 there, pass "
                "--nonfinite replace (in Python nonfinite='replace')",
            )
        data[~finite] = 0
        low, high = data.min(), data.max()
    if low == high:
        code = Code.ALL_ZERO if low == 0 else Code.CONSTANT
        raise InputError(
            code,
            f"every voxel of {path} is {low:g}, so it holds no image; export or convert it again",
        )
    return data, bad
