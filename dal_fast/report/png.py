"""PNG files from numpy arrays."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPE = {1: 0, 3: 2}  # channels → PNG colour type: grey, RGB
_FILTER_UP = 2
_LEVEL = 3  # of isal; 1 and 2 can give other bytes at another address (see data.atomic)


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG file of ``(H, W)`` grey or ``(H, W, 3)`` RGB bytes, row 0 on top.

    Every row is stored as its difference from the row above (PNG filter "Up"), which compresses
    smooth pictures well.
    """
    height, width = pixels.shape[:2]
    rows = np.ascontiguousarray(pixels).reshape(height, -1)
    filtered = np.full((height, rows.shape[1] + 1), _FILTER_UP, np.uint8)
    filtered[0, 1:] = rows[0]
    filtered[1:, 1:] = rows[1:] - rows[:-1]  # modulo 256, as PNG defines it
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPE[channels], 0, 0, 0)
    return (
        _SIGNATURE
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", isal_zlib.compress(filtered.tobytes(), _LEVEL))
        + _chunk(b"IEND", b"")
    )


def data_uri(pixels: NDArray[Any]) -> str:
    """The picture as a ``data:`` address for an ``<img>``."""
    return "data:image/png;base64," + base64.b64encode(encode(pixels)).decode("ascii")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
