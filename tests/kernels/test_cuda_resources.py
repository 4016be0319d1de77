"""The CUDA kernels keep their values in registers on an H200 (sm_90)."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dal_fast.context import _C

triton = pytest.importorskip("triton", reason="cuobjdump comes with triton")
CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"


def short(mangled):
    """``march ILi5E...`` as c++filt names it, without namespaces and arguments."""
    if not shutil.which("c++filt"):
        return mangled
    name = subprocess.run(["c++filt", mangled], capture_output=True, text=True, check=True).stdout
    name = re.sub(r"^void |dal::cuda::|\(anonymous namespace\)::", "", name.strip())
    return re.sub(r"\([^()]*\)$", "", name)


def ask(*options):
    """What cuobjdump says about the module."""
    command = [CUOBJDUMP, *options, _C.__file__]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def resources():
    """``[(kernel, registers, shared bytes, stack and local bytes)]`` of sm_90."""
    if ".sm_90." not in ask("--list-elf"):
        pytest.skip("built for another GPU: ARCHS=90-real make test")
    text = ask("-arch", "sm_90", "--dump-resource-usage")
    found = re.findall(r"Function (\w+):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", text)
    return sorted((short(f), int(reg), int(sh), int(st) + int(lo)) for f, reg, st, sh, lo in found)


@pytest.mark.skipif(not hasattr(_C, "cuda"), reason="built without CUDA")
def test_no_kernel_spills():
    """Prints the numbers behind the tables of the READMEs."""
    kernels = resources()
    print("kernel | registers | static shared bytes (1,024 of them the system's) | spilled bytes")
    for kernel in kernels:
        print(*kernel, sep=" | ")
    assert len(kernels) > 50
    assert [kernel for kernel in kernels if kernel[3]] == []
