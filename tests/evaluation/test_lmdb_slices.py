"""UAD-IMAG's LMDB folders, and what a pickle must not do."""

import os
import pickle

import lmdb
import numpy as np
import pytest

from dal_fast import DalFastError
from dal_fast.evaluation.lmdb_slices import read_slices


def write(folder, values, first=0):
    """As ``create_LMDB.py``: keys of eight digits, values pickled."""
    with lmdb.open(str(folder), map_size=1 << 26) as database, database.begin(write=True) as t:
        for number, value in enumerate(values, first):
            t.put(f"{number:08}".encode("ascii"), value)
    return folder


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("order", "CF")
def test_slices_in_order(tmp_path, protocol, order):
    arrays = [np.random.default_rng(i).random((24, 17)).copy(order) for i in range(12)]
    folder = write(tmp_path / "x", [pickle.dumps(a, protocol) for a in arrays])
    found = list(read_slices(folder))
    assert all(f.dtype == np.float32 for f in found)
    for have, want in zip(found, arrays, strict=True):
        np.testing.assert_array_equal(have, want.astype(np.float32))


class Shell:
    def __reduce__(self):
        return os.mkdir, ("harm",)


@pytest.mark.parametrize(
    "value",
    [
        pickle.dumps(Shell()),
        pickle.dumps(np.array([[Shell()]], object)),
        pickle.dumps({"a": 1}),
        pickle.dumps(np.zeros((2, 2, 2))),
        pickle.dumps(np.array([[np.nan]])),
        pickle.dumps(np.array([["text"]])),
        pickle.dumps(np.zeros((3, 3)))[:-9],
        b"",
        b"no pickle",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cbuiltins\neval\n(S'1'\ntR.",
    ],
)
def test_nothing_but_numbers(tmp_path, monkeypatch, value):
    monkeypatch.chdir(tmp_path)
    folder = write(tmp_path / "x", [value])
    with pytest.raises(DalFastError) as refused:
        list(read_slices(folder))
    assert refused.value.code == "lmdb-slice"
    assert not (tmp_path / "harm").exists()


def test_folders_that_are_none(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DalFastError) as refused:
            list(read_slices(folder))
        assert refused.value.code == "lmdb-missing"
    gap = write(tmp_path / "gap", [pickle.dumps(np.ones((2, 2)))], first=1)
    with pytest.raises(DalFastError, match="00000000"):
        list(read_slices(gap))
