"""canny3d and anatomy_edges: every radius, scikit-image slice by slice, exact structures."""

import itertools
import sys

import pytest
import torch
from support import DTYPES, each_isa

from dal_fast import InputError, context, reference
from dal_fast.ops import LEVELS, anatomy_edges, anatomy_image, canny3d
from dal_fast.ops.canny3d import _canny3d

np = pytest.importorskip("numpy")
ndi = pytest.importorskip("scipy.ndimage")

THREADS = (1, 2, 3, 7)


def smooth_noise(shape, dtype=torch.float64, seed=0, width=1.2):
    """Smooth random volumes of standard deviation near 0.1: magnitudes on both thresholds."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    return torch.from_numpy(ndi.gaussian_filter(noise, (0, 0, *[width] * 3))).to(dtype)


def blob_mask(shape, seed=5):
    n, _, *space = shape
    return smooth_noise((n, 1, *space), seed=seed, width=2) > -0.02


def differing(got, want):
    return (got != want).double().mean().item() if got.numel() else 0.0


@each_isa
@pytest.mark.parametrize("sigma", [0.0, 0.1, 0.3, 0.8, 2.2, 30.0])
@pytest.mark.parametrize("masked", [False, True])
def test_every_radius(isa, sigma, masked):
    shape = (1, 2, 10, 21, 70)
    x = smooth_noise(shape, seed=1)
    mask = blob_mask(shape) if masked else None
    low, high = 0.02 / (1 + sigma), 0.06 / (1 + sigma)
    want = reference.canny3d(x, sigma, low, high, mask)
    assert torch.equal(canny3d(x, sigma, low, high, mask), want)
    assert sigma > 3 or 0 < want.sum() < want.numel()


def test_larger_volume_in_both_precisions():
    """Several tiles and slabs, words and part words."""
    x = smooth_noise((1, 1, 70, 60, 140), seed=2)
    want = reference.canny3d(x, 1.0, 0.02, 0.06)
    assert torch.equal(canny3d(x, 1.0, 0.02, 0.06), want)
    assert differing(canny3d(x.float(), 1.0, 0.02, 0.06), want) < 1e-4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [64, 77])
def test_same_bits_on_every_instruction_set_and_thread_count(dtype, width):
    x = smooth_noise((1, 1, 70, 60, width), dtype, seed=3)
    masks = (None, blob_mask(x.shape))
    results = []
    for isa, threads in itertools.product(context.supported_instruction_sets(), THREADS):
        with context.use(instruction_set=isa, threads=threads):
            results.append([canny3d(x, 1.0, 0.01, 0.05, mask) for mask in masks])
    for result in results:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sigma", [1.0, 1.7, 2.0])
def test_constant_axis_agrees_with_skimage(axis, sigma, monkeypatch):
    """Without the tie margin the rule is scikit-image's exactly; the margin only adds voxels.

    scikit-image's Sobel is eight times ours; its outermost pixels are never edges.
    """
    feature = pytest.importorskip("skimage.feature")
    rule = sys.modules["dal_fast.reference.canny3d"]
    margin = int(4 * sigma + 0.5) + 3
    inner = (..., slice(margin, -margin), slice(margin, -margin))
    for seed in range(6):
        noise = np.random.default_rng(seed).standard_normal((90, 100))
        image = ndi.gaussian_filter(noise, 1.5) * 3
        want = feature.canny(image, sigma, low_threshold=8 * 0.02, high_threshold=8 * 0.04)
        want = torch.from_numpy(want)[inner]
        x = torch.from_numpy(np.repeat(np.expand_dims(image, axis), 3, axis))[None, None]
        for dtype in (torch.float64, torch.float32):
            got = canny3d(x.to(dtype), sigma).movedim(2 + axis, 2)[inner]
            assert not (want & ~got).any()
            assert differing(got, want.expand_as(got)) <= 1e-3
        with monkeypatch.context() as patch:
            patch.setattr(rule, "TIE", 0.0)
            exact = reference.canny3d(x, sigma).movedim(2 + axis, 2)[inner]
        assert torch.equal(exact, want.expand_as(exact))
        assert want.double().mean() > 0.05


@pytest.mark.parametrize("slope", [0.01, 0.3])
def test_thresholds_are_scikit_images_divided_by_eight(slope):
    """A ramp that rises by ``slope`` a voxel: the thresholds at which it is no edge any more."""
    feature = pytest.importorskip("skimage.feature")
    flank = slope * np.arange(20.0)
    roof = np.tile(np.concatenate([np.zeros(20), flank, np.full(20, flank[-1])]), (30, 1))
    x = torch.from_numpy(roof)[None, None, None]
    for factor, found in ((0.98, True), (1.02, False)):
        threshold = factor * slope
        theirs = feature.canny(roof, 0.0, 8 * threshold, 8 * threshold)
        ours = canny3d(x, 0.0, threshold, threshold)
        assert theirs[5:-5, 22:38].any() == ours[0, 0, 0, 5:-5, 22:38].any() == found


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_mask_agrees_with_skimage_where_it_looks(axis):
    """scikit-image erodes the mask; one threshold keeps its hysteresis from mattering."""
    feature = pytest.importorskip("skimage.feature")
    rng = np.random.default_rng(7)
    image = ndi.gaussian_filter(rng.standard_normal((90, 100)), 1.5) * 3
    inside = ndi.gaussian_filter(rng.standard_normal((90, 100)), 5) > -0.02
    inside[[0, -1]] = inside[:, [0, -1]] = False
    image[~inside] = 100.0  # must not matter
    want = feature.canny(image, 1.0, 8 * 0.03, 8 * 0.03, mask=inside)
    stack = [
        torch.from_numpy(np.repeat(np.expand_dims(a, axis), 3, axis))[None, None]
        for a in (image, inside)
    ]
    got = canny3d(stack[0], 1.0, 0.03, 0.03, stack[1])[0, 0].numpy()
    eroded = ndi.binary_erosion(inside, np.ones((3, 3)))
    for i in range(3):
        assert np.mean((np.take(got, i, axis) != want)[eroded]) < 1e-3
    assert want.sum() > 200


@each_isa
def test_a_single_slice_is_two_dimensional_canny(isa):
    feature = pytest.importorskip("skimage.feature")
    image = ndi.gaussian_filter(np.random.default_rng(1).standard_normal((60, 70)), 1.5) * 3
    want = feature.canny(image, 1.0, 8 * 0.02, 8 * 0.04)[8:-8, 8:-8]
    for axis in range(3):
        x = torch.from_numpy(np.expand_dims(image, axis))[None, None]
        got = canny3d(x)[0, 0].squeeze(axis).numpy()[8:-8, 8:-8]
        assert np.mean(got != want) < 1e-3


@each_isa
def test_ramp_has_magnitude_one_and_its_step_is_thin(isa):
    """A smoothed half-space: |G| peaks on the two voxels beside the step and nowhere else."""
    x = torch.zeros(1, 1, 20, 22, 24)
    for axis in (2, 3, 4):
        step = x.clone()
        step.narrow(axis, 10, x.shape[axis] - 10).fill_(1.0)
        want = torch.zeros_like(x, dtype=torch.bool)
        want.narrow(axis, 9, 2).fill_(True)
        assert torch.equal(canny3d(step), want)
        # a kinked ramp: slope 1 up to voxel 10, 0.5 beyond; the slope is the magnitude
        n = torch.arange(x.shape[axis], dtype=torch.float32)
        ramp = torch.where(n < 10, n, 10 + (n - 10) / 2)
        ramp = ramp.view([-1 if a == axis else 1 for a in range(5)]).expand_as(x)
        middle = [slice(None)] * 5
        middle[axis] = slice(6, 7)
        inner = (0, 0, slice(6, -6), slice(6, -6), slice(6, -6))
        for threshold, expected in ((0.999, True), (1.001, False)):
            line = torch.zeros_like(x, dtype=torch.bool)
            line[tuple(middle)] = True
            edges = canny3d(ramp, 0.0, threshold, threshold)
            assert bool((edges & line)[inner].any()) == expected


@each_isa
@pytest.mark.parametrize("low", list(itertools.combinations(range(3), 2)))
@pytest.mark.parametrize(
    "normal", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (2, 1, 3), (3, -2, 1)]
)
def test_default_thresholds_keep_every_boundary_of_the_levels(isa, low, normal):
    """Wherever two levels meet across a plane, an edge lies on one of the two voxels."""
    z, y, x = torch.meshgrid(*[torch.arange(n) - n / 2 for n in (24, 25, 26)], indexing="ij")
    side = (z * normal[0] + y * normal[1] + x * normal[2] > 0.25).long()
    image = torch.tensor([LEVELS[i] for i in low])[side][None, None]
    assert_boundaries_kept(image, canny3d(image), margin=6)


@each_isa
def test_default_thresholds_keep_the_boundaries_of_nested_tissues(isa):
    z, y, x = torch.meshgrid(*[torch.arange(n) - n / 2 for n in (60, 64, 68)], indexing="ij")
    r = (z**2 + y**2 + x**2).sqrt() + 2 * torch.sin(0.4 * x) * torch.cos(0.3 * y)
    tissue = (r < 26).long() + (r < 20).long()
    logits = torch.nn.functional.one_hot(tissue, 3).permute(3, 0, 1, 2)[None].float()
    mask = (r < 30)[None, None]
    assert_boundaries_kept(
        torch.where(mask, anatomy_image(logits), torch.nan), anatomy_edges(logits, mask=mask), 0
    )


def assert_boundaries_kept(image, edges, margin):
    """Every pair of face neighbours of different level has an edge within one voxel."""
    near = torch.nn.functional.max_pool3d(edges.float(), 3, 1, 1) > 0
    for axis in (2, 3, 4):
        n = image.shape[axis] - 1
        a, b = image.narrow(axis, 0, n), image.narrow(axis, 1, n)
        crossing = (a != b) & a.isfinite() & b.isfinite()
        kept = near.narrow(axis, 0, n) | near.narrow(axis, 1, n)
        inner = (..., *[slice(margin, s - margin) for s in crossing.shape[2:]])
        assert crossing[inner].any() or margin
        assert (kept | ~crossing)[inner].all()


@each_isa
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("masked", [False, True])
def test_anatomy_edges_match_reference_and_the_two_steps(isa, dtype, masked):
    g = torch.Generator().manual_seed(0)
    field = smooth_noise((2, 3, 14, 40, 70), width=3)
    logits = (100 * field + 0.01 * torch.rand(field.shape, generator=g)).to(dtype)
    mask = blob_mask(field.shape) if masked else None
    got = anatomy_edges(logits, mask=mask)
    want = reference.anatomy_edges(logits.double(), LEVELS, mask)
    assert got.shape == (2, 1, 14, 40, 70)
    assert differing(got, want) <= (0 if dtype == torch.float64 else 1e-3)
    assert want.any()
    if dtype in (torch.float32, torch.float64):
        assert torch.equal(got, canny3d(anatomy_image(logits, mask=mask), mask=mask))


@each_isa
@pytest.mark.parametrize("threads", THREADS)
def test_hysteresis_follows_a_long_snake(isa, threads):
    """One thin sheet winds through the whole volume; only its first end is strong."""
    torch.set_num_threads(threads)
    path = snake(30, 16, 66)
    x = torch.zeros(1, 1, 30, 16, 66, dtype=torch.float64)
    x[0, 0][path] = 1.0
    start = path.nonzero()[0]
    low = 1e-3
    weak = canny3d(x, 0.0, low, low)
    x[0, 0, start[0], start[1], start[2]] = 3.0
    high = 0.3  # only around the brighter voxel
    want = reference.canny3d(x, 0.0, low, high)
    got = canny3d(x, 0.0, low, high)
    assert torch.equal(got, want)
    assert got.sum() >= weak.sum()
    labels, _ = ndi.label(reference.canny3d(x, 0.0, low, low)[0, 0].numpy(), np.ones((3, 3, 3)))
    strong = reference.canny3d(x, 0.0, high, high)[0, 0].numpy()
    assert np.array_equal(
        got[0, 0].numpy(), np.isin(labels, np.unique(labels[strong])) & (labels > 0)
    )


def snake(d, h, w):
    """A path of single voxels through every fourth row of every fourth plane."""
    path = torch.zeros(d, h, w, dtype=torch.bool)
    for i, z in enumerate(range(1, d - 1, 4)):
        for j, y in enumerate(range(1, h - 1, 4)):
            path[z, y, 1 : w - 1] = True
            if y + 4 < h - 1:
                path[z, y : y + 5, w - 2 if j % 2 == 0 else 1] = True
        if z + 4 < d - 1:
            path[z : z + 5, 1 if i % 2 else h - 3 - (h - 3 - 1) % 4, 1] = True
    return path


def test_flips_and_permutations_commute():
    """The rule knows no axis and no direction, not even on ties."""
    x = (smooth_noise((1, 1, 22, 24, 26), seed=9) > 0.02).float()
    want = canny3d(x)
    for axis in (2, 3, 4):
        assert torch.equal(canny3d(x.flip(axis)).flip(axis), want)
    for order in itertools.permutations((2, 3, 4)):
        back = [0, 1, *[2 + order.index(a) for a in (2, 3, 4)]]
        assert torch.equal(canny3d(x.permute(0, 1, *order)).permute(back), want)


@each_isa
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite(isa, value):
    clean = smooth_noise((1, 1, 28, 30, 36), torch.float32, seed=4)
    want = canny3d(clean, 1.0, 0.03, 0.03)
    x = clean.clone()
    x[0, 0, 14, 15, 18] = value
    got = canny3d(x, 1.0, 0.03, 0.03)
    undefined = torch.zeros_like(want)
    undefined[..., 9:20, 10:21, 13:24] = True  # radius 4 + 1 for Sobel
    reach = torch.zeros_like(want)
    reach[..., 8:21, 9:22, 12:25] = True
    assert want[undefined].any()
    assert not got[undefined].any()
    assert torch.equal(got[~reach], want[~reach])
    want = reference.canny3d(x.double(), 1.0, 0.01, 0.05)
    assert differing(canny3d(x, 1.0, 0.01, 0.05), want) < 1e-3
    # outside the mask it does not matter
    mask = torch.ones(1, 1, 28, 30, 36, dtype=torch.bool)
    mask[0, 0, 14, 15, 18] = False
    assert torch.equal(canny3d(x, mask=mask), canny3d(clean, mask=mask))


def test_mask_border_is_no_edge():
    """A constant inside any mask has no edge, whatever lies outside; nor has an empty mask."""
    mask = blob_mask((1, 1, 20, 24, 28))
    x = torch.where(mask, 7.0, -3.0)
    for sigma in (0.0, 0.4, 1.0, 2.0):
        assert not canny3d(x, sigma, 1e-4, 1e-4, mask).any()
    assert not canny3d(x, mask=torch.zeros_like(mask)).any()
    assert not canny3d(torch.zeros_like(x), 1.0, 0.0, 0.0).any()


def test_masked_padding_changes_nothing_away_from_the_border():
    x = smooth_noise((1, 1, 24, 24, 24), seed=6)
    mask = torch.zeros(1, 1, 24, 24, 24, dtype=torch.bool)
    mask[..., 4:-4, 4:-4, 4:-4] = True
    pad = (3, 5, 2, 4, 6, 1)
    padded = torch.nn.functional.pad(x, pad, value=9.0)
    wide = torch.nn.functional.pad(mask, pad)
    got = canny3d(padded, 1.0, 0.01, 0.03, wide)[..., 6:-1, 2:-4, 3:-5]
    assert torch.equal(got, canny3d(x, 1.0, 0.01, 0.03, mask))


def test_every_output_byte_is_written(poisoned):
    """Poisoned output and workspace: neither a stale byte nor a stale number shows."""
    x = smooth_noise((2, 1, 9, 11, 37), torch.float32)
    got = canny3d(x, 1.0, 0.01, 0.03)
    assert got.view(torch.uint8).max() == 1
    assert torch.equal(got, canny3d(x.double(), 1.0, 0.01, 0.03))


def test_reference_backend():
    x = smooth_noise((1, 1, 8, 9, 10), torch.float32)
    assert torch.equal(canny3d(x, backend="reference"), reference.canny3d(x.double()))
    z = torch.randn(1, 3, 4, 5, 6)
    assert torch.equal(
        anatomy_edges(z, backend="reference"), reference.anatomy_edges(z.double(), LEVELS)
    )


def test_no_gradient():
    x = smooth_noise((1, 3, 6, 7, 8), torch.float32).requires_grad_()
    for edges in (canny3d(x), anatomy_edges(x), canny3d(x, backend="reference")):
        assert not edges.requires_grad
        assert edges.dtype == torch.bool


@pytest.mark.parametrize("levels", [None, [0.29, 0.48, 0.72]])
def test_opcheck(levels):
    x = smooth_noise((2, 3, 5, 6, 7), torch.float32).requires_grad_()
    torch.library.opcheck(
        _canny3d.overload, (x, levels, blob_mask(x.shape), 1.0, 0.01, 0.03, "cpu")
    )


def test_compiles_without_graph_break():
    compiled = torch.compile(
        lambda x: canny3d(x).float() + anatomy_edges(x), fullgraph=True, backend="aot_eager"
    )
    x = smooth_noise((1, 3, 8, 9, 10), torch.float32).requires_grad_()
    assert torch.equal(compiled(x), canny3d(x).float() + anatomy_edges(x))


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda x: canny3d(x[0]), "shape"),
        (lambda x: canny3d(x[:, :, :0]), "shape"),
        (lambda x: canny3d(x.int()), "dtype"),
        (lambda x: canny3d(x, -1.0), "value"),
        (lambda x: canny3d(x, float("inf")), "value"),
        (lambda x: canny3d(x, float("nan")), "value"),
        (lambda x: canny3d(x, 1.0, 0.2, 0.1), "value"),
        (lambda x: canny3d(x, 1.0, -0.1, 0.1), "value"),
        (lambda x: canny3d(x, mask=x > 0), "mask-shape"),
        (lambda x: canny3d(x, mask=x[:, :1]), "mask-dtype"),
        (lambda x: anatomy_edges(x, (0.1, 0.2, 0.3)), "levels"),
        (lambda x: anatomy_edges(x, (0.1, 0.2), high=float("nan")), "value"),
        (lambda x: canny3d(x, backend="cuda"), "backend-unavailable"),
    ],
)
def test_refusals(call, code):
    with pytest.raises(InputError) as refused:
        call(torch.zeros(1, 2, 4, 4, 4))
    assert refused.value.code == code
