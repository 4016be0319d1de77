"""A head's place in the network's volume: where, which way up, how bright, and back."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from dal_fast import DalFastError
from dal_fast.imaging.head_grid import normalise_head, place_head
from dal_fast.imaging.nifti import Volume

MM, SHAPE = 2.5, (48, 64, 64)


def _volume(data, affine):
    return Volume(np.asfortranarray(data, np.float32), affine, None, Path("head.nii"), "", 0)


def _affine(axes, sizes, turn_degrees, shape):
    """Voxel to world, the middle of the scan at (5, -8, 12)."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for i, (axis, sign) in enumerate(nib.orientations.axcodes2ornt(tuple(axes))):
        affine[int(axis), i] = sign * sizes[i]
    a, b = np.radians(turn_degrees), np.radians(turn_degrees / 2)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    affine[:3, :3] = about_x @ about_z @ affine[:3, :3]
    affine[:3, 3] = [5, -8, 12] - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def _world(affine, shape):
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def _depth(points):
    """Signed distance to a sphere of 30 mm around (8, -4, 20), within 10 mm."""
    return np.clip(30 - np.linalg.norm(points - [8, -4, 20], axis=-1), -10, 10)


@pytest.mark.parametrize("turn", [0, 20], ids=["straight", "oblique"])
@pytest.mark.parametrize(
    ("axes", "sizes"),
    [("RAS", (1, 1, 1)), ("LPS", (0.8, 0.8, 6)), ("PSR", (2, 2, 2)), ("ILP", (1.2, 3, 1))],
    ids=lambda value: str(value).replace(" ", ""),
)
def test_what_the_network_says_comes_back_to_its_place(axes, sizes, turn):
    field = np.array([110.0, 150.0, 140.0])
    codes = nib.orientations.axcodes2ornt(tuple(axes))
    shape = tuple(int(field[int(a)] / s) for (a, _), s in zip(codes, sizes, strict=True))
    affine = _affine(axes, sizes, turn, shape)
    truth = _depth(_world(affine, shape))
    x, grid = place_head(_volume(truth + 10, affine), MM, SHAPE)
    assert x.shape == (1, 1, *SHAPE)
    assert x.dtype == torch.float32
    # right, anterior, superior, as far as the scan's own axes allow
    assert np.abs(grid.affine[:3, :3]).argmax(0).tolist() == [0, 1, 2]
    assert (np.diag(grid.affine)[:3] > 0).all()
    assert np.linalg.norm(grid.affine[:3, :3], axis=0) == pytest.approx([MM] * 3)
    seen = torch.from_numpy(_depth(_world(grid.affine, SHAPE))).float()[None, None]
    back = grid.to_scan(seen)
    assert back.dtype == np.float32
    assert back.shape == shape
    assert back.flags.f_contiguous
    inside = truth > -9  # the sphere and its surroundings lie within the volume
    assert np.abs(back - truth)[inside].max() < 1.2
    assert ((back > 0) != (truth > 0)).mean() < 0.004


def _head(shape=(100, 110, 200)):
    """2 mm, RAS: shoulders below, a neck, a head whose top is at z = 170."""
    x, y, z = np.meshgrid(*(np.arange(n, dtype=float) for n in shape), indexing="ij")
    head = ((x - 60) / 36) ** 2 + ((y - 52) / 42) ** 2 + ((z - 125) / 45) ** 2 < 1
    neck = (((x - 60) / 20) ** 2 + ((y - 50) / 20) ** 2 < 1) & (z < 100)
    return (head | neck | (z < 40)).astype(np.float32)


@pytest.mark.parametrize("air", [0.0, 0.08], ids=["clean", "noisy"])
def test_a_tall_scan_is_cut_below_its_head(air):
    rng = np.random.default_rng(0)
    data = np.hypot(_head() + air * rng.standard_normal((100, 110, 200)),
                    air * rng.standard_normal((100, 110, 200)))  # fmt: skip
    volume = _volume(900 * data, np.diag([2.0, 2.0, 2.0, 1.0]))
    x, grid = place_head(volume, MM, SHAPE)
    top = (np.linalg.inv(grid.affine) @ [120, 104, 340, 1])[2]
    assert top == pytest.approx(SHAPE[2] - 1 - 10 / MM, abs=2.5)
    centre = (np.linalg.inv(grid.affine) @ [120, 104, 250, 1])[:2]
    assert centre == pytest.approx([23.5, 31.5], abs=3)
    assert float(x.max()) > 0.9


