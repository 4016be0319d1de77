"""The kernel behind resampling: against dense matrices in float64, on every instruction set."""

import itertools

import numpy as np
import pytest
import torch

from dal_fast import _C
from dal_fast.imaging.separable import linear_taps, nearest_taps, sample_separable

SHAPES = {  # of the source and of the samples; chunks and tiles of every kernel end inside
    "coarser": ((67, 35, 50), (33, 18, 25)),
    "finer": ((9, 20, 17), (37, 41, 70)),
    "mixed": ((33, 64, 5), (16, 65, 40)),
    "single": ((1, 1, 1), (3, 1, 17)),
    "a slice": ((20, 31, 10), (18, 40, 1)),
    "another slice": ((20, 31, 10), (1, 40, 12)),
}
DTYPES = (torch.float32, torch.uint8, torch.int16, torch.bool, torch.float64, torch.int32)


def dense(taps, size):
    matrix = np.zeros((taps.index.shape[1], size))
    for index, weight in zip(taps.index.numpy(), taps.weight.numpy(), strict=True):
        matrix[np.arange(len(index)), index] += weight
    return matrix


def make_taps(source, target, make=linear_taps):
    found = []
    for size, count in zip(source, target, strict=True):
        spacing = size / count
        position = np.arange(count) * spacing * (-1) ** count - 0.3 + (size if count % 2 else 0)
        args = (position, size) if make is nearest_taps else (position, spacing, size)
        found.append(make(*args))
    return found


@pytest.fixture(params=_C.supported_isas())
def isa(request):
    before = _C.current_isa()
    _C.set_isa(request.param)
    yield request.param
    _C.set_isa(before)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_dense_matrices_however_the_source_lies_in_memory(isa, shape, dtype):
    source, target = SHAPES[shape]
    g = torch.Generator().manual_seed(0)
    values = torch.randint(0, 2 if dtype == torch.bool else 200, source, generator=g).to(dtype)
    taps = make_taps(source, target)
    lines = [dense(t, n) for t, n in zip(taps, source, strict=True)]
    want = np.einsum("abc,ia,jb,kc->ijk", values.double().numpy(), *lines, optimize=True)
    for order in itertools.permutations(range(3)):
        back = tuple(int(a) for a in np.argsort(order))
        x = values.permute(order).contiguous().permute(back)
        out = torch.full(target, torch.nan)
        sample_separable(x, taps, out)
        assert np.abs(out.numpy() - want).max() < 1e-4, order


def test_writes_nothing_but_the_samples():
    taps = make_taps((20, 20, 20), (10, 10, 10))
    whole = torch.full((14, 13, 12), 7.0)
    sample_separable(torch.rand(20, 20, 20), taps, whole[2:12, 1:11, 1:11])
    whole[2:12, 1:11, 1:11] = 7
    assert bool((whole == 7).all())


def test_nearest_takes_voxels_and_zero_outside():
    taps = nearest_taps(np.array([-0.6, -0.4, 1.4, 1.6, 3.4, 3.6]), 4)
    x = torch.arange(1.0, 5).view(4, 1, 1)
    one = nearest_taps(np.zeros(1), 1)
    out = torch.empty(6, 1, 1)
    sample_separable(x, [taps, one, one], out)
    assert out.flatten().tolist() == [0, 1, 2, 3, 4, 0]


def test_same_bits_on_every_instruction_set_and_number_of_threads():
    x = torch.rand((70, 51, 64), generator=torch.Generator().manual_seed(1))
    taps = make_taps(x.shape, (40, 75, 33))
    threads, before = torch.get_num_threads(), _C.current_isa()
    found = []
    try:
        for name, count in itertools.product(_C.supported_isas(), (1, 2, 3)):
            _C.set_isa(name)
            torch.set_num_threads(count)
            for source in (x, x.permute(2, 1, 0).contiguous().permute(2, 1, 0)):
                out = torch.empty(40, 75, 33)
                sample_separable(source, taps, out)
                found.append(out)
    finally:
        torch.set_num_threads(threads)
        _C.set_isa(before)
    assert all(torch.equal(out, found[0]) for out in found[0::2])
    assert all(torch.equal(out, found[1]) for out in found[1::2])
