"""SSIM, hybrid score and L1 + SSIM loss: windows, scikit-image, hard statistics, autograd."""

from functools import cache

import pytest
import torch
from skimage.metrics import structural_similarity
from support import TOLERANCE, each_isa

from dal_fast import InputError, context, reference
from dal_fast.ops import _ssim_ops, hybrid_score, l1_ssim_loss, ssim3d

WINDOWS = [(11, "gaussian"), (7, "uniform"), (5, "gaussian"), (33, "uniform")]
# against gradients of size 1: what the storage type and, for float32, 1 / c2 cost
GRAD_TOLERANCE = {**TOLERANCE, torch.float32: 3e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


def pair_of(shape, dtype=torch.float32, seed=0):
    """Two similar volumes in about [0, 1]."""
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(shape, generator=g, dtype=torch.float64)
    y = x + 0.2 * torch.randn(shape, generator=g, dtype=torch.float64)
    return x.to(dtype), y.to(dtype)


def normal(shape, dtype, seed=9):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=g, dtype=torch.float64).to(dtype)


def leaves(*tensors):
    return tuple(t.detach().requires_grad_() for t in tensors)


def wide(*tensors):
    return leaves(*(t.detach().double() for t in tensors))


def assert_gradients_close(got, want, dtype):
    for a, b in zip(got, want, strict=True):
        size = b.abs().max().item() if b.numel() else 0.0
        torch.testing.assert_close(a.double(), b, rtol=0, atol=GRAD_TOLERANCE[dtype] * max(size, 1))


def ssim_map(x, y, *args, **kwargs):
    return ssim3d(x, y, *args, reduction="none", **kwargs)


@pytest.mark.parametrize(("window", "kind"), WINDOWS)
def test_instruction_sets_agree_and_threads_change_nothing(window, kind):
    """Within 1e-6 (where multiplying and adding cannot be fused, it is rounded twice)."""
    x, y = leaves(*pair_of((1, 2, 21, 19, 45)))

    def everything():
        values = [f(x, y, window=window, kind=kind) for f in (hybrid_score, ssim3d, l1_ssim_loss)]
        map_ = ssim3d(x, y, window=window, kind=kind, reduction="none")
        gradients = torch.autograd.grad(values[-1], (x, y))
        return [map_.detach(), *(v.detach() for v in values), *(g * x.numel() for g in gradients)]

    results = []
    for isa in context.supported_instruction_sets():
        with context.use(instruction_set=isa):
            results.append(everything())
        for threads in (1, 3):
            with context.use(instruction_set=isa, threads=threads):
                assert all(map(torch.equal, everything(), results[-1]))
    for result in results:
        for a, b in zip(result, results[0], strict=True):
            assert (a - b).abs().max() <= 1e-6 * max(1, b.abs().max())


@each_isa
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("window", "kind"), WINDOWS)
def test_windows_and_tiles(isa, window, kind, dtype):
    """Several slabs, several z ranges, fixed and free radii."""
    x, y = leaves(*pair_of((1, 1, 44, 35, 21), dtype))
    want, want_g = tiles_reference(window, kind, dtype)
    got = ssim_map(x, y, window, 2.0, kind)
    torch.testing.assert_close(got.double(), want, rtol=0, atol=TOLERANCE[dtype])
    up = normal(x.shape, dtype)
    assert_gradients_close(torch.autograd.grad(got, (x, y), up), want_g, dtype)


@cache
def tiles_reference(window, kind, dtype):
    x, y = wide(*pair_of((1, 1, 44, 35, 21), dtype))
    ssim = reference.ssim3d(x, y, window, 2.0, kind)
    return ssim.detach(), torch.autograd.grad(ssim, (x, y), normal(x.shape, dtype).double())


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"window": 11, "sigma": 1.5}, {"gaussian_weights": True, "sigma": 1.5}),
        ({"window": 15, "sigma": 2.0}, {"gaussian_weights": True, "sigma": 2.0}),
        ({"window": 7, "kind": "uniform"}, {"win_size": 7}),
        ({"window": 11, "kind": "uniform"}, {"win_size": 11}),
    ],
)
def test_scikit_image_agrees_at_every_voxel(ours, theirs):
    x, y = pair_of((1, 1, 20, 24, 33), seed=4)
    x, y = 3 * x, 3 * y
    _, want = structural_similarity(
        x[0, 0].double().numpy(), y[0, 0].double().numpy(),
        data_range=3.0, use_sample_covariance=False, full=True, **theirs,
    )  # fmt: skip
    got = ssim_map(x, y, data_range=3.0, **ours)[0, 0]
    torch.testing.assert_close(got.double(), torch.from_numpy(want), rtol=0, atol=1e-5)


