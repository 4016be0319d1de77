"""The voxels of a stack: decoded frame by frame, scaled slice by slice, as the header says.

The rescale slope and intercept of each slice are applied, as they may differ between slices.
Real-world value maps and vendors' private scales are not: they differ from the public ones by
constants of the whole series, which normalisation removes.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from dal_fast.dicom import quiet
from dal_fast.dicom.files import DicomFile, read_dataset
from dal_fast.dicom.frames import Frame, header_value
from dal_fast.dicom.geometry import Stack
from dal_fast.errors import Code, InputError
from dal_fast.imaging.nifti import Volume
from dal_fast.imaging.orientation import Note

TRANSFER_SYNTAXES = {
    "1.2.840.10008.1.2": "Implicit VR Little Endian",
    "1.2.840.10008.1.2.1": "Explicit VR Little Endian",
    "1.2.840.10008.1.2.1.99": "Deflated Explicit VR Little Endian",
    "1.2.840.10008.1.2.2": "Explicit VR Big Endian",
    "1.2.840.10008.1.2.5": "RLE Lossless",
    "1.2.840.10008.1.2.4.50": "JPEG Baseline",
    "1.2.840.10008.1.2.4.51": "JPEG Extended",
    "1.2.840.10008.1.2.4.57": "JPEG Lossless",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless SV1",
    "1.2.840.10008.1.2.4.80": "JPEG-LS Lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS Near-lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 Lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.4.201": "High-Throughput JPEG 2000 Lossless",
    "1.2.840.10008.1.2.4.202": "High-Throughput JPEG 2000 RPCL Lossless",
    "1.2.840.10008.1.2.4.203": "High-Throughput JPEG 2000",
}
"""What is decoded."""
_LOSSY = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 81))
"""Those that change values; the others that may do so where the header says it."""
_PIXEL_TAGS = [
    "PixelData", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "PhotometricInterpretation",
    "PlanarConfiguration", "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "SOPInstanceUID",
]  # fmt: skip
_DECODERS = ("pyjpegls", "pylibjpeg", "gdcm", "pydicom")  # GDCM errs on some JPEG-LS streams
_OVERLAY_BIT = 0x60000102
_MOST_OPEN = 2  # files whose pixels are in memory at a time

Stored = NDArray[Any]


def read_stack(stack: Stack, path: Path) -> Volume:
    """The volume of a stack, float32, on the grid of its slices.

    Args:
        stack: of slices.
        path: that the volume's name is taken from.

    Returns:
        With axes (column, row, slice), in memory as they lie in the files. ``sha256`` is of the
        values, the affine and the instance UIDs, whatever the compression was.

    Raises:
        InputError: ``dicom-transfer-syntax``, ``dicom-pixel-length``, ``dicom-pixels``,
            ``dicom-damaged``, ``dtype-colour``, ``scaling``, ``all-zero`` or ``constant``.
    """
    data = np.empty(stack.shape, np.float32, order="F")
    digest = hashlib.sha256(stack.affine.tobytes())
    beyond = 0
    with quiet():
        for k, (frame, stored) in enumerate(_stored(stack.frames)):
            stored, outside = _within_bits(stored, frame)
            beyond += outside
            data[:, :, k] = _scaled(stored, frame).T
            digest.update(f"{frame.sop_uid}/{frame.index}".encode())
            digest.update(np.ascontiguousarray(data[:, :, k].T).data)
    notes = list(stack.notes)
    if beyond:
        notes.append(
            Note("stored-bits", f"{beyond} slices use more bits than their header says; all count")
        )
    lossy = sum(_is_lossy(frame) for frame in stack.frames)
    if lossy:
        notes.append(
            Note("lossy-compression", f"{lossy} slices were compressed with a loss of detail")
        )
    low, high = float(data.min()), float(data.max())
    if low == high:
        code = Code.ALL_ZERO if low == 0 else Code.CONSTANT
        raise InputError(code, f"every voxel of the series is {low:g}; export it again")
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError(Code.SCALING, "the series has a rescale slope that overflows")
    header = _header_of(stack)
    return Volume(data, stack.affine, header, path, digest.hexdigest(), 0, tuple(notes))


def _is_lossy(frame: Frame) -> bool:
    syntax = str(frame.file.header.file_meta.get("TransferSyntaxUID", ""))
    return syntax in _LOSSY or frame.text("LossyImageCompression") == "01"


def _header_of(stack: Stack) -> Any:
    """A NIfTI header of the stack's grid."""
    header: Any = nib.Nifti1Header()  # type: ignore[no-untyped-call]
    header.set_data_dtype(np.float32)
    header.set_data_shape(stack.shape)
    header.set_sform(stack.affine, 1)
    header.set_qform(stack.affine, 1, strip_shears=True)
    header.set_xyzt_units("mm")
    return header


