"""components3d and remove_small against scipy, number by number, on random and awkward masks."""

from functools import cache

import numpy as np
import pytest
import torch
from scipy import ndimage
from support import LAYOUTS, SHAPES, each_isa

from dal_fast import DalFastError, reference
from dal_fast.ops import components3d, remove_small
from dal_fast.ops.components3d import _components3d, _remove_small

CONNECTIVITIES = {6: 1, 18: 2, 26: 3}  # and scipy's name for each
DENSITIES = [0.03, 0.15, 0.35, 0.8]
each_connectivity = pytest.mark.parametrize("connectivity", CONNECTIVITIES)


def scipy_labels(mask, connectivity):
    """scipy.ndimage.label of every volume of (N, C, D, H, W)."""
    structure = ndimage.generate_binary_structure(3, CONNECTIVITIES[connectivity])
    out = torch.zeros(mask.shape, dtype=torch.int32)
    for n, c in np.ndindex(*mask.shape[:2]):
        out[n, c] = torch.from_numpy(ndimage.label(mask[n, c].numpy(), structure)[0])
    return out


def large_only(mask, labels, min_voxels):
    out = torch.zeros_like(mask)
    for n, c in np.ndindex(*mask.shape[:2]):
        sizes = torch.bincount(labels[n, c].flatten())
        out[n, c] = mask[n, c] & (sizes >= min_voxels)[labels[n, c].long()]
    return out


def random_mask(shape, density, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < density


@cache
def labels_of_random(shape, density, connectivity):
    return scipy_labels(random_mask(shape, density), connectivity)


@cache
def labels_of_special(name, connectivity):
    return scipy_labels(dict(special_masks())[name][None, None], connectivity)


def spiral(n):
    """One square spiral, a voxel wide, that winds through the plane; its walls a voxel wide too."""
    plane = np.zeros((n, n), bool)
    y = x = turn = 0
    dy, dx = 0, 1
    plane[0, 0] = True
    while turn < 2:
        ny, nx, fy, fx = y + dy, x + dx, y + 2 * dy, x + 2 * dx
        blocked = not (0 <= ny < n and 0 <= nx < n) or (
            0 <= fy < n and 0 <= fx < n and plane[fy, fx]
        )
        if blocked:
            dy, dx = dx, -dy
            turn += 1
        else:
            y, x, turn = ny, nx, 0
            plane[y, x] = True
    return torch.from_numpy(plane)


def comb(depth, height, width):
    """Teeth along z that only the last plane joins: every merge comes late."""
    mask = torch.zeros(depth, height, width, dtype=torch.bool)
    mask[:, ::2, ::2] = True
    mask[-1] = True
    return mask


def special_masks():
    z, y, x = np.ogrid[:9, :10, :131]
    yield "empty", torch.zeros(5, 7, 70, dtype=torch.bool)
    yield "full", torch.ones(5, 7, 128, dtype=torch.bool)
    yield "checkerboard", torch.from_numpy((z + y + x) % 2 == 0)
    yield "checkerboard, odd", torch.from_numpy((z + y + x) % 2 == 1)
    yield "diagonal steps", torch.from_numpy((z == y) & (x == 13 * z))
    yield "corners", torch.from_numpy((z % 2 == 0) & (y % 2 == 0) & (x % 2 == 0))
    yield "corner chains", torch.from_numpy((z == y) & ((x + z) % 3 == 0))
    yield "planes", torch.from_numpy((x % 2 == 0) & (z + y >= 0))
    yield "spiral in y and x", spiral(71).expand(3, 71, 71)
    yield "spiral in z and y", spiral(37)[:, :, None].expand(37, 37, 66)
    yield "spiral in z and x", spiral(67)[:, None, :].expand(67, 2, 67)
    yield "comb", comb(12, 9, 131)
    yield "comb upside down", comb(12, 9, 131).flip(0)
    single = torch.zeros(4, 5, 66, dtype=torch.bool)
    single[3, 4, 65] = True
    yield "single voxel", single
    # the lower node is the later voxel: (z + 1, y) before (z, y + 1) in the same 2 x 2 rows
    order = torch.zeros(4, 4, 8, dtype=torch.bool)
    order[1, 0, 0] = order[0, 1, 5] = order[0, 3, 2] = order[3, 3, 7] = True
    yield "node order", order


@each_isa
@each_connectivity
@pytest.mark.parametrize(
    "shape", [*SHAPES, (1, 1, 6, 5, 200), (1, 2, 33, 18, 64), (3, 1, 5, 6, 65)]
)
def test_equals_scipy(isa, shape, connectivity):
    for density in DENSITIES:
        mask = random_mask(shape, density)
        want = labels_of_random(shape, density, connectivity)
        got = components3d(mask, connectivity)
        assert got.dtype == torch.int32
        assert torch.equal(got, want), density
        for min_voxels in (0, 1, 2, 5, 40):
            kept = remove_small(mask, min_voxels, connectivity)
            assert torch.equal(kept, large_only(mask, want, min_voxels)), (density, min_voxels)


@each_isa
@each_connectivity
@pytest.mark.parametrize(
    ("name", "mask"), list(special_masks()), ids=lambda v: v if type(v) is str else ""
)
def test_special_masks(isa, name, mask, connectivity):
    mask = mask[None, None]
    want = labels_of_special(name, connectivity)
    assert torch.equal(components3d(mask, connectivity), want)
    assert torch.equal(remove_small(mask, 3, connectivity), large_only(mask, want, 3))


@each_connectivity
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("density", [0.15, 0.4])
def test_reference_equals_scipy(shape, density, connectivity):
    mask = random_mask(shape, density)
    want = scipy_labels(mask, connectivity)
    assert torch.equal(reference.components3d(mask, connectivity), want)
    assert torch.equal(components3d(mask, connectivity, backend="reference"), want)
    kept = remove_small(mask, 4, connectivity, backend="reference")
    assert torch.equal(kept, large_only(mask, want, 4))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout):
    x = torch.rand(2, 2, 7, 13, 17, generator=torch.Generator().manual_seed(5))
    mask = LAYOUTS[layout](x) > 0.7
    mask = torch.as_strided(mask, mask.size(), mask.stride())
    assert torch.equal(components3d(mask), scipy_labels(mask.contiguous(), 26))
    flipped = mask.transpose(2, 4)
    assert torch.equal(components3d(flipped), scipy_labels(flipped.contiguous(), 26))
    one = mask[:, :, :, :1].expand(2, 2, 7, 9, 17)
    assert torch.equal(remove_small(one, 20), remove_small(one.contiguous(), 20))