def test_a_single_slice_is_two_dimensional_ssim():
    """Along an axis of one voxel every repeated tap is that voxel."""
    x, y = pair_of((1, 1, 1, 40, 30), torch.float64)
    _, want = structural_similarity(
        x[0, 0, 0].numpy(), y[0, 0, 0].numpy(),
        data_range=1.0, gaussian_weights=True, use_sample_covariance=False, full=True,
    )  # fmt: skip
    got = ssim_map(x, y)[0, 0, 0]
    torch.testing.assert_close(got, torch.from_numpy(want), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 1, 4, 5, 6), (2, 1, 2, 3, 5), (1, 1, 1, 1, 4)])
@pytest.mark.parametrize(("window", "kind"), [(11, "gaussian"), (3, "uniform"), (13, "uniform")])
def test_gradcheck(shape, window, kind):
    """Axes shorter than the window included: the border's reflection is self-adjoint."""
    x, y = leaves(*pair_of(shape, torch.float64))
    for op in (ssim3d, ssim_map, hybrid_score, lambda *a, **k: l1_ssim_loss(*a[:2], 0.4, *a[2:])):
        assert torch.autograd.gradcheck(lambda a, b, op=op: op(a, b, window, 1.5, kind), (x, y))


@each_isa
def test_identical_volumes(isa):
    x, _ = pair_of((1, 1, 12, 20, 30))
    for volume in (x, x + 1e4, torch.full_like(x, 3.7), 1e-6 * x, torch.zeros_like(x)):
        assert ssim_map(volume, volume).eq(1).all()
        assert hybrid_score(volume, volume).eq(0).all()
        a, b = leaves(volume, volume.clone())
        gradients = torch.autograd.grad(l1_ssim_loss(a, b), (a, b))
        assert all(g.abs().max() < 1e-6 for g in gradients)


@each_isa
@pytest.mark.parametrize(
    ("name", "offset", "contrast"),
    [("offset", 1e4, 1.0), ("tiny variance", 0.5, 1e-5), ("opposite", 0.0, -1.0)],
)
def test_hard_statistics_stay_in_range_and_accurate(isa, name, offset, contrast):
    x, y = pair_of((1, 1, 14, 20, 30), seed=3)
    x, y = offset + abs(contrast) * x, offset + contrast * y
    got, want = ssim_map(x, y), reference.ssim3d(x.double(), y.double())
    assert got.abs().max() <= 1
    torch.testing.assert_close(got.double(), want, rtol=0, atol=2e-5)
    assert hybrid_score(x, y).min() >= 0
    a, b = leaves(x, y)
    a64, b64 = wide(x, y)
    got_g = torch.autograd.grad(ssim3d(a, b), (a, b))
    want_g = torch.autograd.grad(reference.ssim3d(a64, b64).mean(), (a64, b64))
    for p, q in zip(got_g, want_g, strict=True):
        assert (p - q).abs().max() <= 1e-4 * q.abs().max()


@each_isa
def test_constant_volumes(isa):
    x = torch.full((1, 1, 9, 10, 11), 0.8)
    y = torch.full_like(x, 0.2)
    want = (2 * 0.16 + 1e-4) / (0.68 + 1e-4)
    torch.testing.assert_close(ssim_map(x, y), torch.full_like(x, want), rtol=0, atol=1e-6)


@each_isa
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_reaches_exactly_as_far_as_the_window(isa, bad):
    x, y = pair_of((1, 1, 20, 26, 30))
    clean = ssim_map(x, y, 7)
    x[0, 0, 9, 12, 14] = bad
    got = ssim_map(x, y, 7)
    hit = torch.zeros_like(x, dtype=torch.bool)
    hit[..., 6:13, 9:16, 11:18] = True
    assert got[hit].isnan().all()
    torch.testing.assert_close(got[~hit], clean[~hit], rtol=0, atol=1e-6)
    assert hybrid_score(x, y, 7)[hit].isnan().all()
    assert ssim3d(x, y, 7).isnan()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_element_is_written(poisoned, dtype):
    """Outputs and kept fields start as NaN; so does the kernel's scratch."""
    x, y = leaves(*pair_of((1, 2, 9, 11, 21), dtype))
    for out in (ssim_map(x, y), hybrid_score(x, y)):
        assert out.isfinite().all()
        assert all(g.isfinite().all() for g in torch.autograd.grad(out.sum(), (x, y)))
    loss = l1_ssim_loss(x, y)
    assert all(g.isfinite().all() for g in torch.autograd.grad(loss, (x, y)))


