"""Backends say why they cannot run; instruction sets can be forced; threads and forks work."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from dal_fast import InputError, backend, ops
from dal_fast.backend import _C
from dal_fast.ops import onehot_ste


@pytest.mark.parametrize("name", ["cuda", "triton", "nonsense"])
def test_a_backend_that_cannot_run_says_why(name):
    with pytest.raises(InputError, match=name) as refused:
        backend.resolve(name, torch.zeros(1))
    assert refused.value.code == "backend-unavailable"
    assert backend.why_not(name, torch.device("cpu"))


def test_cpu_kernels_do_not_take_tensors_of_another_device():
    assert "meta" in (backend.why_not("cpu", torch.device("meta")) or "")


def test_auto_is_the_compiled_kernels_on_the_cpu():
    assert backend.resolve("auto", torch.zeros(1)) == "cpu"


def run_python(code, **env):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **env}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("name", _C.supported_isas())
def test_environment_forces_the_instruction_set(name):
    done = run_python("from dal_fast.backend import _C; print(_C.current_isa())", DAL_FAST_CPU=name)
    assert done.stdout.strip() == name


def test_unknown_instruction_set_is_refused():
    done = run_python("import dal_fast.backend", DAL_FAST_CPU="mmx")
    assert done.returncode != 0
    assert "DAL_FAST_CPU=mmx" in done.stderr


def test_environment_forces_the_reference():
    code = (
        "import torch; from dal_fast.backend import resolve; print(resolve('auto', torch.zeros(1)))"
    )
    assert run_python(code, DAL_FAST_BACKEND="reference").stdout.strip() == "reference"


def test_package_imports_without_torch():
    done = run_python("import sys, dal_fast; print('torch' in sys.modules)")
    assert done.stdout.strip() == "False"


def test_concurrent_calls_agree():
    z = [
        torch.randn(1, 3, 20, 30, 40, generator=torch.Generator().manual_seed(i)) for i in range(8)
    ]
    alone = [onehot_ste(v) for v in z]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(10):
            together = list(pool.map(onehot_ste, z))
            assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_working_threads():
    code = """
import os, torch
from dal_fast.ops import onehot_ste
torch.set_num_threads(2)
z = torch.randn(1, 3, 40, 40, 40)
want = onehot_ste(z)
pid = os.fork()
if pid == 0:
    os._exit(0 if torch.equal(onehot_ste(z), want) else 1)
print(os.waitpid(pid, 0)[1])
"""
    assert run_python(code).stdout.strip() == "0"


def test_ops_start_without_the_compiler():
    """`import torch._dynamo` would cost every command two seconds."""
    code = (
        "import sys, torch; from dal_fast import ops; x = torch.rand(1, 1, 9, 9, 9)\n"
        "y = x.clone().requires_grad_(); ops.canny3d(x); ops.l1_ssim_loss(x, y, 0.5).backward()\n"
        "assert y.grad is not None; assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_second_derivative_is_refused():
    x = torch.rand(1, 1, 5, 6, 7)
    y = x.clone().requires_grad_()
    (first,) = torch.autograd.grad(ops.l1_ssim_loss(x, y, 0.5), y, create_graph=True)
    with pytest.raises(RuntimeError, match="cannot be differentiated"):
        first.sum().backward()
