"""What a NIfTI header promises, checked before anything is allocated for it.

Knows bytes and numbers only, no files; :mod:`dal_fast.imaging.nifti` lists the refusal codes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from dal_fast.errors import Code, InputError
from dal_fast.imaging.orientation import Note, read_affine

LONGEST_HEADER = 540
"""Bytes to read before :func:`parse_header`: NIfTI-2 has 540, NIfTI-1 348."""
SMALLEST_SIDE, LARGEST_SIDE, MOST_VOXELS = 8, 1024, 1 << 28
"""Voxels a side, and in all: 2^28 (645 a side) is 1 GiB once it is float32."""
MOST_EXTENSION_BYTES = 16 << 20
_OFFSET_NOISE = 0.01  # bytes
_CONVERT_AGAIN = "Copy or convert it again"

_DTYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8",
    256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
_COMPLEX, _COLOUR = (32, 1792, 2048), (128, 2304)
_UNREAD = {0: "no stated type", 1: "one bit", 1536: "128-bit floating point"}
_OTHER_FORMATS = (
    (b"\x1f\x8b", "it is compressed with gzip; rename it to .nii.gz"),
    (b"version https://git-lfs", "it is a pointer of Git LFS; fetch its content with git lfs pull"),
    (b"/annex/objects", "it is a pointer of git-annex; fetch its content with datalad get"),
    (b"PK\x03\x04", "it is a ZIP archive; unpack it first"),
    (b"BZh", "it is compressed with bzip2; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "it is compressed with zstd; unpack it first"),
    (b"\xfd7zXZ", "it is compressed with xz; unpack it first"),
    (b"NRRD", "it is an NRRD file; convert it to NIfTI"),
    (b"<", "it is a web page or XML; download the scan again"),
)


@dataclass(frozen=True)
class CheckedHeader:
    """A header that passed every check.

    Attributes:
        raw: nibabel's header object, kept for writing.
        shape: (I, J, K) voxels.
        dtype: of the stored voxels, with their byte order.
        offset: where the voxels begin, bytes from the start of the (decompressed) file.
        slope, inter: value = slope * stored + inter; (1, 0) when the header asks for no scaling.
        affine: (4, 4) float64, voxel index to world millimetres.
        notes: what is doubtful about the orientation.
    """

    raw: Any
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    offset: int
    slope: float
    inter: float
    affine: NDArray[np.float64]
    notes: tuple[Note, ...]

    @property
    def data_bytes(self) -> int:
        i, j, k = self.shape
        return i * j * k * self.dtype.itemsize

    @property
    def padding(self) -> int:
        """Bytes of zeros behind the voxels from which on they are more than padding.

        That is the smallest face of the volume: a size that is too small by one leaves no less.
        """
        i, j, _ = sorted(self.shape)
        return i * j * self.dtype.itemsize

    @property
    def total_bytes(self) -> int:
        """Length of the decompressed file: header, extensions and voxels."""
        return self.offset + self.data_bytes


def parse_header(block: bytes, name: str) -> CheckedHeader:
    """Check the first bytes of a NIfTI file.

    Args:
        block: the first :data:`LONGEST_HEADER` bytes, or all there are.
        name: of the file, for messages.

    Raises:
        InputError: one of the header codes of :mod:`dal_fast.imaging.nifti`.
    """
    raw, order = _decode(block, name)
    shape = _check_shape(raw["dim"], name)
    dtype = _check_dtype(int(raw["datatype"]), order, name)
    offset = _check_offset(float(raw["vox_offset"]), int(raw["sizeof_hdr"]) + 4, name)
    slope, inter = _check_scaling(float(raw["scl_slope"]), float(raw["scl_inter"]), name)
    affine, notes = read_affine(raw, shape, name)
    return CheckedHeader(raw, shape, dtype, offset, slope, inter, affine, tuple(notes))


def _decode(block: bytes, name: str) -> tuple[Any, str]:
    """nibabel's header and the byte order, from the header's own length or number of axes."""
    if len(block) < 348:
        if other := other_format(block):
            raise InputError(Code.NOT_NIFTI, f"{name} is not a NIfTI file: {other}")
        raise InputError(
            Code.NIFTI_TRUNCATED,
            f"{name} holds {len(block)} bytes, less than a header; copy or download it again",
        )
    for order in "<>":
        (length,) = struct.unpack(order + "i", block[:4])
        (axes,) = struct.unpack(order + "h", block[40:42])
        single = block[344:348] == b"n+1\0" or (block[344:348] == b"ni1\0" and len(block) > 352)
        if single and (length == 348 or 1 <= axes <= 7):
            raw = nib.Nifti1Header(block[:348], order, check=False)  # type: ignore[no-untyped-call]
            raw["sizeof_hdr"], raw["magic"] = 348, b"n+1"
            return raw, order
        if length == 540 and block[4:12] == b"n+2\0\r\n\x1a\n":
            if len(block) < 540:
                raise InputError(
                    Code.NIFTI_TRUNCATED,
                    f"{name} ends inside its NIfTI-2 header; copy or download it again",
                )
            return nib.Nifti2Header(block[:540], order, check=False), order  # type: ignore[no-untyped-call]
        if length == 348 and block[344:348] in (b"ni1\0", b"\0\0\0\0"):
            raise InputError(
                Code.UNSUPPORTED_FORMAT,
                f"{name} is an Analyze header or one half of a .hdr/.img pair; "
                "convert the pair to one .nii.gz file, from the DICOM files if you have them, as "
                "Analyze 7.5 does not say which side is left",
            )
    other = other_format(block) or "copy, download or convert it again"
    raise InputError(
        Code.NOT_NIFTI, f"{name} does not begin with a NIfTI-1 or NIfTI-2 header: {other}"
    )


def other_format(block: bytes) -> str | None:
    """What else than NIfTI a file with these first bytes is, and what to do then."""
    for start, advice in _OTHER_FORMATS:
        if block.startswith(start):
            return advice
    return None


def _check_shape(dim: NDArray[Any], name: str) -> tuple[int, int, int]:
    """Three sizes; further axes may have the size 1, or 0 where a writer left it unset."""
    count, *sizes = (int(d) for d in dim)
    if not 1 <= count <= 7:
        raise InputError(
            Code.DIMENSIONS,
            f"{name} declares {count} dimensions; NIfTI has 1 to 7. {_CONVERT_AGAIN}",
        )
    sizes = [size or 1 if axis > 2 else size for axis, size in enumerate(sizes[:count])]
    if min(sizes) <= 0:
        raise InputError(
            Code.SIZE_NONPOSITIVE, f"{name} declares the sizes {sizes}. {_CONVERT_AGAIN}"
        )
    if count < 3:
        few = f"the size {sizes[0]}" if count == 1 else f"the sizes {sizes}"
        raise InputError(
            Code.NOT_3D, f"{name} has {few}; a volume has three axes: pass the whole scan"
        )
    i, j, k = sizes[:3]
    if max(i, j, k) > LARGEST_SIDE or i * j * k > MOST_VOXELS:
        raise InputError(
            Code.SIZE_TOO_LARGE,
            f"{name} declares {i}×{j}×{k} voxels; "
            f"at most {LARGEST_SIDE} a side and {MOST_VOXELS} in all are read: resample or crop it",
        )
    if max(sizes[3:], default=1) > 1:
        raise InputError(
            Code.SEVERAL_FRAMES, f"{name} has the sizes {sizes}: several volumes; pass one of them"
        )
    if min(i, j, k) < SMALLEST_SIDE:
        raise InputError(
            Code.TOO_SMALL,
            f"{name} is {i}×{j}×{k} voxels; a brain volume has at least {SMALLEST_SIDE} a side: "
            "pass the whole scan",
        )
    return i, j, k


def _check_dtype(code: int, order: str, name: str) -> np.dtype[Any]:
    if code in _COMPLEX:
        raise InputError(
            Code.DTYPE_COMPLEX, f"{name} holds complex numbers (datatype {code}); pass magnitudes"
        )
    if code in _COLOUR:
        raise InputError(
            Code.DTYPE_COLOUR,
            f"{name} is a colour image (datatype {code}); pass the scan, not a picture of it",
        )
    if code not in _DTYPES:
        kind = _UNREAD.get(code, "an unknown type")
        raise InputError(
            Code.DTYPE_UNKNOWN,
            f"{name} holds voxels of {kind} (datatype {code}); save it as float32 or int16",
        )
    return np.dtype(order + _DTYPES[code])


def _check_offset(offset: float, least: int, name: str) -> int:
    """0 means right after the header; a fraction is cut off, less the noise of a float."""
    if offset == 0:
        return least
    if not least <= offset + _OFFSET_NOISE <= least + MOST_EXTENSION_BYTES:
        raise InputError(
            Code.VOX_OFFSET,
            f"{name} puts its voxels at byte {offset:g}, outside {least} to "
            f"{least + MOST_EXTENSION_BYTES}; where no extension follows the header, vox_offset "
            f"is {least}",
        )
    return int(offset + _OFFSET_NOISE)


def _check_scaling(slope: float, inter: float, name: str) -> tuple[float, float]:
    """The standard: a slope of 0 means none; writers of unscaled data also store NaN."""
    if np.isinf(slope) or np.isinf(inter):
        raise InputError(
            Code.SCALING,
            f"{name} has scl_slope {slope} and scl_inter {inter}; for voxels that need no scaling "
            "they are 1 and 0",
        )
    if slope == 0 or np.isnan(slope):
        return 1.0, 0.0
    if np.isnan(inter):
        raise InputError(
            Code.SCALING,
            f"{name} has scl_slope {slope} but scl_inter {inter}; without an intercept it is 0",
        )
    return slope, inter