@each_isa
def test_same_bits_for_any_thread_count(isa):
    x, y = leaves(*pair_of((2, 1, 40, 50, 33)))
    results = []
    for threads in (1, 2, 3, 7):
        torch.set_num_threads(threads)
        loss = l1_ssim_loss(x, y)
        results.append((loss, ssim_map(x, y), *torch.autograd.grad(loss, (x, y))))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_gradients_that_nobody_asked_for_are_none():
    x, y = pair_of((1, 1, 6, 7, 8))
    for op in (ssim3d, ssim_map, hybrid_score, l1_ssim_loss):
        (a,) = leaves(x)
        op(a, y).sum().backward()
        (b,) = leaves(x)
        op(y, b).sum().backward()
        torch.testing.assert_close(a.grad, b.grad)  # every op is symmetric
    kept = _ssim_ops.l1_ssim_op(x, y, 0.5, 0.5, 11, 1.5, "gaussian", 1.0, "cpu", False)[1]
    assert kept.numel() == 0
    with torch.no_grad():
        assert not l1_ssim_loss(*leaves(x, y)).requires_grad


def test_empty_batch():
    x = torch.zeros(0, 1, 4, 4, 4, requires_grad=True)
    assert ssim_map(x, x).shape == x.shape
    loss = l1_ssim_loss(x, x.detach())
    assert loss.isnan()
    loss.backward()
    assert x.grad.shape == x.shape


def test_opcheck():
    x, y = leaves(*pair_of((2, 1, 4, 5, 6)))
    window = (5, 1.5, "gaussian", 1.0, "cpu")
    torch.library.opcheck(_ssim_ops.ssim_map_op.overload, (x, y, *window))
    torch.library.opcheck(_ssim_ops.hybrid_op.overload, (x, y, *window))
    torch.library.opcheck(_ssim_ops.l1_ssim_op.overload, (x, y, 0.3, 0.7, *window, True))
    a, b = x.detach(), y.detach()
    torch.library.opcheck(_ssim_ops.l1_ssim_op.overload, (a, b, 0.3, 0.7, *window, False))
    torch.library.opcheck(_ssim_ops.ssim_map_backward_op.overload, (a, b, a, *window, True, False))
    fields = _ssim_ops.l1_ssim_op(a, b, 0.3, 0.7, *window, True)[1]
    one = torch.tensor(1.0)
    args = (a, b, fields, one, 0.3, 0.7, *window, True, True)
    torch.library.opcheck(_ssim_ops.l1_ssim_backward_op.overload, args)


@pytest.mark.parametrize("op", [ssim3d, ssim_map, hybrid_score, l1_ssim_loss])
def test_compiles_without_graph_break(op):
    compiled = torch.compile(
        lambda a, b: op(a, b).mean(), fullgraph=True, backend="aot_eager", dynamic=False
    )
    x, y = leaves(*pair_of((1, 1, 4, 5, 6)))
    got = torch.autograd.grad(compiled(x, y), (x, y))
    torch.testing.assert_close(got, torch.autograd.grad(op(x, y).mean(), (x, y)))


def test_under_autocast():
    x, y = leaves(*pair_of((1, 1, 6, 7, 8)))
    with torch.autocast("cpu", torch.bfloat16):
        loss = l1_ssim_loss(x, y)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, l1_ssim_loss(x, y))


@pytest.mark.parametrize(
    ("narrow", "wide_", "want"),
    [
        (torch.bfloat16, torch.float32, torch.float32),
        (torch.float16, torch.float32, torch.float32),
        (torch.bfloat16, torch.float16, torch.float32),
        (torch.float32, torch.float64, torch.float64),
    ],
)
@pytest.mark.parametrize("op", [ssim3d, ssim_map, hybrid_score, l1_ssim_loss])
def test_two_dtypes_are_promoted_as_by_torchs_losses(op, narrow, wide_, want):
    x, y = pair_of((1, 1, 6, 7, 8), torch.float64)
    x, y = leaves(x.to(narrow), y.to(wide_))
    assert torch.nn.functional.l1_loss(x, y).dtype == want
    for backend in ("cpu", "reference"):
        got = op(x, y, backend=backend)
        assert got.dtype == want
        torch.testing.assert_close(got, op(x.to(want), y.to(want)), rtol=0, atol=1e-5)
        torch.testing.assert_close(got, op(y, x, backend=backend), rtol=0, atol=1e-5)
        gx, gy = torch.autograd.grad(got.sum(), (x, y))
        assert (gx.dtype, gy.dtype) == (narrow, wide_)
        assert gx.abs().max() > 0


