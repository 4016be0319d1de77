"""What the table does not ask of the Triton kernels; run by test_instrumented.py.

Outputs start as NaN or 255. The interpreter takes a millisecond for an operation: shapes are small.
"""

import numpy as np
import pytest
import torch
from triton_kernels import triton_file

from dal_fast import reference
from dal_fast.taps import canny_weights, ssim_weights

LEVELS = (0.29, 0.48, 0.72)
C = (1e-4, 9e-4)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def normal(shape, dtype=torch.float32, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=g, dtype=torch.float64).to(dtype)


def poisoned(like, *shape, dtype=None):
    return torch.full(shape or like.shape, float("nan"), dtype=dtype or like.dtype)


# one-hot


def test_ties_go_to_the_lowest_class_and_nan_never_wins():
    z = torch.tensor([[1.0, 1.0, float("nan"), 2.0], [1.0, 3.0, 5.0, float("nan")]])
    out = poisoned(z, 1, 2, 1, 1, 4)
    triton_file("onehot").onehot_forward(z.view(1, 2, 1, 1, 4), None, None, out)
    assert out.view(2, 4).tolist() == [[1, 0, 1, 1], [0, 1, 0, 0]]


# SSIM


def pair_of(shape, dtype=torch.float32):
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x.to(dtype), (x + 0.2 * normal(shape, torch.float64, seed=1)).to(dtype)


def half_window(window, kind="gaussian"):
    return torch.tensor(ssim_weights(window, 1.5, kind), dtype=torch.float64)


