"""Every Triton kernel compiles for an H200 without a GPU and keeps its values in registers."""

import os
import re
import subprocess
from pathlib import Path

import pytest

triton = pytest.importorskip("triton", reason="the Triton kernels need triton")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("TRITON_INTERPRET=1: kernels are interpreted", allow_module_level=True)

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402
from triton_kernels import triton_file  # noqa: E402

TARGET = GPUTarget("cuda", 90, 32)
CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
REGISTERS = 65536  # of a multiprocessor
DTYPES = ["fp32", "fp16", "bf16"]

SPACE = dict.fromkeys(("depth", "height", "width"), "i32")
PADDED = {**SPACE, "padded": "i32"}


def weights(radius):
    return {"weights": ("fp32",) * (radius + 1), "R": radius, "SHORT": False}


PAIR = {"x": "*", "y": "*", "shifts": "*fp32"}
LEVELS = ("fp32",) * 3
LOCAL = {**PAIR, "work": "*fp32", **PADDED, "c1": "fp32", "c2": "fp32", **weights(5)}
MOMENTS = {**PAIR, "fields": None, "out": "*fp32", **PADDED}
FIELDS = {**PAIR, "fields": "*fp32", "out": "*fp32", **PADDED, **weights(5)}
BLUR_X = {
    "values": "*", "levels": None, "mask": None, "taps": "*fp32", "radius": "i32", "out": "*fp32",
    "out_weight": None, "per_mask": "i32", **SPACE, "CLASSES": 1,
}  # fmt: skip
BLUR = {
    "image": "*fp32", "weight": None, "taps": "*fp32", "radius": "i32", "out": "*fp32",
    "out_weight": None, "length": "i32", "beside": "i32", "LAST": False,
}  # fmt: skip
SUPPRESS = {
    "smoothed": "*fp32", "magnitude": "*fp32", "mask": None, "level": "*u8", "per_mask": "i32",
    **SPACE, "low": "fp32", "high": "fp32",
}  # fmt: skip
IMAGE_OF_LEVELS = {"levels": LEVELS, "mask": "*u8"}
FORWARD = {"logits": "*", "levels": None, "mask": None, "out": "*", "voxels": "i32", "CLASSES": 3}
BACKWARD = {
    "logits": "*", "grad_out": "*", "levels": None, "mask": None, "grad_logits": "*",
    "voxels": "i32", "inverse_t": "fp32", "CLASSES": 3,
}  # fmt: skip
WEIGHED = {"weight": "*fp32", "out_weight": "*fp32"}

# (op, kernel, variant, arguments in any order): "*" is a pointer to the dtype under test, other
# strings are types, anything else a constant
VARIANTS = [
    ("onehot", "forward_kernel", "one-hot", FORWARD),
    ("onehot", "forward_kernel", "image, mask", {**FORWARD, **IMAGE_OF_LEVELS}),
    ("onehot", "backward_kernel", "one-hot", BACKWARD),
    ("onehot", "backward_kernel", "image, mask", {**BACKWARD, **IMAGE_OF_LEVELS}),
    ("ssim_l1", "shift_kernel", "", {**PAIR, **SPACE, "X": 32}),
    ("ssim_l1", "filter_xy_kernel", "inputs, r = 5", {**MOMENTS, **weights(5)}),
    ("ssim_l1", "filter_xy_kernel", "inputs, r = 16", {**MOMENTS, **weights(16)}),
    ("ssim_l1", "filter_xy_kernel", "fields, r = 5", FIELDS),
    ("ssim_l1", "map_kernel", "SSIM", {**LOCAL, "out": "*", "HYBRID": False}),
    ("ssim_l1", "map_kernel", "score", {**LOCAL, "out": "*", "HYBRID": True}),
    ("ssim_l1", "fields_kernel", "sums, fields",
     {**LOCAL, "grad": None, "fields": "*fp32", "partials": "*fp64"}),
    ("ssim_l1", "fields_kernel", "sums",
     {**LOCAL, "grad": None, "fields": None, "partials": "*fp64"}),
    ("ssim_l1", "fields_kernel", "upstream",
     {**LOCAL, "grad": "*", "fields": "*fp32", "partials": None}),
    ("ssim_l1", "gradient_kernel", "",
     {**PAIR, "work": "*fp32", **PADDED, **weights(5), "upstream": "*fp64", "grad_x": "*",
      "grad_y": "*", "scale": "fp32", "l1": "fp32"}),
    ("canny3d", "blur_x_kernel", "", BLUR_X),
    ("canny3d", "blur_x_kernel", "3 logits, mask",
     {**BLUR_X, **IMAGE_OF_LEVELS, "out_weight": "*fp32", "CLASSES": 3}),
    ("canny3d", "blur_along_kernel", "", BLUR),
    ("canny3d", "blur_along_kernel", "mask", {**BLUR, **WEIGHED}),
    ("canny3d", "blur_along_kernel", "mask, last", {**BLUR, **WEIGHED, "LAST": True}),
    ("canny3d", "magnitude_kernel", "", {"smoothed": "*fp32", "magnitude": "*fp32", **SPACE}),
    ("canny3d", "suppress_kernel", "mask", {**SUPPRESS, "mask": "*u8"}),
    ("canny3d", "propagate_kernel", "",
     {"level": "*u8", "flags": "*i32", "launch": "i32", **SPACE}),
]  # fmt: skip


