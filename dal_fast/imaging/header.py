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

LONGEST_HEADER = 540
"""Bytes to read before :func:`parse_header`: NIfTI-2 has 540, NIfTI-1 348."""
SMALLEST_SIDE, LARGEST_SIDE, MOST_VOXELS = 8, 1024, 1 << 28
"""Voxels a side, and in all: 2^28 (645 a side) is 1 GiB once it is float32."""
FINEST_MM, COARSEST_MM = 0.05, 20.0
MOST_EXTENSION_BYTES = 16 << 20

_DTYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8",
    256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
_COMPLEX, _COLOUR = (32, 1792, 2048), (128, 2304)


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
    """

    raw: Any
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    offset: int
    slope: float
    inter: float
    affine: NDArray[np.float64]

    @property
    def data_bytes(self) -> int:
        i, j, k = self.shape
        return i * j * k * self.dtype.itemsize

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
    dtype = _check_dtype(int(raw["datatype"]), int(raw["bitpix"]), order, name)
    offset = _check_offset(float(raw["vox_offset"]), int(raw["sizeof_hdr"]) + 4, name)
    slope, inter = _check_scaling(float(raw["scl_slope"]), float(raw["scl_inter"]), name)
    affine = _check_affine(raw, name)
    return CheckedHeader(raw, shape, dtype, offset, slope, inter, affine)


def _decode(block: bytes, name: str) -> tuple[Any, str]:
    """nibabel's header and the byte order, from the header's own length and magic."""
    if len(block) < 348:
        raise InputError(
            Code.NIFTI_TRUNCATED, f"{name} holds {len(block)} bytes, less than a header"
        )
    for order in "<>":
        (length,) = struct.unpack(order + "i", block[:4])
        if length == 348 and block[344:348] == b"n+1\0":
            return nib.Nifti1Header(block[:348], order, check=False), order  # type: ignore[no-untyped-call]
        if length == 540 and block[4:12] == b"n+2\0\r\n\x1a\n":
            if len(block) < 540:
                raise InputError(Code.NIFTI_TRUNCATED, f"{name} ends inside its NIfTI-2 header")
            return nib.Nifti2Header(block[:540], order, check=False), order  # type: ignore[no-untyped-call]
        if length == 348 and block[344:348] in (b"ni1\0", b"\0\0\0\0"):
            raise InputError(
                Code.UNSUPPORTED_FORMAT,
                f"{name} is an Analyze header or one half of a .hdr/.img pair; "
                "convert it to one .nii.gz file",
            )
    raise InputError(Code.NOT_NIFTI, f"{name} does not begin with a NIfTI-1 or NIfTI-2 header")


def _check_shape(dim: NDArray[Any], name: str) -> tuple[int, int, int]:
    count, *sizes = (int(d) for d in dim)
    if not 1 <= count <= 7:
        raise InputError(Code.DIMENSIONS, f"{name} declares {count} dimensions; NIfTI has 1 to 7")
    sizes = sizes[:count]
    if min(sizes) <= 0:
        raise InputError(Code.SIZE_NONPOSITIVE, f"{name} declares the sizes {sizes}")
    if count < 3:
        raise InputError(Code.NOT_3D, f"{name} has {count} dimensions {sizes}; a volume has 3")
    i, j, k = sizes[:3]
    if max(i, j, k) > LARGEST_SIDE or i * j * k > MOST_VOXELS:
        raise InputError(
            Code.SIZE_TOO_LARGE,
            f"{name} declares {i}×{j}×{k} voxels; "
            f"at most {LARGEST_SIDE} a side and {MOST_VOXELS} in all are read",
        )
    if max(sizes[3:], default=1) > 1:
        raise InputError(
            Code.SEVERAL_FRAMES, f"{name} has the sizes {sizes}: several frames; pass one of them"
        )
    if min(i, j, k) < SMALLEST_SIDE:
        raise InputError(
            Code.TOO_SMALL,
            f"{name} is {i}×{j}×{k} voxels; a brain volume has at least {SMALLEST_SIDE} a side",
        )
    return i, j, k


def _check_dtype(code: int, bitpix: int, order: str, name: str) -> np.dtype[Any]:
    if code in _COMPLEX:
        raise InputError(
            Code.DTYPE_COMPLEX, f"{name} holds complex numbers (datatype {code}); pass magnitudes"
        )
    if code in _COLOUR:
        raise InputError(Code.DTYPE_COLOUR, f"{name} is a colour image (datatype {code})")
    if code not in _DTYPES:
        raise InputError(
            Code.DTYPE_UNKNOWN, f"{name} has the datatype {code}, which is not readable"
        )
    dtype = np.dtype(order + _DTYPES[code])
    if bitpix != 8 * dtype.itemsize:
        raise InputError(
            Code.BITPIX, f"{name} declares {bitpix} bits a voxel but the datatype {dtype.name}"
        )
    return dtype


def _check_offset(offset: float, least: int, name: str) -> int:
    """0 means right after the header, as other readers take it."""
    if offset == 0:
        return least
    if not (np.isfinite(offset) and offset == int(offset)):
        raise InputError(Code.VOX_OFFSET, f"{name} puts its voxels at byte {offset}")
    if not least <= offset <= least + MOST_EXTENSION_BYTES:
        raise InputError(
            Code.VOX_OFFSET,
            f"{name} puts its voxels at byte {offset:.0f}; "
            f"expected {least} to {least + MOST_EXTENSION_BYTES}",
        )
    return int(offset)


def _check_scaling(slope: float, inter: float, name: str) -> tuple[float, float]:
    """The standard: a slope of 0 means none; writers of unscaled data also store NaN."""
    if np.isinf(slope) or np.isinf(inter):
        raise InputError(Code.SCALING, f"{name} has scl_slope {slope} and scl_inter {inter}")
    if slope == 0 or np.isnan(slope):
        return 1.0, 0.0
    if np.isnan(inter):
        raise InputError(Code.SCALING, f"{name} has scl_slope {slope} but scl_inter {inter}")
    return slope, inter


def _check_affine(raw: Any, name: str) -> NDArray[np.float64]:
    """The sform where its code says so, else the qform, else the voxel sizes, as nibabel does."""
    try:
        with np.errstate(all="ignore"):
            affine = np.asarray(raw.get_best_affine(), dtype=np.float64)
    except (ValueError, nib.spatialimages.HeaderDataError) as error:
        raise InputError(Code.AFFINE_INVALID, f"{name} has no usable affine: {error}") from None
    check_affine(affine, name)
    return affine


def check_affine(affine: NDArray[np.float64], name: str) -> None:
    """A finite affine, of plausible voxel sizes, that can be inverted.

    Raises:
        InputError: ``affine-nonfinite``, ``affine-singular`` or ``voxel-size``.
    """
    if not np.isfinite(affine).all():
        raise InputError(Code.AFFINE_NONFINITE, f"{name} has NaN or infinity in its affine")
    axes = affine[:3, :3]
    sizes = np.linalg.norm(axes, axis=0)
    if sizes.min() == 0 or abs(np.linalg.det(axes / sizes)) < 1e-3:
        raise InputError(
            Code.AFFINE_SINGULAR, f"{name} has an affine that cannot be inverted: {axes.tolist()}"
        )
    if sizes.min() < FINEST_MM or sizes.max() > COARSEST_MM:
        shown = " × ".join(f"{size:.3g}" for size in sizes)
        raise InputError(
            Code.VOXEL_SIZE,
            f"{name} has voxels of {shown} mm, outside {FINEST_MM} to {COARSEST_MM:g} mm; "
            "is its affine in another unit?",
        )