def new_fields(x):
    n, c, d, h, w = x.shape
    return poisoned(x, n * c, d, h, 4, (w + 15) // 16 * 16, dtype=torch.float32)


def ssim_map(x, y, window, hybrid=False):
    out = poisoned(x)
    triton_file("ssim_l1").ssim_map(x, y, out, hybrid, half_window(window), *C)
    return out


def test_gradient_of_the_map_for_one_input():
    op, w = triton_file("ssim_l1"), half_window(5)
    x, y = pair_of((1, 2, 4, 6, 9))
    a, b = (t.double().requires_grad_() for t in (x, y))
    up, fields, gy = normal(x.shape, seed=3), new_fields(x), poisoned(y)
    op.ssim_fields(x, y, up, fields, w, *C)
    op.ssim_backward(x, y, fields, None, 1.0, 0.0, None, gy, w)
    want = torch.autograd.grad(reference.ssim3d(a, b, 5), b, up.double())[0]
    torch.testing.assert_close(gy.double(), want, rtol=0, atol=1e-5 * want.abs().max().item())


def test_identical_and_opposite_volumes():
    x, y = pair_of((1, 1, 4, 6, 9))
    for volume in (x, x + 1e4, torch.zeros_like(x)):
        assert ssim_map(volume, volume, 5).eq(1).all()
        assert ssim_map(volume, volume, 5, hybrid=True).eq(0).all()
    for a, b in ((x, -x), (1e4 + x, 1e4 + y)):
        got, want = ssim_map(a, b, 5), reference.ssim3d(a.double(), b.double(), 5)
        assert got.abs().max() <= 1
        torch.testing.assert_close(got.double(), want, rtol=0, atol=2e-5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_reaches_exactly_as_far_as_the_window(bad):
    x, y = pair_of((1, 1, 6, 8, 34))
    clean = ssim_map(x, y, 3)
    x[0, 0, 2, 3, 31] = bad
    got, hit = ssim_map(x, y, 3), torch.zeros_like(x, dtype=torch.bool)
    hit[..., 1:4, 2:5, 30:33] = True
    assert got[hit].isnan().all()
    torch.testing.assert_close(got[~hit], clean[~hit], rtol=0, atol=1e-6)


# Canny


def smooth_noise(shape, seed=0, width=1.2):
    ndi = pytest.importorskip("scipy.ndimage")
    noise = np.random.default_rng(seed).standard_normal(shape)
    return torch.from_numpy(ndi.gaussian_filter(noise, (0, 0, *[width] * 3)))


def blob_mask(shape):
    return smooth_noise((shape[0], 1, *shape[2:]), seed=5, width=2) > -0.02


def canny3d(x, sigma=1.0, low=0.02, high=0.04, mask=None, levels=None):
    n, c, *space = x.shape
    edges = torch.full((n, c if levels is None else 1, *space), 255, dtype=torch.uint8)
    edges = edges.view(torch.bool)
    taps = canny_weights(sigma, max(space))
    triton_file("canny3d").canny3d(x, levels, mask, taps, low, high, edges)
    assert edges.view(torch.uint8).max() <= 1
    return edges


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sigma", [0.0, 2.2])
def test_canny_from_logits_and_other_radii(sigma, masked):
    z = 100 * smooth_noise((2, 3, 5, 12, 35), width=3)
    mask = blob_mask(z.shape) if masked else None
    want = reference.anatomy_edges(z, LEVELS, mask, sigma, 0.01, 0.02)
    got = canny3d(z.float(), sigma, 0.01, 0.02, mask, LEVELS)
    assert want.any()
    assert (got != want).double().mean() <= 1e-3


@pytest.mark.parametrize("axis", [2, 3, 4])
def test_both_voxels_beside_a_flat_step_stay(axis):
    x = torch.zeros(1, 1, 10, 10, 12)
    x.narrow(axis, 5, x.shape[axis] - 5).fill_(1.0)
    want = torch.zeros_like(x, dtype=torch.bool)
    want.narrow(axis, 4, 2).fill_(True)
    assert torch.equal(canny3d(x), want)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite(value):
    clean = smooth_noise((1, 1, 9, 10, 16), seed=4).float()
    x = clean.clone()
    x[0, 0, 0, 2, 3] = value
    got = canny3d(x, 1.0, 0.01, 0.03)
    assert torch.equal(got, reference.canny3d(x.double(), 1.0, 0.01, 0.03))
    assert not got[..., :6, :8, :9].any()


def test_values_outside_the_mask_do_not_matter():
    clean = smooth_noise((1, 1, 5, 8, 9), seed=4).float()
    x, mask = clean.clone(), torch.ones(clean.shape, dtype=torch.bool)
    x[0, 0, 0, 2, 3], mask[0, 0, 0, 2, 3] = float("nan"), False
    assert torch.equal(canny3d(x, mask=mask), reference.canny3d(clean.double(), mask=mask))


def test_hysteresis_follows_a_snake_through_many_blocks():
    level = torch.zeros(1, 9, 17, 33, dtype=torch.uint8)
    level[:, 1, 1::4, 1:32] = 1
    level[:, 1, 2:5, 32] = level[:, 1, 6:9, 0] = level[:, 1, 10:13, 32] = level[:, 1, 14:17, 0] = 1
    level[:, 2:8, 16, 0] = level[:, 8, 15, 1:] = 1  # on to the last plane
    want = 2 * level
    level[:, 5, 5, 5] = want[:, 5, 5, 5] = 1  # joined to nothing
    level[:, 1, 1, 1] = 2
    triton_file("canny3d")._hysteresis(level)
    assert torch.equal(level, want)


def test_empty_batch():
    z, w = torch.zeros(0, 3, 4, 4, 4), half_window(5)
    sums = poisoned(z, 2, dtype=torch.float64)
    triton_file("onehot").onehot_forward(z, None, None, z)
    triton_file("onehot").onehot_backward(z, z, None, None, 1.0, z)
    triton_file("ssim_l1").ssim_map(z, z, z, False, w, *C)
    triton_file("ssim_l1").ssim_sums(z, z, sums, new_fields(z), w, *C)
    triton_file("ssim_l1").ssim_backward(z, z, new_fields(z), None, 1.0, 0.0, z, z, w)
    edges = torch.zeros(z.shape, dtype=torch.bool)
    triton_file("canny3d").canny3d(z, None, None, (1.0,), 0.1, 0.2, edges)
    assert sums.eq(0).all()


# offsets beyond 32 bits: memory that is never touched costs nothing


def untouched(*shape):
    """Zeros whose pages the system supplies when they are first touched."""
    return torch.from_numpy(np.zeros(shape, dtype=np.float32))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("of_fields", [False, True])
def test_offsets_of_planes_have_64_bits(of_fields):
    """Four planes of 14,000² voxels: the last one's fields are 2.3e9 elements from the first's."""
    op, (depth, height, width) = triton_file("ssim_l1"), (4, 14_000, 14_000)
    padded = (width + 15) // 16 * 16
    fields = untouched(1, depth, height, 4, padded) if of_fields else None
    x = untouched(1, 1, depth, height, width)
    x[0, 0, 3, :30, :40] = 1.0
    if of_fields:
        fields[0, 3, :30, :, :40] = 1.0
    work, shifts = untouched(1, depth, height, 4, padded), torch.zeros(1, 2)
    window = {"R": 1, "SHORT": False}
    # the first program: 64 rows of the first 32 columns of all four planes
    op.filter_xy_kernel[(1,)](
        x, x, shifts, fields, work, (0.5, 0.25), depth, height, width, padded, **window
    )
    moments = work[0, 3, 10, :, 5]
    want = [1.0, 1.0, 1.0, 1.0] if of_fields else [0.0, 0.0, 2.0, 4.0]  # of u = 0 and v = 2
    assert moments.tolist() == want
    assert work[0, 3, 40, :, 5].abs().max() == 0
    assert work[0, 0, 10].abs().max() == 0
