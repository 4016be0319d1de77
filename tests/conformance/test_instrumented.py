"""The conformance table under instruments, each in a process of its own, two at a time.

AddressSanitizer and UBSan, the race checker with preemption at any access, and Triton's interpreter
all need to be there when the process starts, or slow everything else in it down. `make emulated`
runs them; `make test` leaves them out.
"""

import importlib.util
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cuda_on_host.build import preload, why_not

HERE = Path(__file__).parent
TABLE = HERE / "test_conformance.py"
NO_TRITON = "" if importlib.util.find_spec("triton") else "Triton is not installed"
# engine -> why it cannot run, what it runs; the longest first
ENGINES = {
    "triton-interpreter": (NO_TRITON, [TABLE, HERE / "triton_cases.py"]),
    "cuda-on-host-asan": (why_not(), [TABLE]),
    "cuda-on-host-race": (why_not(), [TABLE]),
}


def _run(engine):
    obstacle, files = ENGINES[engine]
    if obstacle:
        return None
    environment = {**os.environ, "DAL_FAST_ENGINES": engine, "TRITON_INTERPRET": "1"}
    environment |= preload("asan") if engine.endswith("asan") else {}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--durations=5",
         "-W", "ignore::RuntimeWarning",  # numpy's, in the interpreter: 0 / 0 is meant
         *files],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def runs():
    """``engine -> future`` of its process."""
    with ThreadPoolExecutor(2) as two:
        yield {engine: two.submit(_run, engine) for engine in ENGINES}


@pytest.mark.emulated
@pytest.mark.timeout(900)
@pytest.mark.parametrize("engine", ENGINES)
def test_table_under(engine, runs):
    done = runs[engine].result()
    if done is None:
        pytest.skip(ENGINES[engine][0])
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
    print(engine, done.stdout)
