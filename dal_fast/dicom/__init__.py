"""DICOM in, DICOM out: from a study as a scanner or PACS exports it to objects that a PACS shows.

files → series → selection → stack → the project's volume → screening → objects. Needs the extra
``dal_fast[dicom]``. Everything that is read is placed by its own geometry, or refused with a code.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

from dal_fast.errors import Code, RuntimeUnavailable

try:
    import pydicom
except ImportError as error:
    raise RuntimeUnavailable(
        Code.EXTRA_MISSING, f"DICOM needs pip install 'dal_fast[dicom]' ({error})"
    ) from None

pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # its messages show values of headers
logging.getLogger("highdicom").setLevel(logging.CRITICAL)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warnings of DICOM libraries while the block runs: they show values of headers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