@each_isa
@each_connectivity
def test_threads_poison_and_bits(isa, connectivity, poisoned):
    """Output and workspace are poisoned; one volume is cut into slabs, many are dealt out."""
    for shape in ((1, 1, 61, 48, 65), (2, 4, 9, 10, 11)):
        mask = random_mask(shape, 0.22)
        want = labels_of_random(shape, 0.22, connectivity)
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            assert torch.equal(components3d(mask, connectivity), want)
            assert torch.equal(remove_small(mask, 9, connectivity), large_only(mask, want, 9))


@each_isa
def test_bytes_other_than_one_are_inside(isa):
    raw = torch.tensor([0, 1, 2, 128, 255, 0, 7], dtype=torch.uint8).repeat(1, 1, 1, 1, 20)
    assert torch.equal(components3d(raw.view(torch.bool)), scipy_labels(raw != 0, 26))


def test_every_volume_is_numbered_by_itself():
    one = random_mask((1, 1, 8, 9, 10), 0.1)
    labels = components3d(one.expand(3, 2, 8, 9, 10))
    assert torch.equal(labels, components3d(one).expand(3, 2, 8, 9, 10))


def test_opcheck():
    mask = random_mask((2, 2, 4, 5, 6), 0.3)
    torch.library.opcheck(_components3d.overload, (mask, 18, "cpu"))
    torch.library.opcheck(_remove_small.overload, (mask, 3, 26, "cpu"))


def test_compiles_without_graph_break():
    def largest(mask):
        return components3d(remove_small(mask, 3)) == 1

    compiled = torch.compile(largest, fullgraph=True, backend="aot_eager")
    mask = random_mask((1, 1, 6, 7, 8), 0.15)
    assert torch.equal(compiled(mask), largest(mask))


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda m: components3d(m[0]), "shape"),
        (lambda m: components3d(m[..., :0]), "shape"),
        (lambda m: components3d(m.int()), "mask-dtype"),
        (lambda m: components3d(None), "not-a-tensor"),
        (lambda m: components3d(m, 8), "connectivity"),
        (lambda m: components3d(m[..., :1].expand(1, 1, 4, 2**16, 2**16)), "shape"),
        (lambda m: remove_small(m, -1), "value"),
        (lambda m: remove_small(m, 3, 4), "connectivity"),
        (lambda m: remove_small(m, 3, backend="triton"), "backend-unavailable"),
    ],
)
def test_refusals(call, code):
    with pytest.raises(DalFastError) as refused:
        call(torch.ones(1, 1, 4, 1, 6, dtype=torch.bool))
    assert refused.value.code == code