def same_pixels(first: Frame, second: Frame) -> bool:
    """Whether two frames hold the same values; not where one of them cannot be decoded."""
    try:
        with quiet():
            (_, one), (_, other) = (next(_stored([frame])) for frame in (first, second))
            return bool(np.array_equal(_scaled(one, first), _scaled(other, second)))
    except InputError:
        return False


def _stored(frames: Sequence[Frame]) -> Iterator[tuple[Frame, Stored]]:
    """The stored pixels (rows, columns) of frames; each file is read once while it is needed."""
    opened: dict[DicomFile, Any] = {}
    for frame in frames:
        if frame.file not in opened:
            while len(opened) >= _MOST_OPEN:
                opened.pop(next(iter(opened)))
            opened[frame.file] = read_dataset(frame.file.source, _PIXEL_TAGS)
            _check_pixels(opened[frame.file], frame)
        yield frame, _decoded(opened[frame.file], frame)


def _check_pixels(dataset: Any, frame: Frame) -> None:
    """As many bytes as the header promises, of a kind that is read, before anything is decoded."""
    name = frame.file.source.name
    if dataset.get("SOPInstanceUID") != frame.sop_uid:
        raise InputError(Code.DICOM_DAMAGED, f"{name} has changed since it was first read")
    if dataset.get("SamplesPerPixel", 1) != 1:
        raise InputError(Code.DTYPE_COLOUR, f"{name} is a colour image")
    syntax = str(dataset.file_meta.get("TransferSyntaxUID", "") or "1.2.840.10008.1.2")
    if syntax not in TRANSFER_SYNTAXES:
        raise InputError(
            Code.DICOM_TRANSFER_SYNTAX,
            f"{name} is stored as {UID(syntax).name}, which is not read; have the PACS export it "
            "as Explicit VR Little Endian",
        )
    rows, columns = frame.shape
    bits = dataset.get("BitsAllocated")
    if bits not in (8, 16, 32):
        raise InputError(Code.DICOM_PIXELS, f"{name} has {bits} bits a pixel; 8, 16 or 32 are read")
    data = dataset.get("PixelData")
    if not data:
        raise InputError(Code.DICOM_PIXEL_LENGTH, f"{name} ends before its pixels; export it again")
    count = int(dataset.get("NumberOfFrames") or 1)
    if not UID(syntax).is_compressed:
        promised = rows * columns * count * bits // 8
        if len(data) not in (promised, promised + promised % 2):
            raise InputError(
                Code.DICOM_PIXEL_LENGTH,
                f"{name} promises {promised} bytes of pixels and holds {len(data)}; export it "
                "again",
            )


def _decoded(dataset: Any, frame: Frame) -> Stored:
    """One frame (rows, columns)."""
    name, shape = frame.file.source.name, frame.shape
    syntax = UID(str(dataset.file_meta.get("TransferSyntaxUID", "") or "1.2.840.10008.1.2"))
    if not syntax.is_compressed:
        return _native(dataset, frame, syntax.is_little_endian)
    decoder = get_decoder(syntax)
    available = [plugin for plugin in _DECODERS if plugin in decoder.available_plugins]
    if not available:
        raise InputError(
            Code.DICOM_TRANSFER_SYNTAX,
            f"{name} is stored as {syntax.name}; to read it, pip install 'dal_fast[dicom]'",
        )
    try:
        count = int(dataset.get("NumberOfFrames") or 1)
        stream = get_frame(dataset.PixelData, frame.index, number_of_frames=count)
        stated = _stated_size(stream)
        if stated is not None and stated != shape:
            raise ValueError(f"its stream is of {stated[0]} × {stated[1]} pixels")
        array, _ = decoder.as_array(
            dataset, index=frame.index, raw=True, decoding_plugin=available[0]
        )
    except MemoryError:
        raise
    except Exception as error:  # whatever a damaged stream does to a decoder
        reason = str(error).splitlines()[0] if isinstance(error, ValueError) and str(error) else ""
        raise InputError(
            Code.DICOM_PIXELS,
            f"{name} cannot be decoded ({syntax.name}: {reason or type(error).__name__}); export "
            "it again",
        ) from None
    if array.shape != shape:
        raise InputError(Code.DICOM_PIXELS, f"{name} decodes to {array.shape}, not {shape}")
    return array  # type: ignore[no-any-return]


