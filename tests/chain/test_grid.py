"""The compiled planning of grids and resampling against numpy and torch."""

import itertools

import numpy as np
import pytest
import torch
from chain.volumes import everywhere, far, noise, reference_parts

from dal_fast import context
from dal_fast.errors import InputError
from dal_fast.imaging.grid import plan_grid, resample

ORDERS = list(itertools.permutations(range(3)))


def affine_of(axes, flips, voxel_mm, angles=(0.0, 0.0), shift=(-31.7, 12.4, 5.0)):
    """Axes in any order and direction, then turned."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for column, (axis, flip, size) in enumerate(zip(axes, flips, voxel_mm, strict=True)):
        affine[axis, column] = flip * size
    for (a, b), angle in zip(((0, 1), (1, 2)), np.radians(angles), strict=True):
        turn = np.eye(4)
        turn[[a, a, b, b], [a, b, a, b]] = [
            np.cos(angle),
            -np.sin(angle),
            np.sin(angle),
            np.cos(angle),
        ]
        affine = turn @ affine
    affine[:3, 3] = shift
    return affine


def scans():
    """Shape and affine of scans: every order of axes, fine and coarse, straight and oblique."""
    for n, axes in enumerate(ORDERS):
        flips = [(-1) ** (n >> a & 1) for a in range(3)]
        yield pytest.param((37, 50, 29), affine_of(axes, flips, (1, 1, 1)), id=f"1mm-{n}")
        yield pytest.param(
            (41, 33, 24), affine_of(axes, flips, (0.9375, 1.2, 4.1)), id=f"thick-{n}"
        )
        turned = affine_of(axes, flips, (0.8, 1.0, 3.0), (8, -4))
        yield pytest.param((41, 33, 24), turned, id=f"oblique-{n}")
    coarse = affine_of((0, 1, 2), (1, 1, 1), (3, 3, 3), (8, -4))
    yield pytest.param((20, 25, 20), coarse, id="coarser than the model's")
    yield pytest.param((1, 30, 1), affine_of((2, 0, 1), (1, 1, -1), (2, 2, 5)), id="a line")
    yield pytest.param(
        (40, 40, 40), affine_of((0, 1, 2), (1, 1, 1), (2, 2, 2)), id="the model's own"
    )


def ball(shape):
    i = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    return np.asfortranarray((i**2).sum(0) < 0.7)


@pytest.mark.parametrize(("shape", "affine"), list(scans()))
def test_plans_and_samples(shape, affine):
    mask = ball(shape)
    if not mask.any():
        mask[:] = True
    got = plan_grid(shape, affine, mask)
    with context.use(backend="reference"):
        want = plan_grid(shape, affine, mask)
    assert got.shape == want.shape
    assert np.abs(got.affine - want.affine).max() < 1e-9

    scan = noise(shape, 0).permute(2, 1, 0).contiguous().permute(2, 1, 0)  # Fortran order
    for x, mode in ((scan, "linear"), (scan, "nearest"), (torch.from_numpy(mask), "linear")):
        call = x, affine, want.shape, want.affine, mode
        (here,), (there,) = everywhere(resample, *call), reference_parts(resample, *call)
        if mode == "nearest":  # a position between two voxels may take either
            assert (here != there).float().mean() < 1e-3
        else:
            assert far(here, there) < 1e-5
            assert torch.equal(here >= 0.5, there >= 0.5)
    model = noise(want.shape, 1)
    back = model, want.affine, shape[::-1], affine[:, [2, 1, 0, 3]], "linear"
    assert far(*everywhere(resample, *back), *reference_parts(resample, *back)) < 1e-5


def test_without_a_mask_and_outside():
    affine = affine_of((0, 1, 2), (1, -1, 1), (1, 1, 1))
    got = plan_grid((30, 31, 32), affine)
    with context.use(backend="reference"):
        want = plan_grid((30, 31, 32), affine)
    assert got.shape == want.shape
    assert np.array_equal(got.affine, want.affine)
    far_away = affine.copy()
    far_away[:3, 3] += 1000
    (nothing,) = everywhere(resample, noise((9, 9, 9), 0), affine, (4, 5, 6), far_away, "linear")
    assert torch.equal(nothing, torch.zeros(4, 5, 6))


def test_an_empty_mask_is_refused():
    with pytest.raises(InputError, match="mask has no voxel"):
        plan_grid((5, 5, 5), np.eye(4), np.zeros((5, 5, 5), bool))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float64], ids=str)
def test_any_type(dtype):
    x = (50 * noise((20, 21, 22), 3).abs()).to(dtype)
    call = (
        x,
        affine_of((1, 0, 2), (1, 1, 1), (1, 1, 1)),
        (10, 9, 8),
        np.diag([2.0, 2, 2, 1]),
        "linear",
    )
    assert far(*everywhere(resample, *call), *reference_parts(resample, *call)) < 1e-4
