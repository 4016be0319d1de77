"""The compiled stages beside the brain extraction's network against Python."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from support import each_isa

from dal_fast.context import _C
from dal_fast.imaging.brain_shape import unusual_shape
from dal_fast.imaging.grid import resample
from dal_fast.imaging.head_grid import _covering, place_head
from dal_fast.imaging.nifti import Volume, read_volume
from dal_fast.screening import brain_verdict
from dal_fast.screening.brain_distance import clean_distance, mask_quality

SHAPE, VOXEL_MM = (80, 96, 96), 2.5
CLAUSES = ("width", "height", "halves", "above", "front")


def turned(degrees, axes=(0, 1, 2), flips=(1, 1, 1), sizes=(3.0, 3.0, 3.0)):
    """An affine whose columns are permuted, flipped, scaled and turned."""
    a, b = np.deg2rad(degrees), np.deg2rad(degrees / 2)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = (about_z @ about_x)[:, axes] * np.multiply(flips, sizes)
    affine[:3, 3] = 11.0, -7.0, 3.0
    return affine


def volume_of(data, affine):
    return Volume(data, affine, None, Path("head.nii"), "", 0)


CASES = [
    (turned(0), (40, 50, 45)),
    (turned(12, (2, 0, 1), (-1, 1, -1), (1.4, 2.2, 5.0)), (50, 60, 30)),
    (turned(44, (1, 0, 2), (1, -1, 1)), (50, 60, 55)),
    (turned(5, sizes=(2.0, 2.0, 2.0)), (130, 150, 190)),  # larger than the network's volume
]


def scan_of(case, seed=0):
    affine, shape = case
    g = np.random.default_rng(seed)
    lines = [np.linspace(-1.1, 1.1, n) for n in shape]
    radius = np.sqrt(sum(x**2 for x in np.meshgrid(*lines, indexing="ij")))
    data = (300 * np.clip(1 - radius, 0, None) ** 0.5 + g.random(shape) * 20).astype(np.float32)
    return volume_of(np.asfortranarray(data), affine)


@pytest.mark.parametrize("case", CASES, ids=lambda c: "x".join(map(str, c[1])))
def test_the_grid_over_a_scan(case):
    volume = scan_of(case)
    affine, sides = _covering(volume, VOXEL_MM)
    got_sides, got = _C.cpu.cover_head(
        scan_shape=volume.data.shape, scan_affine=volume.affine.ravel().tolist(), voxel_mm=VOXEL_MM
    )
    assert tuple(got_sides) == sides
    assert np.reshape(got, (4, 4)) == pytest.approx(affine, abs=1e-9)


@pytest.mark.parametrize("case", CASES, ids=lambda c: "x".join(map(str, c[1])))
def test_a_placed_head(case, poisoned):
    volume = scan_of(case)
    want, grid = place_head(volume, VOXEL_MM, SHAPE)
    affine, sides = _covering(volume, VOXEL_MM)
    whole = resample(torch.from_numpy(volume.data), volume.affine, sides, affine)
    found = []
    for threads in (1, 3):
        out = torch.empty(1, 1, *SHAPE)
        work = torch.empty(_C.cpu.place_head_workspace(sides=sides, shape=SHAPE), dtype=torch.uint8)
        placed = _C.cpu.place_head(
            whole=whole.data_ptr(), sides=sides, affine=affine.ravel().tolist(),
            voxel_mm=VOXEL_MM, shape=SHAPE, out=out.data_ptr(), workspace=work.data_ptr(),
            where=threads,
        )  # fmt: skip
        assert np.reshape(placed, (4, 4)) == pytest.approx(grid.affine, abs=1e-9)
        found.append(out)
    assert torch.equal(*found)
    assert (found[0] - want).abs().max() < 1e-6
    assert want.max() > 0.5


def test_a_head_without_contrast_is_nothing():
    volume = volume_of(np.full((40, 40, 40), 7.0, np.float32, order="F"), turned(0))
    affine, sides = _covering(volume, VOXEL_MM)
    whole, out = torch.full(sides, 7.0), torch.full(SHAPE, torch.nan)
    work = torch.empty(_C.cpu.place_head_workspace(sides=sides, shape=SHAPE), dtype=torch.uint8)
    _C.cpu.place_head(
        whole=whole.data_ptr(), sides=sides, affine=affine.ravel().tolist(), voxel_mm=VOXEL_MM,
        shape=SHAPE, out=out.data_ptr(), workspace=work.data_ptr(), where=1,
    )  # fmt: skip
    assert not out.any()


def distances(kind, shape=(48, 52, 44)):
    """Two predictions of a distance that differ a little."""
    g = torch.Generator().manual_seed(3)
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in shape), indexing="ij")
    radius = sum(x**2 for x in axes).sqrt()
    distance = 40 * (0.75 - radius)
    if kind == "hollow":
        distance = torch.where(radius < 0.3, -distance.abs(), distance)
    if kind == "two":
        distance = torch.maximum(distance - 14, 40 * (0.25 - (radius - 1.2).abs()))
    if kind == "odd":
        distance = distance - 12 * axes[0] * axes[1] + 9 * (axes[2] > 0.4) - 6 * axes[1]
    if kind == "cut":
        distance = distance + 16
    if kind == "nothing":
        distance = -distance.abs() - 1
    a, b = torch.randn((2, *shape), generator=g)
    return (distance + 0.4 * a)[None, None], (distance + 0.4 * b)[None, None]


@each_isa
@pytest.mark.parametrize("kind", ["ball", "hollow", "two", "odd", "cut", "nothing"])
def test_the_clean_distance_and_how_far_to_trust_it(isa, kind, poisoned):
    first, mirrored = distances(kind)
    want = clean_distance((first + mirrored) / 2)
    bits = []
    for threads in (1, 2):
        got, a, b = torch.empty(first.shape), first.clone(), mirrored.clone()
        shape = tuple(first.shape[2:])
        work = torch.empty(
            _C.cpu.brain_distance_workspace(shape=shape, where=threads), dtype=torch.uint8
        )
        found = _C.cpu.brain_distance(
            first=a.data_ptr(), mirrored=b.data_ptr(), faces=0, voxel_mm=VOXEL_MM,
            clean=got.data_ptr(), shape=shape, workspace=work.data_ptr(), where=threads,
        )  # fmt: skip
        bits.append((found, got))
    assert bits[0][0] == bits[1][0]
    assert found[0] == (want is not None)
    if want is None:
        return
    assert torch.equal(got, want)
    assert torch.equal(bits[0][1], got)
    quality = mask_quality(first, mirrored, want, VOXEL_MM)
    wanted = (quality.confidence, quality.agreement, quality.sharpness, quality.sphericity)
    assert found[1:5] == pytest.approx(wanted, abs=1e-5)
    clauses = unusual_shape((want[0, 0] > 0).numpy())
    odd = [name for bit, name in enumerate(CLAUSES) if found[6] >> bit & 1]
    assert len(odd) == len(clauses)
    assert all(name in clause for name, clause in zip(odd, clauses, strict=True))


def test_faces_cut_a_distance_off():
    affine, scan = turned(0, sizes=(2.0, 2.0, 2.0)), turned(0, (2, 0, 1), (1, -1, 1))
    shape, scan_shape = (20, 22, 18), (15, 16, 14)
    faces = torch.empty(shape)
    _C.cpu.distance_to_faces(
        affine=affine.ravel().tolist(), shape=shape, scan_shape=scan_shape,
        scan_affine=scan.ravel().tolist(), out=faces.data_ptr(),
    )  # fmt: skip
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    at = (world - scan[:3, 3]) @ np.linalg.inv(scan[:3, :3]).T
    inside = np.minimum(at + 0.5, np.array(scan_shape) - 0.5 - at) * 3.0
    assert faces.numpy() == pytest.approx(inside.min(-1), abs=1e-4)
    first, clean = torch.full((1, 1, *shape), 5.0), torch.empty(1, 1, *shape)
    mirrored = first.clone()
    work = torch.empty(_C.cpu.brain_distance_workspace(shape=shape, where=1), dtype=torch.uint8)
    found = _C.cpu.brain_distance(
        first=first.data_ptr(), mirrored=mirrored.data_ptr(), faces=faces.data_ptr(),
        voxel_mm=2.0, clean=clean.data_ptr(), shape=shape, workspace=work.data_ptr(), where=1,
    )  # fmt: skip
    assert torch.equal(first[0, 0], (faces + 2).clamp_max(5))
    assert found[-1]


def test_a_real_head_is_placed_the_same(shared_data):
    volume = read_volume(next((shared_data / "heads").rglob("*.nii.gz")))
    want, grid = place_head(volume, VOXEL_MM, SHAPE)
    affine, sides = _covering(volume, VOXEL_MM)
    whole, out = resample(torch.from_numpy(volume.data), volume.affine, sides, affine), want + 1
    work = torch.empty(_C.cpu.place_head_workspace(sides=sides, shape=SHAPE), dtype=torch.uint8)
    placed = _C.cpu.place_head(
        whole=whole.data_ptr(), sides=sides, affine=affine.ravel().tolist(), voxel_mm=VOXEL_MM,
        shape=SHAPE, out=out.data_ptr(), workspace=work.data_ptr(), where=2,
    )  # fmt: skip
    assert np.reshape(placed, (4, 4)) == pytest.approx(grid.affine, abs=1e-9)
    assert (out - want).abs().max() < 1e-6


def test_both_refuse_at_the_same_limits():
    header = (Path(__file__).parents[2] / "csrc/chain/brain.h").read_text()
    struct = header.partition("struct BrainLimits")[2].partition("};")[0]
    names = ("hopeless", "unlikely", "roundest", "round", "smallest_ml", "largest_ml")
    for name in names:
        (value,) = re.findall(rf"\b{name} = ([0-9.]+)", struct)
        assert float(value) == getattr(brain_verdict, name.upper()), name
