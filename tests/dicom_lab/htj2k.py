"""The stream of HTJ2K that a test reads: ``slice-12.j2c``, and how it is made.

    PYTHONPATH=tests python -m dicom_lab.htj2k

writes it anew. It is kept, so that reading it is tested where no encoder is installed; OpenJPH,
which imagecodecs wraps, is independent of OpenJPEG, by which ``dal_fast`` reads it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dicom_lab import scanner

SLICE = 12
FILE = Path(__file__).with_name(f"slice-{SLICE}.j2c")


def plane():
    """Slice 12 of the small head, rows by columns."""
    return np.ascontiguousarray(scanner.small_head()[:, :, SLICE].T.astype(np.uint16))


def encode() -> bytes:
    """The same without loss, by OpenJPH."""
    import imagecodecs

    return bytes(imagecodecs.htj2k_encode(plane(), reversible=True))


if __name__ == "__main__":
    FILE.write_bytes(encode())
