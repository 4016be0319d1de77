"""Backends say why they cannot run; get, set and restore; available cores; threads and forks."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from dal_fast import InputError, context, ops
from dal_fast.ops import _dispatch, onehot_ste


@pytest.mark.parametrize("name", ["cuda", "triton", "nonsense"])
def test_a_backend_that_cannot_run_says_why(name):
    with pytest.raises(InputError, match=name) as refused:
        _dispatch.resolve(name, torch.zeros(1))
    assert refused.value.code == "backend-unavailable"
    assert _dispatch.why_not(name, torch.device("cpu"))


def test_cpu_kernels_do_not_take_tensors_of_another_device():
    assert "meta" in (_dispatch.why_not("cpu", torch.device("meta")) or "")


def test_auto_is_the_compiled_kernels_on_the_cpu():
    assert _dispatch.resolve("auto", torch.zeros(1)) == "cpu"


def run_python(code, **env):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **env}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("name", context.supported_instruction_sets())
def test_environment_forces_the_instruction_set(name):
    code = "from dal_fast import context; print(context.instruction_set())"
    assert run_python(code, DAL_FAST_CPU=name).stdout.strip() == name


@pytest.mark.parametrize(
    ("variable", "value"), [("DAL_FAST_CPU", "mmx"), ("DAL_FAST_BACKEND", "gpu")]
)
def test_unknown_values_of_the_environment_are_refused(variable, value):
    done = run_python("import dal_fast.context", **{variable: value})
    assert done.returncode != 0
    assert f"{variable}={value}" in done.stderr


def test_environment_forces_the_reference():
    code = "import torch; from dal_fast.ops import _dispatch\n"
    code += "print(_dispatch.resolve('auto', torch.zeros(1)))"
    assert run_python(code, DAL_FAST_BACKEND="reference").stdout.strip() == "reference"


def test_context_imports_without_torch():
    code = "import sys; from dal_fast import context; context.available_cores()\n"
    assert run_python(code + "print('torch' in sys.modules)").stdout.strip() == "False"


def test_backend_is_set_for_the_process_and_for_a_block():
    x = torch.zeros(1)
    context.set_backend("reference")
    try:
        assert _dispatch.resolve("auto", x) == "reference"
        with context.use(backend="cpu"):
            assert (context.backend(), _dispatch.resolve("auto", x)) == ("cpu", "cpu")
        assert _dispatch.resolve("cpu", x) == "cpu"  # asked for by name
    finally:
        context.set_backend("auto")
    assert context.backend() == "auto"


def test_a_block_changes_its_own_thread_alone_and_is_left_by_exceptions():
    def block(other):
        with context.use(backend="reference", threads=1):
            assert (context.backend(), context.threads()) == ("reference", 1)
            assert other.submit(context.backend).result() == "auto"
            raise KeyError

    with ThreadPoolExecutor(1) as other, pytest.raises(KeyError):
        block(other)
    assert (context.backend(), context.threads()) == ("auto", torch.get_num_threads())


def test_the_compiler_sees_a_change_of_backend():
    x = torch.rand(1, 1, 5, 6, 7)
    compiled = torch.compile(
        lambda a: ops.hybrid_score(a, a.flip(4)), backend="aot_eager", fullgraph=True
    )
    assert torch.equal(compiled(x), ops.hybrid_score(x, x.flip(4)))
    with context.use(backend="reference"):
        assert torch.equal(compiled(x), ops.hybrid_score(x, x.flip(4), backend="reference"))


def test_instruction_set_is_restored_by_exceptions():
    def block(name):
        with context.use(instruction_set=name):
            assert context.instruction_set() == name
            raise KeyError

    before = context.instruction_set()
    for name in context.supported_instruction_sets():
        with pytest.raises(KeyError):
            block(name)
        assert context.instruction_set() == before


def test_threads_are_set_for_the_process():
    context.set_threads(3)
    try:
        assert context.threads() == 3
        assert _dispatch.launcher("cpu", torch.zeros(1))[1] == 3
    finally:
        context.set_threads(None)
    assert context.threads() == torch.get_num_threads()


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda: context.set_backend("gpu"), "value"),
        (lambda: context.set_threads(0), "value"),
        (lambda: context.set_instruction_set("mmx"), "instruction-set"),
        (lambda: context.use(backend="gpu").__enter__(), "value"),
        (lambda: context.use(instruction_set="mmx", backend="cpu").__enter__(), "instruction-set"),
    ],
)
def test_refusals(call, code):
    with pytest.raises(InputError) as refused:
        call()
    assert refused.value.code == code
    assert context.backend() == "auto"


@pytest.fixture
def no_limits(monkeypatch):
    """A machine of 16 processors without any limit."""
    for variable in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.setattr(context, "_quota", lambda: None)
    return monkeypatch


@pytest.mark.parametrize(
    ("omp", "slurm", "quota", "cores"),
    [
        (None, None, None, 16),
        ("4", None, None, 4),
        ("4,2", None, None, 4),
        ("many", "", None, 16),
        ("0", "-3", None, 16),
        ("8", "6", 5, 5),
        ("64", "32", None, 16),
        (None, "3", None, 3),
        (None, None, 1, 1),
    ],
)
def test_the_smallest_limit_of_cores_wins(no_limits, omp, slurm, quota, cores):
    for variable, value in (("OMP_NUM_THREADS", omp), ("SLURM_CPUS_PER_TASK", slurm)):
        if value is not None:
            no_limits.setenv(variable, value)
    no_limits.setattr(context, "_quota", lambda: quota)
    assert context.available_cores() == cores


V2 = {"cgroup": "0::/job/step\n", "mounts": [("/", "unified", "cgroup2", "rw,nsdelegate")]}
V1 = {
    "cgroup": "4:cpu,cpuacct:/job/step\n3:memory:/job\n",
    "mounts": [("/", "cpu", "cgroup", "rw,cpu,cpuacct"), ("/", "memory", "cgroup", "rw,memory")],
}
INSIDE = {  # a container that sees its own group as the root of the mount
    "cgroup": "0::/docker/123\n", "mounts": [("/docker/123", "unified", "cgroup2", "rw")],
}  # fmt: skip


@pytest.mark.parametrize(
    ("system", "files", "quota"),
    [
        (V2, {"unified/job/step/cpu.max": "max 100000"}, None),
        (V2, {"unified/job/step/cpu.max": "300000 100000"}, 3),
        (V2, {"unified/job/step/cpu.max": "150000 100000"}, 2),
        (V2, {"unified/job/step/cpu.max": "max 100000", "unified/job/cpu.max": "50000 100000"}, 1),
        (V2, {"unified/other/cpu.max": "100000 100000"}, None),
        (INSIDE, {"unified/cpu.max": "200000 100000"}, 2),
        (V1, {"cpu/job/cpu.cfs_quota_us": "400000", "cpu/job/cpu.cfs_period_us": "100000"}, 4),
        (V1, {"cpu/job/cpu.cfs_quota_us": "-1", "cpu/job/cpu.cfs_period_us": "100000"}, None),
        (V1, {"memory/job/cpu.cfs_quota_us": "1", "memory/job/cpu.cfs_period_us": "1"}, None),
        ({"cgroup": "", "mounts": []}, {}, None),
    ],
)
def test_quota_of_control_groups(tmp_path, system, files, quota):
    lines = [
        f"30 23 0:26 {root} {tmp_path / point} rw,nosuid shared:4 - {kind} cgroup {options}\n"
        for root, point, kind, options in system["mounts"]
    ]
    (tmp_path / "mountinfo").write_text("".join(lines))
    (tmp_path / "cgroup").write_text(system["cgroup"])
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert context._quota(tmp_path) == quota


def test_no_quota_where_there_is_no_proc(tmp_path):
    assert context._quota(tmp_path / "absent") is None


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_cores_follow_the_affinity():
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from dal_fast import context; print(context.available_cores())"
    assert run_python(code, OMP_NUM_THREADS="64").stdout.strip() == "1"


def test_a_missing_extension_is_named_with_its_remedy():
    code = "import sys; sys.modules['dal_fast._C'] = None\n"
    code += "import torch; from dal_fast import ops\n"
    code += "ops.median3d(torch.zeros(1, 1, 3, 3, 3), backend='cpu')"
    done = run_python(code)
    assert "cannot run" in done.stderr
    assert "Did you forget to build it?" in done.stderr


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


def test_ops_start_without_the_compiler_and_the_reference():
    """`import torch._dynamo` would cost every command two seconds; the reference is the tests'."""
    code = (
        "import sys, torch; from dal_fast import ops; x = torch.rand(1, 1, 9, 9, 9)\n"
        "y = x.clone().requires_grad_(); ops.canny3d(x); ops.l1_ssim_loss(x, y, 0.5).backward()\n"
        "assert y.grad is not None; assert 'torch._dynamo' not in sys.modules\n"
        "assert 'dal_fast.reference' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