def test_a_small_scan_lies_in_the_middle_and_nothing_is_beyond_it():
    data = np.ones((20, 30, 10)) + np.arange(20)[:, None, None]
    x, grid = place_head(_volume(data, np.diag([2.5, 2.5, 2.5, 1.0])), MM, SHAPE)
    covered = (x[0, 0] > 0).nonzero()
    assert covered.min(0).values.tolist() == [16, 17, 27]  # the darkest plane is 0
    assert covered.max(0).values.tolist() == [33, 46, 36]
    outside = _volume(np.ones((100, 30, 10)), np.diag([2.5, 2.5, 2.5, 1.0]))
    back = place_head(outside, MM, SHAPE)[1].to_scan(torch.zeros(1, 1, *SHAPE))
    assert back.min() == -10
    assert (back == 0).sum() == 48 * 30 * 10
    assert grid.scan_shape == (20, 30, 10)


@pytest.mark.parametrize(("scale", "offset"), [(1, 0), (3000, -1024), (1e-6, 0), (7e6, 5e5)])
def test_unit_and_offset_do_not_matter(scale, offset):
    data = _head((40, 50, 60)) * np.random.default_rng(0).uniform(0.5, 1, (40, 50, 60))
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    plain = place_head(_volume(data, affine), MM, SHAPE)[0]
    other = place_head(_volume(data * scale + offset, affine), MM, SHAPE)[0]
    assert (plain - other).abs().max() < 1e-2
    assert plain.min() == 0
    assert 1 <= plain.max() <= 1.5


@pytest.mark.parametrize("value", [0, 5, -1024])
def test_a_constant_is_nothing(value):
    x, _ = place_head(_volume(np.full((30, 30, 30), value), np.eye(4)), MM, SHAPE)
    assert not x.any()


def test_normalisation_ignores_what_lies_outside():
    x = torch.rand(30, 30, 30, generator=torch.Generator().manual_seed(0))
    inside = torch.zeros(30, 30, 30, dtype=torch.bool)
    inside[5:25] = True
    spoilt = torch.where(inside, x, torch.tensor(1e6))
    assert torch.equal(normalise_head(spoilt, inside), normalise_head(x, inside))
    assert not normalise_head(x, ~inside & inside).any()


def test_refusals():
    volume = _volume(np.ones((5, 5, 5)), np.eye(4))
    with pytest.raises(DalFastError) as caught:
        place_head(volume, 0.0, SHAPE)
    assert caught.value.code == "value"
    with pytest.raises(DalFastError) as caught:
        place_head(volume, MM, SHAPE)[1].to_scan(torch.zeros(1, 1, 4, 4, 4))
    assert caught.value.code == "grid-mismatch"


@pytest.mark.parametrize(("axes", "sizes"), [("LPS", (1.0, 1.5, 6.0)), ("PSR", (2.0, 1.0, 1.5))])
def test_the_distance_to_the_scans_faces(axes, sizes):
    shape = (40, 60, 30)
    affine = _affine(axes, sizes, 20, shape)
    _, grid = place_head(_volume(np.random.default_rng(0).random(shape), affine), MM, SHAPE)
    to_scan = np.linalg.inv(affine)
    index = _world(grid.affine, SHAPE) @ to_scan[:3, :3].T + to_scan[:3, 3]
    nearest = (np.minimum(index + 0.5, np.array(shape) - 0.5 - index) * sizes).min(-1)
    assert np.allclose(grid.to_faces().numpy(), nearest, atol=1e-3)
    assert (nearest > 0).any()
    assert (nearest < 0).any()
