"""The Triton kernels compile for an H200 without a GPU and keep their values in registers.

The launch functions run on CPU tensors with a driver that knows the target and launches nothing, so
that what is compiled is what they ask for: types, constants, alignment.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest
import torch

triton = pytest.importorskip("triton", reason="the Triton kernels need triton")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("TRITON_INTERPRET=1: kernels are interpreted", allow_module_level=True)

from support import one_in  # noqa: E402
from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.runtime import driver  # noqa: E402
from triton.runtime.jit import JITFunction  # noqa: E402
from triton_kernels import triton_file  # noqa: E402

CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
REGISTERS, THREADS = 65536, 2048  # of a multiprocessor
DTYPES = one_in(3, [torch.float32, torch.float16, torch.bfloat16])
ALIGNED = (2, 3, 16, 48, 32)  # as a brain's sizes, multiples of 16: the same specialisation
SINGLE = (1, 3, 1, 1, 1)  # Triton makes an argument of 1 a constant, without type and methods
LEVELS = (0.29, 0.48, 0.72)
C = (1e-4, 9e-4)


class H200:
    """As much of a driver as compiling needs."""

    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self):
        return -1  # a compiled kernel is remembered under it: under none that exists

    def get_current_stream(self, device=None):
        return 0


@pytest.fixture
def compiled(monkeypatch):
    """Every kernel that a launch asks for, ``{id: (name, machine code)}``, none of them run."""
    kernels = {}
    run = JITFunction.run

    def compile_only(self, *args, grid, warmup, **kwargs):
        kernel = run(self, *args, grid=grid, warmup=True, **kwargs)
        kernels[id(kernel)] = (self.__name__, kernel)
        return kernel

    monkeypatch.setattr(JITFunction, "run", compile_only)
    monkeypatch.setattr(driver, "_active", H200())
    return kernels


def onehot(shape, dtype):
    op, z = triton_file("onehot"), torch.empty(shape, dtype=dtype)
    image = torch.empty_like(z[:, :1])
    mask = torch.ones_like(image, dtype=torch.bool)
    yield "one-hot", lambda: op.onehot_forward(z, None, None, z)
    yield "one-hot", lambda: op.onehot_backward(z, z, None, None, 1.0, z)
    yield "image, mask", lambda: op.onehot_forward(z, LEVELS, mask, image)
    yield "image, mask", lambda: op.onehot_backward(z, image, LEVELS, mask, 1.0, z)


def ssim_l1(shape, dtype):
    op, x = triton_file("ssim_l1"), torch.empty(shape, dtype=dtype)
    n, c, d, h, w = shape
    sums, up = torch.empty(2, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    fields = torch.empty(n * c, d, h, 4, (w + 15) // 16 * 16)
    weights = torch.full((6,), 1 / 11, dtype=torch.float64)
    yield "SSIM", lambda: op.ssim_map(x, x, x, False, weights, *C)
    yield "score", lambda: op.ssim_map(x, x, x, True, weights, *C)
    yield "sums", lambda: op.ssim_sums(x, x, sums, None, weights, *C)
    yield "sums, fields", lambda: op.ssim_sums(x, x, sums, fields, weights, *C)
    yield "upstream", lambda: op.ssim_fields(x, x, x, fields, weights, *C)
    yield "backward", lambda: op.ssim_backward(x, x, fields, up, 1.0, 1.0, x, x, weights)


def canny3d(shape, dtype):
    op, x = triton_file("canny3d"), torch.empty(shape, dtype=dtype)
    edges = torch.empty(shape, dtype=torch.bool)
    mask = torch.ones_like(edges[:, :1])
    taps = (1.0, 0.6, 0.1, 0.01, 0.001)
    yield "", lambda: op.canny3d(x, None, None, taps, 0.02, 0.04, edges)
    yield "mask", lambda: op.canny3d(x, None, mask, taps, 0.02, 0.04, edges)
    yield "logits, mask", lambda: op.canny3d(x, LEVELS, mask, taps, 0.02, 0.04, edges[:, :1])


def resources(code, folder):
    """``cuobjdump``'s counts of the only kernel."""
    cubin = folder / "kernel.cubin"
    cubin.write_bytes(code)
    text = subprocess.run(
        [CUOBJDUMP, "--dump-resource-usage", cubin], check=True, capture_output=True, text=True
    ).stdout
    counts = re.findall(r"(REG|STACK|SHARED|LOCAL):(\d+)", text.rpartition("Function")[2])
    return {name: int(count) for name, count in counts}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("calls", [onehot, ssim_l1, canny3d])
def test_no_kernel_spills(calls, dtype, compiled, tmp_path, capsys):
    """Prints the table of the READMEs."""
    lines = ["kernel | call | dtype | registers | shared bytes | spilled bytes | blocks per SM"]
    for label, call in calls(ALIGNED, dtype):
        before = set(compiled)
        call()
        for key in compiled.keys() - before:
            name, kernel = compiled[key]
            used = resources(kernel.asm["cubin"], tmp_path)
            spilled = used["STACK"] + used["LOCAL"]
            threads = 32 * kernel.metadata.num_warps
            blocks = min(REGISTERS // (-(-used["REG"] // 8) * 8 * threads), THREADS // threads)
            row = (name, label, str(dtype)[6:], used["REG"], kernel.metadata.shared, spilled)
            lines.append(" | ".join(map(str, (*row, blocks))))
            assert spilled == 0, lines[-1]
    with capsys.disabled():
        print("", *lines, sep="\n")


@pytest.mark.long
@pytest.mark.parametrize("calls", [onehot, ssim_l1, canny3d])
def test_axes_of_one_voxel_compile(calls, compiled):
    for _, call in calls(SINGLE, torch.float32):
        call()
    assert compiled


@pytest.mark.long
def test_the_widest_window_does_not_spill(compiled, tmp_path):
    x = torch.empty(1, 1, 48, 48, 48)
    weights = torch.full((17,), 1 / 33, dtype=torch.float64)
    triton_file("ssim_l1").ssim_map(x, x, x, True, weights, *C)
    for _, kernel in compiled.values():
        used = resources(kernel.asm["cubin"], tmp_path)
        assert used["STACK"] + used["LOCAL"] == 0
