"""Between a scan's grid and the model's, both checked against a function of world position."""

import itertools

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform, binary_erosion
from scipy.spatial.transform import Rotation

from dal_fast import DalFastError
from dal_fast.imaging.grid import plan_grid, resample, to_model_grid
from dal_fast.imaging.nifti import Volume

ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), *[(1, -1)] * 3))
VOXELS = {  # size in mm, shape, error allowed
    "1 mm": ((1, 1, 1), (60, 70, 50), 0.01),
    "2 mm": ((2, 2, 2), (40, 44, 36), 1e-5),
    "thick slices": ((0.9, 0.9, 5), (90, 80, 16), 0.03),
    "all different": ((1.2, 3, 0.7), (60, 30, 90), 0.02),
}
ANGLES = [(1, 0, 0), (10, -5, 20), (45, 30, 10)]


def world(shape, affine):
    """(I, J, K, 3) millimetres."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def smooth(at):
    """Wave lengths of 110 to 130 mm, no symmetry."""
    return np.sin(at[..., 0] / 17) + np.cos(at[..., 1] / 21 + 0.3) * np.sin(at[..., 2] / 19 + 1)


def affine_of(voxel, shape, orientation=((0, 1, 2), 1, 1, 1), angles=(0, 0, 0)):
    axes, *flips = orientation
    matrix = np.zeros((3, 3))
    matrix[list(axes), range(3)] = np.multiply(flips, voxel)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ matrix
    affine[:3, 3] = affine[:3, :3] @ (-np.array(shape) / 2) + [3, -7, 5]
    return affine


def assert_round_trip(shape, affine, allowed):
    scan = smooth(world(shape, affine)).astype(np.float32)
    grid = plan_grid(shape, affine)
    assert all(side % 16 == 0 for side in grid.shape)
    tensor = grid.to_model(np.asfortranarray(scan))
    assert tensor.shape == (1, 1, *grid.shape)
    assert tensor.dtype == torch.float32
    there = grid.to_model(np.ones(shape, np.float32))[0, 0].numpy()
    assert np.isin(there, (0, 1)).all() or np.abs(there - there.round()).max() < 1e-5
    inner = binary_erosion(there > 0.5, iterations=2)
    off = np.abs(tensor[0, 0].numpy() - smooth(world(grid.shape, grid.affine)))
    assert off[inner].max() <= allowed
    back = grid.to_scan(tensor)
    assert back.shape == shape
    edge = tuple(slice(4, -4) for _ in shape)
    assert np.abs(back - scan)[edge].max() <= allowed


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_round_trip_of_every_orientation(orientation):
    voxel, shape, allowed = VOXELS["all different"]
    assert_round_trip(shape, affine_of(voxel, shape, orientation), allowed)


@pytest.mark.parametrize("size", VOXELS)
def test_round_trip_of_every_voxel_size(size):
    voxel, shape, allowed = VOXELS[size]
    assert_round_trip(shape, affine_of(voxel, shape, ((1, 2, 0), -1, 1, -1)), allowed)


@pytest.mark.parametrize("size", VOXELS)
@pytest.mark.parametrize("angles", ANGLES)
def test_round_trip_of_oblique_scans(angles, size):
    voxel, shape, allowed = VOXELS[size]
    orientation = ((2, 0, 1), 1, -1, 1)
    assert_round_trip(shape, affine_of(voxel, shape, orientation, angles), allowed + 0.01)


def test_a_scan_of_the_models_voxel_size_is_not_interpolated():
    shape = (30, 34, 26)
    scan = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    grid = plan_grid(shape, affine_of((2, 2, 2), shape, ((1, 2, 0), -1, 1, -1)))
    tensor = grid.to_model(scan)
    np.testing.assert_array_equal(grid.to_scan(tensor), scan)
    assert sorted(tensor[tensor != 0].tolist()) == sorted(scan.ravel().tolist())


def test_directions_of_the_tensor():
    """One bright voxel: it moves with right, anterior and superior, whatever the stored axes."""
    shape, affine = (40, 44, 36), affine_of((2, 2, 2), (40, 44, 36), ((2, 0, 1), -1, 1, -1))
    for axis in range(3):
        places = []
        for steps in (0, 5):
            index = np.array([20, 22, 18]) + steps * np.rint(affine[axis, :3] / 2).astype(int)
            scan = np.zeros(shape, np.float32)
            scan[tuple(index)] = 1
            tensor = plan_grid(shape, affine).to_model(scan)[0, 0]
            places.append(np.array(np.unravel_index(int(tensor.argmax()), tensor.shape)))
        np.testing.assert_array_equal(places[1] - places[0], 5 * np.eye(3)[axis])


@pytest.mark.parametrize("angles", [(0, 0, 0), (12, 7, -9)])
def test_linear_without_reduction_is_scipys(angles):
    """Finer targets need no anti-aliasing: plain trilinear interpolation."""
    rng = np.random.default_rng(1)
    source, shape = rng.normal(size=(11, 13, 12)), (25, 22, 27)
    affine = affine_of((3, 3.5, 2.5), source.shape, angles=angles)
    target = affine_of((1.1, 1.2, 1.3), shape)
    got = resample(torch.from_numpy(source), affine, shape, target).numpy()
    transform = np.linalg.solve(affine, target)
    padded = np.pad(source, 1, mode="edge")
    matrix, offset = transform[:3, :3], transform[:3, 3] + 1
    want = affine_transform(padded, matrix, offset, shape, order=1, mode="constant")
    index = world(shape, transform)
    inside = ((index >= -0.5) & (index <= np.array(source.shape) - 0.5)).all(-1)
    clear = (np.abs(index + 0.5) > 1e-3).all(-1)  # rounding decides what is exactly on the edge
    np.testing.assert_allclose(got[clear], (want * inside)[clear], atol=2e-5)


@pytest.mark.parametrize("angles", [(0, 0, 0), (12, 7, -9)])
def test_reduction_averages_noise_and_keeps_the_mean(angles):
    shape = (96, 96, 96)
    noise = np.random.default_rng(2).normal(5, 1, shape).astype(np.float32)
    grid = plan_grid(shape, affine_of((1, 1, 1), shape, angles=angles), voxel_mm=3.0)
    middle = tuple(slice(side // 2 - 8, side // 2 + 8) for side in grid.shape)
    inner = grid.to_model(noise)[0, 0][middle]
    assert abs(float(inner.mean()) - 5) < 0.02
    assert float(inner.std()) < 0.2  # a mere sample would keep up to 1, an average of 27 has 0.19


@pytest.mark.parametrize("angles", [(0, 0, 0), (12, 7, -9)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32])
def test_nearest_keeps_labels(angles, dtype):
    shape = (50, 40, 60)
    affine = affine_of((1, 1.5, 1), shape, ((1, 0, 2), 1, -1, 1), angles)
    labels = (100 * (world(shape, affine)[..., 0] > 3) + 7).astype(dtype)
    grid = plan_grid(shape, affine)
    tensor = grid.to_model(labels, "nearest")
    assert set(tensor.unique().tolist()) == {0.0, 7.0, 107.0}
    back = grid.to_scan(tensor, "nearest")
    assert (back == labels)[4:-4, 4:-4, 4:-4].mean() > 0.97


@pytest.mark.parametrize("angles", [(0, 0, 0), (12, 7, -9)])
def test_the_grid_holds_the_brain_and_little_else(angles):
    shape = (120, 134, 114)
    affine = affine_of((1.5, 1.5, 1.5), shape, ((2, 0, 1), -1, 1, 1), angles)
    mask = (((world(shape, affine) - [5, -20, 10]) / [65, 85, 60]) ** 2).sum(-1) < 1
    data = np.where(mask, 100, 0).astype(np.float32)
    model = to_model_grid(Volume(data, affine, None, None, "", 0), mask)
    assert model.grid.shape == (80, 96, 80)
    assert model.mask.dtype == torch.bool
    assert abs(float(model.mask.sum()) * 8 / 3.375 / mask.sum() - 1) < 0.01
    edges = torch.ones_like(model.mask)
    edges[..., 1:-1, 1:-1, 1:-1] = False
    assert not (model.mask & edges).any()
    back = model.grid.to_scan(model.image)
    assert (back[mask] > 50).mean() > 0.97
    assert (back[~mask] < 50).mean() > 0.97
    bare = to_model_grid(Volume(data, affine, None, None, "", 0))
    assert bare.mask is None
    assert np.prod(bare.grid.shape) > np.prod(model.grid.shape)


def test_same_bits_for_any_number_of_threads():
    shape = (60, 50, 40)
    scan = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    for angles in ((0, 0, 0), (10, 20, 30)):
        grid = plan_grid(shape, affine_of((1, 1, 1), shape, angles=angles))
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            tensor = grid.to_model(scan)
            results.append((tensor, grid.to_scan(tensor)))
        for tensor, back in results[1:]:
            assert torch.equal(tensor, results[0][0])
            np.testing.assert_array_equal(back, results[0][1])


SHAPE = (20, 20, 20)
GRID = plan_grid(SHAPE, np.diag([2.0, 2, 2, 1]))


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda: plan_grid(SHAPE, np.eye(4), voxel_mm=0), "value"),
        (lambda: plan_grid(SHAPE, np.eye(4), np.zeros(SHAPE, bool)), "mask-empty"),
        (lambda: plan_grid(SHAPE, np.eye(4), np.ones((3, 4, 5), bool)), "grid-mismatch"),
        (lambda: GRID.to_model(np.zeros((3, 4, 5))), "grid-mismatch"),
        (lambda: GRID.to_scan(torch.zeros(1, 1, 3, 4, 5)), "grid-mismatch"),
        (lambda: GRID.to_model(np.zeros(SHAPE), "cubic"), "value"),
    ],
)
def test_refusals(call, code):
    with pytest.raises(DalFastError) as refused:
        call()
    assert refused.value.code == code
