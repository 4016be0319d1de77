"""tfce3d against a sum over every level by scipy, in float64, on random and awkward volumes."""

from functools import cache

import numpy as np
import pytest
import torch
from cuda_on_host.build import why_not
from engines import ORDERS, host_cuda
from scipy import ndimage
from support import DTYPES, LAYOUTS, SHAPES, each_isa

from dal_fast import DalFastError, context
from dal_fast.ops import tfce3d
from dal_fast.ops.tfce3d import _tfce3d

CONNECTIVITIES = {6: 1, 18: 2, 26: 3}  # and scipy's name for each
POWERS = [(0.5, 2.0), (1.0, 1.0), (0.0, 0.0), (2.0, 3.0), (0.25, 0.5), (0.37, -0.6), (1.5, 1.3)]
# of the result: what the storage type costs; all else is done in double
RELATIVE = {
    torch.float64: 1e-12, torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3,
}  # fmt: skip
TINY = {torch.float64: 0, torch.float32: 1e-44, torch.float16: 6e-8, torch.bfloat16: 1e-40}
each_connectivity = pytest.mark.parametrize("connectivity", CONNECTIVITIES)


def level_by_level(x, extent_power, height_power, connectivity):
    """One volume (D, H, W), float64, 0 in the background; scipy labels the map at every value."""
    structure = ndimage.generate_binary_structure(3, CONNECTIVITIES[connectivity])
    out, below, power = np.zeros_like(x), 0.0, height_power + 1
    for level in np.unique(x[x > 0]):
        labels, _ = ndimage.label(x >= level, structure)
        extent = np.bincount(labels.ravel()).astype(np.float64)
        extent[0] = 0
        inside = labels > 0
        out[inside] += (
            extent[labels[inside]] ** extent_power * (level**power - below**power) / power
        )
        below = level
    return out


def brute_force(x, mask=None, extent_power=0.5, height_power=2.0, connectivity=26):
    """(N, C, D, H, W) in the dtype of x."""
    values = np.nan_to_num(x.double().numpy(), nan=0.0, posinf=np.inf, neginf=0.0)
    inside = np.ones(x.shape, bool) if mask is None else mask.expand(x.shape).numpy()
    values = np.where(inside & (values > 0), values, 0.0)
    out = np.zeros_like(values)
    for n, c in np.ndindex(*x.shape[:2]):
        out[n, c] = level_by_level(values[n, c], extent_power, height_power, connectivity)
    return torch.from_numpy(out).to(x.dtype)


