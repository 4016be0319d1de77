"""Axial slices from the LMDB folders that UAD-IMAG trains on.

``utils/create_LMDB.py`` of that code writes under the keys ``00000000``, ``00000001``, … one
pickled float64 array (X, Y) a slice, in [0, 1], over all subjects of a split; empty slices are
skipped and no subject is named, so volumes cannot be put together again. A pickle may run any code
when it is read; here it can hold a numpy array of numbers and nothing else.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dal_fast.errors import Code, InputError
from dal_fast.extras import module_of_extra

_ADMITTED = {
    (module, name)
    for module in ("numpy.core.multiarray", "numpy._core.multiarray")
    for name in ("_reconstruct", "scalar")
}
_ADMITTED |= {("numpy", "ndarray"), ("numpy", "dtype")}
_ADMITTED |= {(module, "_frombuffer") for module in ("numpy.core.numeric", "numpy._core.numeric")}


class _OnlyArrays(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, not only a numpy array")
        return super().find_class(module, name)


def read_slices(folder: str | Path) -> Iterator[NDArray[np.float32]]:
    """Every slice (X, Y) in order, one at a time.

    Args:
        folder: of ``data.mdb``.

    Raises:
        InputError: ``extra-missing``, ``lmdb-missing`` for a folder without a database,
            ``lmdb-slice`` for a value that is not a two-dimensional array of finite numbers.
    """
    lmdb = module_of_extra("lmdb", "LMDB folders need pip install 'dal_fast[lmdb]'")
    try:
        database = lmdb.open(str(folder), readonly=True, lock=False, readahead=False, create=False)
    except lmdb.Error as error:
        raise InputError(Code.LMDB_MISSING, f"{folder} is no LMDB folder: {error}") from None
    with database, database.begin() as transaction:
        for number in range(transaction.stat()["entries"]):
            key = f"{number:08}"
            value = transaction.get(key.encode("ascii"))
            if value is None:
                raise InputError(Code.LMDB_SLICE, f"{folder} has no slice {key}")
            yield _slice(value, f"slice {key} of {folder}")


def _slice(value: bytes, what: str) -> NDArray[np.float32]:
    try:
        array = _OnlyArrays(io.BytesIO(value)).load()
    except Exception as error:  # a broken pickle may fail in any way
        raise InputError(Code.LMDB_SLICE, f"{what} cannot be read: {error}") from None
    good = isinstance(array, np.ndarray) and array.ndim == 2 and array.dtype.kind in "fiub"
    if not good or not np.isfinite(array).all():
        raise InputError(Code.LMDB_SLICE, f"{what} is no two-dimensional array of finite numbers")
    return array.astype(np.float32)
