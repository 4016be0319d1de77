"""What the ops run on: the backend, the CPU's instruction set, the number of threads.

Each has a function that reads it and one that sets it for the whole process; :func:`use` sets them
for a block and restores them afterwards::

    from dal_fast import context

    context.set_backend("reference")  # every op, until it is set again
    with context.use(backend="cpu", threads=1):
        ...  # this thread's ops

This is the only module that reads environment variables of dal_fast; :data:`VARIABLES` lists them.
It imports neither torch nor anything that does, so that a program can ask
:func:`available_cores` before it imports torch.
"""

from __future__ import annotations

import operator
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dal_fast.errors import Code, InputError, RuntimeUnavailable

try:
    from dal_fast import _C as _C  # the ops take it from here

    _EXTENSION_PROBLEM = None
except ImportError as error:  # pragma: no cover - only in a broken installation
    _C = None  # type: ignore[assignment]
    _EXTENSION_PROBLEM = (
        f"the compiled extension dal_fast._C does not load ({error}). Did you forget to build it? "
        "In a source checkout run `pip install -e .`"
    )

BACKENDS = ("cpu", "cuda", "triton", "reference")
"""``"cpu"``: the compiled extension. ``"cuda"``: its half for NVIDIA GPUs. ``"triton"``: the same
work in Triton, for GPUs without the CUDA half. ``"reference"``: plain torch in float64, on any
device. Beside these, ``"auto"`` is the fastest that can run."""

VARIABLES = {
    "DAL_FAST_BACKEND": 'what backend="auto" means: the name of a backend, or auto',
    "DAL_FAST_CPU": "the CPU kernels' instruction set: portable, avx2 or avx512",
}
"""Every environment variable that dal_fast reads, with its meaning. They are read once, when this
module is imported."""


class _Process:
    """What holds for every thread that has not entered :func:`use`."""

    backend = os.environ.get("DAL_FAST_BACKEND") or "auto"
    threads: int | None = None


class _Thread(threading.local):
    """What :func:`use` has set in this thread; None where the process's value holds."""

    backend: str | None = None
    threads: int | None = None


_process, _thread = _Process(), _Thread()


def backend() -> str:
    """What ``backend="auto"`` means in this thread: a name of :data:`BACKENDS`, or ``"auto"``."""
    return _thread.backend or _process.backend


def set_backend(name: str) -> None:
    """Set what ``backend="auto"`` means, for the whole process.

    A backend that an op is asked for by name is not affected. A backend that cannot run raises when
    an op is called, not here.

    Raises:
        InputError: ``value`` for a name that is neither ``"auto"`` nor in :data:`BACKENDS`.
    """
    _process.backend = _checked_backend(name)


def extension_problem() -> str | None:
    """Why the compiled extension cannot be used, and what to do; None when it can."""
    return _EXTENSION_PROBLEM


def instruction_set() -> str:
    """The instruction set that the CPU kernels use: ``"portable"``, ``"avx2"`` or ``"avx512"``."""
    return "portable" if _C is None else _C.current_isa()


def supported_instruction_sets() -> list[str]:
    """Those that this processor and this build can run, the slowest first."""
    return [] if _C is None else _C.supported_isas()


def set_instruction_set(name: str) -> None:
    """Set the instruction set of the CPU kernels, for the whole process.

    Results do not depend on it, except in the last digits that README.md of a kernel names.

    Raises:
        RuntimeUnavailable: ``instruction-set`` for one that is unknown or that cannot run here.
    """
    _set_instruction_set(name, "instruction set ")


def threads() -> int:
    """How many threads a CPU kernel that this thread calls may use.

    If unset, torch's number, or :func:`available_cores` where torch has not been imported.
    """
    number = _thread.threads or _process.threads
    if number is not None:
        return number
    torch = sys.modules.get("torch")
    number = available_cores() if torch is None else torch.get_num_threads()
    return int(number)


def set_threads(number: int | None) -> None:
    """Set how many threads the CPU kernels may use, for the whole process; None: as if unset.

    Results do not depend on it. torch's own operations keep ``torch.set_num_threads``.

    Raises:
        InputError: ``value`` for a number below 1.
    """
    _process.threads = _checked_threads(number)