def cases():
    """Every variant once, and for each dtype where it sees the inputs."""
    for op, kernel, variant, arguments in VARIANTS:
        typed = "*" in arguments.values() and variant not in ("inputs, r = 16", "fields, r = 5")
        for dtype in DTYPES if typed else DTYPES[:1]:
            yield op, kernel, variant, dtype, arguments


def is_type(value):
    return isinstance(value, str | tuple)


def compiled(kernel, dtype, arguments, size_one=False):
    """Machine code for pointers and sizes that are multiples of 16, or for axes of one voxel."""
    signature, constants, attributes = {}, {}, {}
    for i, name in enumerate(kernel.arg_names):
        value = arguments[name]
        if size_one and name in (*PADDED, "length", "beside", "voxels"):
            value = 1
        signature[name] = (f"*{dtype}" if value == "*" else value) if is_type(value) else "constexpr"
        if not is_type(value):
            constants[(i,)] = value
        elif value[0] == "*" or name in (*PADDED, "length", "beside", "voxels"):
            attributes[(i,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, constexprs=constants, attrs=attributes)
    return triton.compile(source, target=TARGET)


def resources(code, tmp_path):
    """``cuobjdump``'s counts of the only kernel: REG, STACK, SHARED, LOCAL."""
    cubin = tmp_path / "kernel.cubin"
    cubin.write_bytes(code)
    text = subprocess.run(
        [CUOBJDUMP, "--dump-resource-usage", cubin], check=True, capture_output=True, text=True
    ).stdout
    line = text.rpartition("Function")[2]
    return {name: int(re.search(rf"{name}:(\d+)", line)[1]) for name in
            ("REG", "STACK", "SHARED", "LOCAL")}  # fmt: skip


def test_no_kernel_spills(tmp_path, capsys):
    """Prints the table of the READMEs; all kernels run 128 threads."""
    lines = ["op | kernel | variant | dtype | registers | shared bytes | spilled bytes | blocks"]
    spilling = []
    for op, name, variant, dtype, arguments in cases():
        code = compiled(getattr(triton_file(op), name), dtype, arguments)
        assert code.metadata.num_warps == 4
        used = resources(code.asm["cubin"], tmp_path)
        spilled = used["STACK"] + used["LOCAL"]
        per_block = -(-used["REG"] // 8) * 8 * 128
        row = (op, name, variant, dtype, used["REG"], used["SHARED"], spilled,
               min(16, REGISTERS // per_block))  # fmt: skip
        lines.append(" | ".join(map(str, row)))
        if spilled:
            spilling.append(row)
    with capsys.disabled():
        print("", *lines, sep="\n")
    assert not spilling


def test_axes_of_one_voxel_compile():
    """Triton makes an argument of 1 a constant, which has no type and no methods."""
    for op, name, variant, arguments in VARIANTS:
        if "r = 16" not in variant:
            compiled(getattr(triton_file(op), name), "fp32", arguments, size_one=True)
