"""median3d against scipy and numpy; masks, NaN, bits, threads, the generator, refusals."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from support import DTYPES, each_isa

from dal_fast import InputError, context, reference
from dal_fast.ops import median3d
from dal_fast.ops.median3d import _median3d

KERNELS = Path(__file__).parents[2] / "kernels" / "median3d"


def volume_of(shape, dtype, seed=0):
    """Noise rounded so that ties, zeros of both signs and infinities occur."""
    g = torch.Generator().manual_seed(seed)
    x = (8 * torch.randn(shape, generator=g)).round() / 8
    x[torch.rand(shape, generator=g) < 0.05] = -0.0
    x[torch.rand(shape, generator=g) < 0.02] = torch.inf
    x[torch.rand(shape, generator=g) < 0.02] = -torch.inf
    return x.to(dtype)


def bits(x):
    """For comparisons in which -0.0 differs from 0.0 and a NaN equals itself."""
    return x.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[x.element_size()])


# more than one vector and tile in x, y and z; rows shorter than the radius
@each_isa
@pytest.mark.parametrize("size", [3, 4, 5])
@pytest.mark.parametrize("shape", [(35, 9, 67), (66, 6, 5), (3, 197, 18), (2, 390, 3), (1, 1, 130)])
def test_equals_scipy(isa, shape, size):
    x = volume_of(shape, torch.float32)
    want = ndimage.median_filter(x.numpy(), size, mode="reflect")
    np.testing.assert_array_equal(median3d(x[None, None], size)[0, 0].numpy(), want)


@each_isa
@pytest.mark.parametrize("size", [3, 4, 5])
@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_counts_as_largest(isa, dtype, size):
    x = volume_of((6, 7, 12), dtype)
    x[torch.rand(x.shape, generator=torch.Generator().manual_seed(3)) < 0.45] = torch.nan
    x[0, :, ::2] = -x[0, :, ::2]  # NaNs of both signs
    got = median3d(x[None, None], size)
    padded = np.pad(x.double().numpy(), (size // 2, (size - 1) // 2), mode="symmetric")
    cubes = np.lib.stride_tricks.sliding_window_view(padded, (size,) * 3).reshape(*x.shape, -1)
    want = np.sort(cubes, axis=-1)[..., size**3 // 2]  # numpy sorts NaN last
    assert 0 < np.isnan(want).sum() < want.size
    np.testing.assert_array_equal(got[0, 0].double().numpy(), want)
    ours, definition = got, median3d(x[None, None], size, backend="reference")
    assert torch.equal(ours.isnan(), definition.isnan())


@each_isa
@pytest.mark.parametrize("size", [3, 4, 5])
@pytest.mark.parametrize("kind", ["random", "empty", "full", "box"])
def test_mask_blanks_the_plain_median(isa, kind, size):
    x = volume_of((2, 2, 9, 11, 37), torch.float32)
    mask = torch.rand(2, 1, 9, 11, 37, generator=torch.Generator().manual_seed(1)) < 0.5
    if kind != "random":
        mask = torch.full_like(mask, kind == "full")
    if kind == "box":
        mask[:, :, 2:7, 3:4, 9:30] = True
    got = median3d(x, size, mask)
    assert torch.equal(got, torch.where(mask, median3d(x, size), 0.0))
    assert torch.equal(got, median3d(x, size, mask, backend="reference"))
    strided = mask.permute(0, 1, 4, 3, 2).contiguous().permute(0, 1, 4, 3, 2)
    assert torch.equal(got, median3d(x, size, strided))


@each_isa
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_element_is_written(isa, dtype, poisoned):
    """Output and workspace are poisoned, and threads share neither."""
    x = volume_of((1, 2, 35, 6, 35), dtype)
    for size in (3, 4, 5):
        want = median3d(x, size)
        assert torch.equal(want.double(), reference.median3d(x.double(), size))
        for threads in (1, 3, 7):
            torch.set_num_threads(threads)
            assert torch.equal(median3d(x, size), want)


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_for_every_instruction_set_and_thread_count(dtype):
    x = volume_of((1, 2, 34, 13, 41), dtype)
    x[:, :, ::3, ::2] = torch.nan
    results = []
    for isa in context.supported_instruction_sets():
        for threads in (1, 2, 3, 7):
            with context.use(instruction_set=isa, threads=threads):
                results.append(bits(median3d(x, 5)))
    assert all(torch.equal(results[0], r) for r in results[1:])


def test_constant_step_and_spike():
    x = torch.zeros(1, 1, 12, 12, 12)
    x[..., 6:] = 1.0
    assert torch.equal(median3d(x, 5), x)  # a plane edge stays
    x[0, 0, 6, 6, 2] = 9.0
    assert torch.equal(median3d(x, 3)[0, 0, 6, 6, 1:4], torch.zeros(3))  # a spike goes


def test_networks_headers_are_up_to_date(monkeypatch):
    for name, header in [("generate", "networks.h"), ("generate_cuda", "networks.cuh")]:
        spec = importlib.util.spec_from_file_location(name, KERNELS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        # dataclasses look their module up, and generate_cuda imports generate
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        assert (KERNELS / header).read_text() == module.header()


@pytest.mark.parametrize(
    ("script", "three", "five"), [("generate.py", 78, 449), ("generate_cuda.py", 84, 498)]
)
def test_generators_count_instructions(script, three, five):
    out = subprocess.run(
        [sys.executable, KERNELS / script, "--count"], capture_output=True, text=True, check=True
    ).stdout
    assert f"3x3x3: {three} per voxel" in out
    assert f"5x5x5: {five} per voxel" in out


@pytest.mark.parametrize("size", [3, 4, 5])
def test_opcheck(size):
    x = volume_of((2, 2, 3, 4, 5), torch.float32)
    torch.library.opcheck(_median3d.overload, (x, size, None, "cpu"))
    mask = torch.ones(2, 1, 3, 4, 5, dtype=torch.bool)
    torch.library.opcheck(_median3d.overload, (x, size, mask, "cpu"))


def test_compiles_without_graph_break():
    compiled = torch.compile(lambda x: median3d(x, 3) + 1, fullgraph=True, backend="aot_eager")
    x = volume_of((1, 1, 4, 5, 6), torch.float32)
    assert torch.equal(compiled(x), median3d(x, 3) + 1)


def test_gradient_is_refused_but_not_under_no_grad():
    x = torch.rand(1, 1, 4, 5, 6, requires_grad=True)
    for backend in ("cpu", "reference"):
        with pytest.raises(InputError) as refused:
            median3d(x, 3, backend=backend)
        assert refused.value.code == "no-gradient"
        with torch.no_grad():
            assert not median3d(x, 3, backend=backend).requires_grad
        assert not median3d(x.detach(), 3, backend=backend).requires_grad


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda x, m: median3d(x[0]), "shape"),
        (lambda x, m: median3d(x[:, :, :0]), "shape"),
        (lambda x, m: median3d(x.int()), "dtype"),
        (lambda x, m: median3d([x]), "not-a-tensor"),
        (lambda x, m: median3d(x, 2), "size"),
        (lambda x, m: median3d(x, 7), "size"),
        (lambda x, m: median3d(x, 3, m.int()), "mask-dtype"),
        (lambda x, m: median3d(x, 3, m[..., 1:]), "mask-shape"),
        (lambda x, m: median3d(x, backend="cuda"), "backend-unavailable"),
    ],
)
def test_refusals(call, code):
    with pytest.raises(InputError) as refused:
        call(torch.zeros(1, 1, 4, 5, 6), torch.ones(1, 1, 4, 5, 6, dtype=torch.bool))
    assert refused.value.code == code