def test_a_bfloat16_prediction_and_a_float32_target_under_autocast():
    net, target = torch.nn.Conv3d(1, 1, 3, padding=1), pair_of((1, 1, 6, 7, 8))[0]
    with torch.autocast("cpu", torch.bfloat16):
        prediction = net(target)
        loss = l1_ssim_loss(prediction, target)
    assert prediction.dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, l1_ssim_loss(prediction.float(), target))
    loss.backward()
    assert net.weight.grad.abs().max() > 0


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("data_range", [1e-30, 1e-12, 5e9, 1e15, 1e30])
def test_very_large_and_small_data_ranges(data_range, dtype, backend):
    """float32 does not hold data_range**4."""
    x, y = pair_of((1, 1, 9, 10, 11), torch.float64)
    x, y = leaves((data_range * x).to(dtype), (data_range * y).to(dtype))
    a, b = wide(x, y)
    for op, unit in ((ssim_map, 1), (ssim3d, 1), (hybrid_score, data_range)):
        got = op(x, y, data_range=data_range, backend=backend)
        want = getattr(reference, "hybrid_score" if op is hybrid_score else "ssim3d")(
            a, b, data_range=data_range
        )
        want = want.mean() if op is ssim3d else want
        assert got.dtype == (torch.float32 if op is ssim3d and dtype == torch.bfloat16 else dtype)
        tolerance = 2 * TOLERANCE[got.dtype] * unit
        torch.testing.assert_close(got.double(), want, rtol=0, atol=tolerance)
    loss = l1_ssim_loss(x, y, 0.3, data_range=data_range, backend=backend)
    want = reference.l1_ssim_loss(a, b, 0.3, data_range=data_range)
    torch.testing.assert_close(loss.double(), want, rtol=1e-4, atol=1e-6)
    if dtype != torch.bfloat16:
        got_g = torch.autograd.grad(loss, (x, y))
        for p, q in zip(got_g, torch.autograd.grad(want, (a, b)), strict=True):
            torch.testing.assert_close(p.double(), q, rtol=0, atol=1e-3 * q.abs().max().item())


def test_ordinary_data_ranges_are_not_rescaled():
    """The same bits as without the rescaling: kernels see x, y and the range as they are."""
    x, y = pair_of((1, 1, 9, 10, 11))
    got = ssim_map(255 * x, 255 * y, data_range=255.0)
    kernel = _ssim_ops.ssim_map_op(255 * x, 255 * y, 11, 1.5, "gaussian", 255.0, "cpu")
    assert torch.equal(got, kernel)


def test_reference_backend():
    x, y = leaves(*pair_of((1, 1, 6, 7, 8)))
    for op in (ssim3d, ssim_map, hybrid_score, l1_ssim_loss):
        got, want = op(x, y, backend="reference"), op(x, y)
        assert got.dtype == want.dtype
        torch.testing.assert_close(got, want, rtol=0, atol=1e-5)


V = torch.zeros(1, 1, 4, 4, 4)


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda: ssim3d(V[0], V[0]), "shape"),
        (lambda: ssim3d(V, V[..., :3]), "shape"),
        (lambda: ssim3d(V, V.to("meta")), "device"),
        (lambda: ssim3d(V, V, data_range=float("inf")), "value"),
        (lambda: ssim3d(V, V, data_range=1e39), "value"),
        (lambda: ssim3d(V, V, data_range=float("nan")), "value"),
        (lambda: hybrid_score(V.int(), V.int()), "dtype"),
        (lambda: ssim3d(V, V, window=4), "window"),
        (lambda: ssim3d(V, V, window=35), "window"),
        (lambda: ssim3d(V, V, kind="box"), "kind"),
        (lambda: ssim3d(V, V, reduction="sum"), "reduction"),
        (lambda: hybrid_score(V, V, sigma=0.0), "value"),
        (lambda: l1_ssim_loss(V, V, data_range=0.0), "value"),
        (lambda: l1_ssim_loss(V, V, alpha=1.5), "value"),
        (lambda: l1_ssim_loss(V, V, backend="triton"), "backend-unavailable"),
    ],
)
def test_refusals(call, code):
    with pytest.raises(InputError) as refused:
        call()
    assert refused.value.code == code