def assert_near(got, want):
    assert got.dtype == want.dtype
    assert got.is_contiguous()
    torch.testing.assert_close(
        got.double(), want.double(), rtol=RELATIVE[got.dtype], atol=TINY[got.dtype]
    )
    assert torch.equal(got == 0, want == 0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(shape, dtype=torch.float64, levels=None):
    """Half of it positive; rounded to `levels` steps a unit, it has ties."""
    x = torch.randn(shape, generator=generator(), dtype=torch.float64)
    return (x if levels is None else (x * levels).round() / levels).to(dtype)


def mask_of(shape):
    n, _, *space = shape
    return torch.rand(n, 1, *space, generator=generator(5)) < 0.7


@cache
def expected(shape, dtype, levels, masked, powers, connectivity):
    mask = mask_of(shape) if masked else None
    return brute_force(noise(shape, dtype, levels), mask, *powers, connectivity)


@cache
def of_awkward_volume(name, connectivity):
    """In float64; of "ramp" alone there are 3,330 levels to label."""
    x = dict(awkward_volumes())[name].double()[None, None]
    return brute_force(x, connectivity=connectivity)


def spiral(n):
    """Values that rise along a path that winds inwards, (n, n), 0 between its turns."""
    plane, y, x, dy, dx = np.zeros((n, n)), 0, 0, 0, 1
    for value in range(1, n * n):
        plane[y, x] = value
        ahead = [(y + dy, x + dx), (y + 2 * dy, x + 2 * dx)]
        if any(not (0 <= a < n and 0 <= b < n) for a, b in ahead[:1]) or any(
            0 <= a < n and 0 <= b < n and plane[a, b] for a, b in ahead
        ):
            dy, dx = dx, -dy
        if plane[min(n - 1, max(0, y + dy)), min(n - 1, max(0, x + dx))]:
            break
        y, x = y + dy, x + dx
    return torch.from_numpy(plane)


def awkward_volumes():
    """(name, (D, H, W) in float64)."""
    z, y, x = (torch.from_numpy(a).double() for a in np.ogrid[:9, :10, :37])
    rising = torch.arange(9 * 10 * 37, dtype=torch.float64).view(9, 10, 37)
    teeth = ((y % 2 == 0) & (x % 2 == 0)).double()
    comb = teeth * (20 - z + x / 64)
    comb[-1] = 0.5  # the back joins all teeth, last of all
    yield "empty", torch.zeros(5, 7, 19)
    yield "all negative", -1 - rising
    yield "constant", torch.full((5, 7, 19), 0.3)
    yield "one voxel above 0", -rising + 1
    yield "one voxel in the last corner", (rising == rising.max()).double()
    yield "ramp", rising
    yield "ramp down", rising.flip(0, 1, 2)
    yield "comb", comb
    yield "comb upside down", comb.flip(0)
    yield "spiral", spiral(21).expand(2, 21, 21)
    yield "spiral from within", (spiral(21) > 0) * (442 - spiral(21)).expand(2, 21, 21)
    yield "spiral in depth", spiral(17)[:, :, None].expand(17, 17, 5)
    yield "plateaus", ((x // 5 + y // 4 + z // 3) % 4).expand(9, 10, 37)
    yield "terraces", (x // 6).expand(9, 10, 37)
    yield "checkerboard", ((z + y + x) % 2) * (1 + (x % 3))
    yield "corners only", ((z % 2 == 0) & (y % 2 == 0) & (x % 2 == 0)) * (1.0 + x)
    yield "two balls and a bridge", torch.maximum(
        torch.maximum(4 - (z - 4).abs() - (y - 4).abs() - (x - 6).abs(),
                      5 - (z - 4).abs() - (y - 5).abs() - (x - 28).abs()),
        0.25 * ((z == 4) & (y == 4)).double(),
    )  # fmt: skip
    for density in (0.1, 0.25, 0.31):  # about the thresholds of percolation: 26, 18 and 6
        uniform = torch.rand(9, 10, 37, generator=generator(3), dtype=torch.float64)
        yield f"percolation at {density}", uniform - (1 - density)


@each_isa
@each_connectivity
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shape", [s for s in SHAPES if s != (1, 1, 16, 24, 32)])
def test_equals_the_sum_over_all_levels(isa, shape, masked, connectivity, poisoned):
    mask = mask_of(shape) if masked else None
    for dtype in (torch.float32, torch.float64):
        want = expected(shape, dtype, None, masked, (0.5, 2.0), connectivity)
        got = tfce3d(noise(shape, dtype), mask, 0.5, 2.0, connectivity)
        assert_near(got, want)
        torch.testing.assert_close(got.double(), want.double(), rtol=1e-5, atol=1e-44)


@each_isa
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("powers", POWERS)
def test_dtypes_and_powers(isa, dtype, powers, poisoned):
    shape = (2, 2, 7, 13, 17)
    want = expected(shape, dtype, 6, True, powers, 18)
    assert_near(tfce3d(noise(shape, dtype, 6), mask_of(shape), *powers, 18), want)


@each_isa
@pytest.mark.parametrize("shape", [(1, 1, 16, 24, 32), (1, 1, 31, 29, 37), (1, 1, 2, 3, 300)])
def test_larger_volumes_with_ties(isa, shape):
    assert_near(
        tfce3d(noise(shape, torch.float32, 50)),
        expected(shape, torch.float32, 50, False, (0.5, 2.0), 26),
    )


@each_isa
@each_connectivity
@pytest.mark.parametrize(
    ("name", "x"), list(awkward_volumes()), ids=lambda v: v if type(v) is str else ""
)
def test_awkward_volumes(isa, name, x, connectivity, poisoned):
    x = x.double()[None, None]
    want = of_awkward_volume(name, connectivity)
    assert_near(tfce3d(x, connectivity=connectivity), want)
    assert_near(tfce3d(x.float(), connectivity=connectivity), want.float())


@each_isa
@pytest.mark.parametrize("dtype", DTYPES)
def test_values_that_are_no_numbers(isa, dtype):
    x = noise((1, 1, 6, 9, 21), dtype, 8)
    kind = torch.rand(x.shape, generator=generator(2))
    for i, value in enumerate((torch.inf, -torch.inf, torch.nan, 0.0, -0.0)):
        x[(kind >= 0.04 * i) & (kind < 0.04 * (i + 1))] = value
    got = tfce3d(x)
    assert_near(got, brute_force(x))
    assert torch.equal(got == torch.inf, x == torch.inf)
    clean = torch.where(x.isnan(), torch.tensor(0.0, dtype=dtype), x)
    assert torch.equal(got, tfce3d(clean))


@each_isa
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_very_small_and_very_large_values(isa, dtype):
    x = noise((1, 1, 4, 5, 19), torch.float64).to(dtype)
    tiny, huge = torch.finfo(dtype).tiny, torch.finfo(dtype).max / 64
    for scale in (tiny / 16, tiny, huge):  # below tiny: subnormal
        assert_near(tfce3d(x * scale, height_power=0.0), brute_force(x * scale, height_power=0.0))


@each_isa
@each_connectivity
def test_the_same_bits_for_every_number_of_threads_and_instruction_set(isa, connectivity, poisoned):
    """One volume is cut into planes, many are dealt out; more voxels than one thread's share."""
    for shape in ((1, 1, 61, 48, 65), (5, 1, 19, 20, 31), (2, 2, 9, 10, 11)):
        for dtype in (torch.float32, torch.float64):
            x = noise(shape, dtype)
            with context.use(instruction_set="portable"):
                torch.set_num_threads(1)
                want = tfce3d(x, connectivity=connectivity)
            for threads in (1, 2, 3, 7):
                torch.set_num_threads(threads)
                assert torch.equal(tfce3d(x, connectivity=connectivity), want)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout):
    x = LAYOUTS[layout](noise((2, 2, 5, 6, 7)))
    want = brute_force(x.contiguous())
    assert_near(tfce3d(x), want)
    assert_near(tfce3d(x.transpose(2, 4)), brute_force(x.transpose(2, 4).contiguous()))
    mask = mask_of((2, 1, 5, 6, 1)).expand(2, 1, 5, 6, 7)
    assert_near(tfce3d(x, mask), brute_force(x.contiguous(), mask))
    one = x[:1, :1].expand(2, 3, 5, 6, 7)
    assert torch.equal(tfce3d(one), tfce3d(x[:1, :1]).expand(2, 3, 5, 6, 7))


def test_bytes_other_than_one_are_inside_the_mask():
    raw = torch.tensor([0, 1, 2, 128, 255, 0, 7], dtype=torch.uint8).repeat(1, 1, 1, 1, 6)
    x = noise((1, 1, 1, 1, 42)).abs()
    assert torch.equal(tfce3d(x, raw.view(torch.bool)), tfce3d(x, raw != 0))


def test_a_flat_block_by_hand():
    """27 voxels of height 2 on 125 of height 1: 125^½ / 3 below, and 27^½ (8 - 1) / 3 on top."""
    x = torch.zeros(1, 1, 9, 9, 9, dtype=torch.float64)
    x[..., 2:7, 2:7, 2:7] = 1
    x[..., 3:6, 3:6, 3:6] = 2
    got = tfce3d(x)
    assert got[0, 0, 2, 2, 2].item() == pytest.approx(125**0.5 / 3, rel=1e-14)
    assert got[0, 0, 4, 4, 4].item() == pytest.approx(125**0.5 / 3 + 27**0.5 * 7 / 3, rel=1e-14)


@each_connectivity
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_reference_is_the_same_sum(dtype, connectivity):
    shape, mask = (2, 1, 4, 5, 7), mask_of((2, 1, 4, 5, 7))
    x = noise(shape, dtype, 4)
    x[0, 0, 0, 0, :2] = torch.tensor([torch.nan, torch.inf])
    got = tfce3d(x, mask, 0.5, 1.0, connectivity, backend="reference")
    assert_near(got, brute_force(x, mask, 0.5, 1.0, connectivity))


def test_nilearn_comes_near():
    """It sums the upper ends of its steps, and leaves out the factor dh."""
    nilearn = pytest.importorskip("nilearn.mass_univariate._utils")
    x = torch.from_numpy(ndimage.gaussian_filter(noise((24, 25, 26)).numpy(), 2))
    step, structure = x.max().item() / 200, ndimage.generate_binary_structure(3, 3)
    theirs = step * nilearn.calculate_tfce(
        x.numpy()[..., None], structure, dh=step, two_sided_test=False
    )
    ours = tfce3d(x[None, None])[0, 0]
    high = ours > 0.1 * ours.max()
    torch.testing.assert_close(
        torch.from_numpy(theirs)[..., 0][high], ours[high], rtol=0.05, atol=0
    )


# on a GPU: the same integral from branches that are found in parallel

needs_host_cuda = pytest.mark.skipif(bool(why_not()), reason=why_not() or "")


def on_gpu(*args):
    with host_cuda("fast"):
        return tfce3d(*args, backend="cuda")


@needs_host_cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("powers", POWERS)
def test_dtypes_and_powers_on_a_gpu(dtype, powers, poisoned):
    shape = (2, 2, 7, 13, 17)
    want = expected(shape, dtype, 6, True, powers, 18)
    assert_near(on_gpu(noise(shape, dtype, 6), mask_of(shape), *powers, 18), want)


@needs_host_cuda
@each_connectivity
@pytest.mark.parametrize(
    ("name", "x"), list(awkward_volumes()), ids=lambda v: v if type(v) is str else ""
)
def test_awkward_volumes_on_a_gpu(name, x, connectivity, poisoned):
    want = of_awkward_volume(name, connectivity).float()
    assert_near(on_gpu(x.float()[None, None], None, 0.5, 2.0, connectivity), want)


@needs_host_cuda
@pytest.mark.parametrize("shape", [(1, 1, 31, 29, 37), (1, 1, 2, 3, 300), (3, 2, 9, 10, 11)])
def test_larger_volumes_on_a_gpu_are_those_of_a_cpu(shape, poisoned):
    """Several chunks of the sums, several volumes."""
    x, mask = noise(shape, torch.float32, 50), mask_of(shape)
    torch.testing.assert_close(on_gpu(x, mask), tfce3d(x, mask), rtol=2e-7, atol=0)


def sawtooth(teeth):
    """Every tooth is higher than the one before: each branch ends in the next one."""
    x = torch.arange(2 * teeth, dtype=torch.float32)
    return (x + 1.5 * (x % 2)).view(1, 1, 1, 1, -1)


@needs_host_cuda
def test_a_long_chain_of_branches_on_a_gpu(poisoned):
    x = torch.cat([sawtooth(700), sawtooth(700).flip(4)])
    assert torch.equal(on_gpu(x), tfce3d(x))


@needs_host_cuda
def test_infinite_and_empty_volumes_on_a_gpu(poisoned):
    x = torch.zeros(4, 1, 2, 3, 35)
    x[0] = noise((1, 2, 3, 35), torch.float32)
    x[0, 0, 0, 1, 2:5] = torch.tensor([torch.inf, -torch.inf, torch.nan])
    x[1, ..., 7] = torch.inf  # nothing finite is above 0
    x[2] = -1
    x[3, ..., 4] = 1e-30
    assert_near(on_gpu(x), brute_force(x))
    assert on_gpu(x[:0]).shape == (0, 1, 2, 3, 35)
    assert torch.equal(on_gpu(x), on_gpu(x.nan_to_num(nan=-1.0, posinf=torch.inf)))


@needs_host_cuda
@pytest.mark.parametrize("order", [o for o in ORDERS if o != "ascending"])
def test_the_same_bits_in_any_order_of_the_threads(order):
    x = noise((2, 1, 3, 9, 36), torch.float32, 3)
    want = on_gpu(x)
    with host_cuda("fast", order, 3):
        assert torch.equal(tfce3d(x, backend="cuda"), want)


def test_opcheck():
    x = noise((2, 2, 4, 5, 6), torch.float32)
    torch.library.opcheck(_tfce3d.overload, (x, mask_of(x.shape), 0.5, 2.0, 26, "cpu"))
    torch.library.opcheck(_tfce3d.overload, (x, None, 1.0, 1.0, 6, "cpu"))


def test_compiles_without_graph_break():
    def work(x, mask):
        return tfce3d(x * 2, mask).sqrt() + 1

    x, mask = noise((1, 2, 6, 7, 8), torch.float32), mask_of((1, 2, 6, 7, 8))
    compiled = torch.compile(work, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x, mask), work(x, mask))


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda x, m: tfce3d(None), "not-a-tensor"),
        (lambda x, m: tfce3d(x[0]), "shape"),
        (lambda x, m: tfce3d(x[..., :0]), "shape"),
        (lambda x, m: tfce3d(x[..., :1].expand(1, 1, 4, 2**15, 2**15)), "shape"),
        (lambda x, m: tfce3d(x.int()), "dtype"),
        (lambda x, m: tfce3d(x, m.float()), "mask-dtype"),
        (lambda x, m: tfce3d(x, [True]), "mask-dtype"),
        (lambda x, m: tfce3d(x, m[..., :2]), "mask-shape"),
        (lambda x, m: tfce3d(x, m.to("meta")), "mask-device"),
        (lambda x, m: tfce3d(x, connectivity=8), "connectivity"),
        (lambda x, m: tfce3d(x, extent_power=-0.1), "value"),
        (lambda x, m: tfce3d(x, extent_power=float("inf")), "value"),
        (lambda x, m: tfce3d(x, extent_power=float("nan")), "value"),
        (lambda x, m: tfce3d(x, height_power=-1.0), "value"),
        (lambda x, m: tfce3d(x, height_power=float("inf")), "value"),
        (lambda x, m: tfce3d(x, height_power=float("nan")), "value"),
        (lambda x, m: tfce3d(x.requires_grad_()), "no-gradient"),
        (lambda x, m: tfce3d(x, backend="triton"), "backend-unavailable"),
        (lambda x, m: tfce3d(x, backend="fast"), "backend-unavailable"),
    ],
)
def test_refusals(call, code):
    with pytest.raises(DalFastError) as refused:
        call(torch.ones(1, 1, 4, 1, 6), torch.ones(1, 1, 4, 1, 6, dtype=torch.bool))
    assert refused.value.code == code


def test_without_recording_no_gradient_is_asked_for():
    x = noise((1, 1, 4, 5, 6)).requires_grad_()
    with torch.no_grad():
        assert torch.equal(tfce3d(x), tfce3d(x.detach()))