@contextmanager
def use(
    *,
    backend: str | None = None,
    instruction_set: str | None = None,
    threads: int | None = None,
) -> Iterator[None]:
    """Set what is given for the length of a ``with`` block, and restore it however the block ends.

    Backend and threads are set for the calling thread alone, so that several threads can enter at
    once. The instruction set belongs to the process: give it where one thread does the work.

    Args:
        backend: what ``backend="auto"`` means inside.
        instruction_set: of the CPU kernels.
        threads: that a CPU kernel may use, 1 or more.

    Raises:
        InputError: as the functions that set each of them; nothing has been changed then.

    Example:
        >>> from dal_fast import context
        >>> with context.use(backend="reference", threads=1):
        ...     context.backend(), context.threads()
        ('reference', 1)
    """
    wanted_backend = None if backend is None else _checked_backend(backend)
    wanted_threads = _checked_threads(threads)
    before = _thread.backend, _thread.threads
    isa_before = None if instruction_set is None or _C is None else _C.current_isa()
    if instruction_set is not None:
        set_instruction_set(instruction_set)
    if wanted_backend is not None:
        _thread.backend = wanted_backend
    if wanted_threads is not None:
        _thread.threads = wanted_threads
    try:
        yield
    finally:
        _thread.backend, _thread.threads = before
        if isa_before is not None:
            _C.set_isa(isa_before)


def available_cores() -> int:
    """How many threads this process should start: the smallest limit that it was given.

    The limits are the processors that it may be scheduled on (``taskset``, cpusets), the CPU quota
    of its control group and of those above (containers, both cgroup versions; part of a processor
    counts as one), ``OMP_NUM_THREADS`` and ``SLURM_CPUS_PER_TASK``. The two variables are only ever
    taken to lower the number. At least 1.
    """
    limits = [_schedulable(), _quota(), _number_in("OMP_NUM_THREADS")]
    limits.append(_number_in("SLURM_CPUS_PER_TASK"))
    return max(1, min(limit for limit in limits if limit is not None))


def _checked_backend(name: str) -> str:
    if name != "auto" and name not in BACKENDS:
        raise InputError(
            Code.VALUE, f"backend must be auto or one of {', '.join(BACKENDS)}, not {name!r}"
        )
    return name


def _checked_threads(number: int | None) -> int | None:
    if number is None:
        return None
    try:
        whole = operator.index(number)
    except TypeError:
        whole = 0
    if not 1 <= whole < 2**31:
        raise InputError(
            Code.VALUE, f"threads must be a whole number from 1 to 2**31 - 1, not {number!r}"
        )
    return whole


def _set_instruction_set(name: str, source: str) -> None:
    if _C is None:
        raise RuntimeUnavailable(Code.INSTRUCTION_SET, f"{source}{name}: {_EXTENSION_PROBLEM}")
    try:
        _C.set_isa(name)
    except ValueError as error:
        raise RuntimeUnavailable(Code.INSTRUCTION_SET, f"{source}{name}: {error}") from None


def _schedulable() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _number_in(variable: str) -> int | None:
    """The first number of ``4`` or ``4,2``; None for anything that is not a positive number."""
    first = os.environ.get(variable, "").partition(",")[0].strip()
    return int(first) if first.isascii() and first.isdigit() and int(first) > 0 else None


def _quota(proc: Path = Path("/proc/self")) -> int | None:
    """The smallest CPU quota of this process's control groups, rounded up; None without one."""
    quotas = [q for folder in _control_groups(proc) for q in _quotas_of(folder)]
    return min(quotas, default=None)


def _control_groups(proc: Path) -> Iterator[Path]:
    """Folders of the control groups that limit the processor, up to where they are mounted."""
    try:
        groups = [g.split(":", 2) for g in (proc / "cgroup").read_text().splitlines()]
        mounts = [m.split() for m in (proc / "mountinfo").read_text().splitlines()]
    except (OSError, ValueError):  # not Linux, or hidden
        return
    for mount in mounts:
        root, point, kind, options = mount[3], Path(mount[4]), mount[-3], mount[-1].split(",")
        for _, controllers, path in groups:
            if kind == "cgroup2":
                ours = controllers == ""
            else:
                ours = kind == "cgroup" and {"cpu"} <= set(options) & set(controllers.split(","))
            if not ours:
                continue
            below = path.removeprefix(root.rstrip("/")).strip(
                "/"
            )  # inside a container root is ours
            folder = point / below
            yield folder
            yield from (p for p in folder.parents if p == point or point in p.parents)


def _quotas_of(folder: Path) -> Iterator[int]:
    """The quota of one control group in processors, of either version."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            words = " ".join((folder / name).read_text() for name in names).split()
            quota, period = int(words[0]), int(words[1])
        except (OSError, ValueError, IndexError):  # no such file; "max 100000" has no limit
            continue
        if quota > 0 and period > 0:
            yield -(-quota // period)


def _apply_environment() -> None:
    if _process.backend != "auto" and _process.backend not in BACKENDS:
        raise InputError(
            Code.VALUE,
            f"DAL_FAST_BACKEND={_process.backend}: choose auto or one of {', '.join(BACKENDS)}",
        )
    name = os.environ.get("DAL_FAST_CPU")
    if name and _C is not None:
        _set_instruction_set(name, "DAL_FAST_CPU=")


_apply_environment()
