"""The kernel behind oblique resampling: against torch's grid_sample in float64, on every path."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support import each_isa

from dal_fast.imaging.oblique import gaussian_taps, sample_oblique
from dal_fast.imaging.separable import sample_separable

DTYPES = (torch.float32, torch.uint8, torch.int16, torch.bool, torch.float64, torch.int32)


def rotation(angle, other, scale):
    """(4, 4) about the origin, by two angles in radians, then scaled."""
    one, two = np.eye(4), np.eye(4)
    one[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    two[1:3, 1:3] = [[np.cos(other), -np.sin(other)], [np.sin(other), np.cos(other)]]
    return np.diag([scale, scale, scale, 1.0]) @ one @ two


def placed(shape, source, matrix):
    """The middle of the samples on the middle of the source."""
    matrix = matrix.copy()
    matrix[:3, 3] = (np.array(source) - 1) / 2 - matrix[:3, :3] @ ((np.array(shape) - 1) / 2)
    return matrix


def by_torch(x, matrix, shape, nearest):
    """grid_sample in float64; and which samples are clear of the border of what is inside."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    index = grid @ matrix[:3, :3].T + matrix[:3, 3]
    size = np.array(x.shape)
    points = 2 * index / np.maximum(size - 1, 1) - 1
    sampled = F.grid_sample(
        x.double()[None, None], torch.from_numpy(points[..., ::-1].copy())[None],
        mode="nearest" if nearest else "bilinear", padding_mode="border", align_corners=True,
    )[0, 0]  # fmt: skip
    inside = ((index >= -0.5) & (index <= size - 0.5)).all(-1)
    near = (np.abs(index + 0.5) < 1e-4) | (np.abs(index - size + 0.5) < 1e-4)
    if nearest:
        near |= np.abs(index - np.floor(index) - 0.5) < 1e-4
    return (sampled * torch.from_numpy(inside)).numpy(), ~near.any(-1)


@each_isa
@pytest.mark.parametrize("nearest", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_equals_grid_sample_however_the_source_lies_in_memory(isa, dtype, nearest):
    source, shape = (19, 30, 23), (25, 37, 41)
    g = torch.Generator().manual_seed(0)
    values = torch.randint(0, 2 if dtype == torch.bool else 200, source, generator=g).to(dtype)
    for angle, other, scale in ((0.2, -0.3, 0.8), (2.9, 1.2, 1.7), (-1.4, 0.05, 0.4)):
        matrix = placed(shape, source, rotation(angle, other, scale))
        want, clear = by_torch(values, matrix, shape, nearest)
        for order in itertools.permutations(range(3)):
            back = tuple(int(a) for a in np.argsort(order))
            x = values.permute(order).contiguous().permute(back)
            out = torch.full(shape, torch.nan)
            sample_oblique(x, matrix, out, nearest)
            np.testing.assert_allclose(out.numpy()[clear], want[clear], atol=1e-3)


@each_isa
@pytest.mark.parametrize("source", [(1, 1, 1), (1, 40, 3), (300, 2, 1)])
def test_thin_volumes(isa, source):
    x = torch.rand(source, generator=torch.Generator().manual_seed(1))
    matrix = placed((30, 31, 33), source, rotation(0.4, 0.9, 0.5))
    out = torch.full((30, 31, 33), torch.nan)
    sample_oblique(x, matrix, out)
    want, clear = by_torch(x, matrix, (30, 31, 33), False)
    np.testing.assert_allclose(out.numpy()[clear], want[clear], atol=1e-5)


@each_isa
@pytest.mark.parametrize("shift", [1e2, -1e2, 1e7, -1e7])
def test_a_grid_that_lies_elsewhere_is_zero(isa, shift):
    matrix = rotation(0.3, 0.1, 1.0)
    matrix[:3, 3] = shift
    out = torch.full((9, 10, 40), torch.nan)
    sample_oblique(torch.ones(20, 21, 22), matrix, out)
    assert bool((out == 0).all())


@each_isa
def test_an_affine_function_is_met_far_from_the_origin(isa):
    """Positions keep their digits in a volume of a thousand voxels."""
    ramp = torch.arange(1000.0).view(1000, 1, 1).expand(1000, 3, 3)
    matrix = np.array([[0.0, 0, 0.731, 200.4], [0, 0.1, 0, 0.5], [0.1, 0, 0, 0.5], [0, 0, 0, 1]])
    out = torch.empty(5, 5, 1000)
    sample_oblique(ramp, matrix, out)
    want = 0.731 * np.arange(1000) + 200.4
    np.testing.assert_allclose(out[2, 2].numpy(), np.where(want <= 999, want, 0), atol=2e-4)


def test_writes_nothing_but_the_samples():
    whole = torch.full((14, 13, 12), 7.0)
    sample_oblique(torch.rand(20, 20, 20), rotation(0.2, 0.2, 1.0), whole[2:12, 1:11, 1:11])
    whole[2:12, 1:11, 1:11] = 7
    assert bool((whole == 7).all())


@pytest.mark.parametrize("sigma", [0.0, 0.4, 0.7071, 2.5])
@pytest.mark.parametrize("size", [1, 4, 33])
def test_gaussian_is_scipys(sigma, size):
    ndimage = pytest.importorskip("scipy.ndimage")
    x = torch.rand(size, 1, 1, generator=torch.Generator().manual_seed(2))
    out, one = torch.empty(size, 1, 1), gaussian_taps(1, 0.0)
    sample_separable(x, [gaussian_taps(size, sigma), one, one], out)
    radius = int(np.ceil(3 * sigma))
    want = x.numpy()
    if sigma:
        want = ndimage.gaussian_filter1d(want, sigma, 0, radius=radius, mode="nearest")
    np.testing.assert_allclose(out.numpy(), want, atol=1e-6)
