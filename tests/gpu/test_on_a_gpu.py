"""What only a GPU can show: streams, graphs, devices, memory running out, compilation, autocast."""

from functools import partial

import pytest
import torch
from conformance.case import logits, pair, smooth
from conformance.cases import CASES

from dal_fast import ops
from dal_fast.ops import _dispatch
from dal_fast.ops._row_medians import row_medians

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]

SHAPE = (2, 1, 24, 40, 48)
BACKENDS = ("cuda", "triton")


def able(name, case=None):
    """Skip where the backend cannot run here or has not the op."""
    if case is not None and name not in case.backends:
        pytest.skip(f"{case.name} has no {name} kernels")
    reason = _dispatch.why_not(name, torch.device("cuda"))
    if reason:
        pytest.skip(reason)


def on_gpu(case, device="cuda"):
    return [None if t is None else t.to(device) for t in case.inputs(SHAPE, torch.float32)]


def same(a, b):
    """Whether two tensors are equal, NaN too."""
    return torch.equal(a.nan_to_num(7.5), b.nan_to_num(7.5))


# VoxelMetrics reads its counts back; Triton's hysteresis asks the device whether it is done
CAPTURABLE = [c for c in CASES if c.name != "VoxelMetrics"]
each_backend = pytest.mark.parametrize("name", BACKENDS)


@each_backend
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_runs_on_the_callers_stream(case, name):
    """The input is written late on a side stream; a kernel on another stream would miss it."""
    able(name, case)
    inputs = on_gpu(case)
    want = case.ours(name, *inputs)
    late = [None if t is None else torch.zeros_like(t) for t in inputs]
    side = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        torch.cuda._sleep(50_000_000)
        for target, source in zip(late, inputs, strict=True):
            if target is not None:
                target.copy_(source)
        got = case.ours(name, *late)
    side.synchronize()
    assert same(got, want)


@each_backend
@pytest.mark.parametrize("case", CAPTURABLE, ids=lambda c: c.name)
def test_is_captured_and_replayed(case, name):
    able(name, case)
    if name == "triton" and ("canny" in case.name or "edges" in case.name):
        pytest.skip("Triton's hysteresis asks the device whether it is done")
    inputs = on_gpu(case)
    first = inputs[0].clone()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        case.ours(name, *inputs)  # warm up, compile
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        got = case.ours(name, *inputs)
    inputs[0].copy_(inputs[0].flip(4))
    graph.replay()
    assert same(got, case.ours(name, *inputs))
    inputs[0].copy_(first)
    graph.replay()
    assert same(got, case.ours(name, *inputs))


@each_backend
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_runs_on_the_device_of_its_tensors(case, name):
    able(name, case)
    want = case.ours(name, *on_gpu(case, "cuda:0"))
    assert torch.cuda.current_device() == 0
    got = case.ours(name, *on_gpu(case, "cuda:1"))
    assert torch.cuda.current_device() == 0
    assert torch.equal(got.cpu(), want.cpu())


@each_backend
def test_running_out_of_memory_leaves_a_usable_process(name):
    able(name)
    x, y = (t.cuda() for t in pair(SHAPE, torch.float32))
    want = ops.hybrid_score(x, y, backend=name)
    free, _ = torch.cuda.mem_get_info()
    side = int((free / 4 * 0.6) ** (1 / 3))
    huge = torch.zeros(1, 1, side, side, side, device="cuda").requires_grad_()
    with pytest.raises(torch.OutOfMemoryError):
        ops.l1_ssim_loss(huge, huge.detach(), backend=name)
    del huge
    torch.cuda.empty_cache()
    assert torch.equal(ops.hybrid_score(x, y, backend=name), want)


def test_more_than_two_to_the_31_elements():
    able("cuda")
    if torch.cuda.mem_get_info()[0] < 40e9:
        pytest.skip("needs 40 GB of free memory")
    z = torch.zeros(1, 3, 900, 900, 900, device="cuda", dtype=torch.float16)
    z[:, 2, 899, 890:] = 1.0
    image = ops.anatomy_image(z, backend="cuda")
    assert (image[0, 0, 899, 890:] == torch.tensor(0.72, dtype=torch.float16)).all()
    assert (image[0, 0, 899, :890] == torch.tensor(0.29, dtype=torch.float16)).all()
    del z, image
    mask = torch.zeros(1, 1, 1300, 1300, 1300, device="cuda", dtype=torch.bool)
    mask[..., 1299, 1290:, 7] = mask[..., 0, 0, :3] = True
    labels = ops.components3d(mask, backend="cuda")
    assert labels.max() == 2
    assert (labels[0, 0, 1299, 1290:, 7] == 2).all()
    assert not ops.remove_small(mask, 5, backend="cuda")[0, 0, 0].any()


@each_backend
def test_compiles_without_graph_break(name):
    able(name)
    x, y = (t.cuda().requires_grad_() for t in pair(SHAPE, torch.float32))
    z = logits(SHAPE, torch.float32).cuda()

    def work(x, y, z):
        image = ops.anatomy_image(z, backend=name)
        return ops.l1_ssim_loss(x, y, backend=name) + (ops.hybrid_score(x, y) * image).mean()

    want = torch.autograd.grad(work(x, y, z), (x, y))
    got = torch.autograd.grad(torch.compile(work, fullgraph=True)(x, y, z), (x, y))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


@each_backend
def test_under_autocast(name):
    able(name)
    x, y = (t.cuda() for t in pair(SHAPE, torch.float32))
    with torch.autocast("cuda", torch.bfloat16):
        assert ops.hybrid_score(x, y, backend=name).dtype == torch.float32
        half = ops.hybrid_score(x.bfloat16(), y.bfloat16(), backend=name)
    assert half.dtype == torch.bfloat16


@each_backend
def test_same_bits_again(name):
    able(name)
    x, y = (t.cuda().requires_grad_() for t in pair((2, 1, 60, 70, 80), torch.float32))
    run = partial(ops.l1_ssim_loss, x, y, backend=name)
    first, *want = run(), *torch.autograd.grad(run(), (x, y))
    edges = ops.canny3d(smooth((1, 1, 60, 70, 80), torch.float32).cuda(), backend=name)
    for _ in range(5):
        again, *got = run(), *torch.autograd.grad(run(), (x, y))
        assert torch.equal(again, first)
        assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
        x0 = smooth((1, 1, 60, 70, 80), torch.float32).cuda()
        assert torch.equal(ops.canny3d(x0, backend=name), edges)


def test_auto_takes_our_kernels_and_the_reference_for_float64():
    able("cuda")
    x = torch.zeros(1, 1, 4, 4, 4, device="cuda")
    assert _dispatch.resolve("auto", x) == "cuda"
    assert _dispatch.resolve("auto", x.double()) == "reference"


def test_medians_of_long_rows():
    able("cuda")
    rows = torch.randn(3, 2, 700_001, device="cuda").mul_(50).round_()
    rows[0, 1] = torch.nan
    rows[1:, :, ::3] = torch.nan
    want = rows.nanmedian(dim=-1).values
    assert same(row_medians(rows, backend="cuda"), want)
