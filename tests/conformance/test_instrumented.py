"""The conformance table under instruments, each in a process of its own.

AddressSanitizer and UBSan, the race checker with preemption at any access, and Triton's interpreter
all need to be there when the process starts, or slow everything else in it down. They take minutes:
asked for with DAL_FAST_INSTRUMENTED=1.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cuda_on_host.build import preload, why_not

TABLE = Path(__file__).with_name("test_conformance.py")
ENGINES = {
    "cuda-on-host-asan": lambda: why_not(),
    "cuda-on-host-race": lambda: why_not(),
    "triton-interpreter": lambda: (
        "" if importlib.util.find_spec("triton") else "Triton is not installed"
    ),
}


@pytest.mark.skipif("DAL_FAST_INSTRUMENTED" not in os.environ, reason="DAL_FAST_INSTRUMENTED=1")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("engine", ENGINES)
def test_table_under(engine):
    obstacle = ENGINES[engine]()
    if obstacle:
        pytest.skip(obstacle)
    environment = {**os.environ, "DAL_FAST_ENGINES": engine, "TRITON_INTERPRET": "1"}
    environment |= preload("asan") if engine.endswith("asan") else {}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(TABLE)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
    print(engine, done.stdout.splitlines()[-1])