def _native(dataset: Any, frame: Frame, little_endian: bool) -> Stored:
    rows, columns = frame.shape
    bits = int(dataset.BitsAllocated)
    order = "<" if little_endian else ">"
    kind = "i" if dataset.get("PixelRepresentation") == 1 else "u"
    count, data = rows * columns, dataset.PixelData
    if bits == 8 and not little_endian:  # stored in words, whose bytes are swapped
        data = np.frombuffer(data, np.uint16).byteswap().tobytes()
    start = frame.index * count * bits // 8
    dtype = np.dtype(f"{order}{kind}{bits // 8}")
    return np.frombuffer(data, dtype, count, start).reshape(rows, columns)


def _stated_size(stream: bytes) -> tuple[int, int] | None:
    """Rows and columns that a JPEG stream states, before a decoder allocates them."""
    if stream[:4] == b"\xff\x4f\xff\x51":  # JPEG 2000: SIZ
        width, height, left, top = struct.unpack(">4I", stream[8:24])
        return height - top, width - left
    if stream[:2] != b"\xff\xd8":
        return None
    place = 2
    while place + 9 <= len(stream):
        if stream[place] != 0xFF:
            return None
        marker = stream[place + 1]
        if marker == 0xFF:
            place += 1
            continue
        if marker in (0xC0, 0xC1, 0xC2, 0xC3, 0xF7):  # start of frame
            height, width = struct.unpack(">2H", stream[place + 5 : place + 9])
            return height, width
        place += 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
    return None


def _within_bits(stored: Stored, frame: Frame) -> tuple[Stored, bool]:
    """Pixels without what does not belong to them, and whether they use more bits than stated."""
    header = frame.file.header
    allocated = stored.dtype.itemsize * 8
    bits = int(header.get("BitsStored") or allocated)
    if not 0 < bits < allocated:
        return stored, False
    signed = stored.dtype.kind == "i"
    overlay = header_value(header, _OVERLAY_BIT)
    if overlay is not None and overlay.value and overlay.value >= bits:
        stored = stored & np.array((1 << bits) - 1).astype(stored.dtype)  # drawn into upper bits
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if signed and stored.min() >= 0 and stored.max() > high and stored.max() < 1 << bits:
        # negative numbers without the sign in the bits above
        stored = ((stored.astype(np.int32) ^ (high + 1)) - (high + 1)).astype(stored.dtype)
    return stored, bool(stored.min() < low or stored.max() > high)


def _scaled(stored: Stored, frame: Frame) -> NDArray[np.float32]:
    """The values of one slice (rows, columns): stored × slope + intercept, padding 0."""
    slope, intercept = _rescale(frame, "slope"), _rescale(frame, "intercept")
    if frame.get("ModalityLUTSequence"):
        raise InputError(
            Code.DICOM_PIXELS, f"{frame.file.source.name} has a modality table, which MR has not"
        )
    values = stored.astype(np.float64)
    if frame.text("PhotometricInterpretation") == "MONOCHROME1":
        bits = int(frame.number("BitsStored") or stored.dtype.itemsize * 8)
        values = (-1 if stored.dtype.kind == "i" else (1 << bits) - 1) - values
    values = values * (slope or 1.0) + (intercept or 0.0)
    padding = frame.number("PixelPaddingValue")
    if padding is not None:
        limit = frame.number("PixelPaddingRangeLimit")
        given = (padding, padding if limit is None else limit)
        ends = sorted(np.array(given, np.int64).astype(stored.dtype).tolist())  # of its sign
        values[(stored >= ends[0]) & (stored <= ends[1])] = 0
    return values.astype(np.float32)


def _rescale(frame: Frame, what: str) -> float | None:
    """The slope or the intercept; ``None`` where the header has none."""
    keyword = f"Rescale{what.capitalize()}"
    number, given = frame.number(keyword), frame.get(keyword)
    if (number is None and given is not None) or (what == "slope" and number == 0):
        raise InputError(
            Code.SCALING,
            f"{frame.file.source.name} has an unusable rescale {what}, {given!r}; export it again",
        )
    return number
