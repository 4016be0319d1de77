"""Runs ``triton_cases.py`` in Triton's interpreter, which has to be chosen before the import."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).with_name("triton_cases.py")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kernels_match_the_reference_in_the_interpreter():
    triton = pytest.importorskip("triton", reason="the Triton kernels need triton")
    if triton.__version__.startswith("3.6."):
        pytest.skip("the interpreter of Triton 3.6 has no loops up to an argument on new NumPy")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=5",
         "-W", "ignore::RuntimeWarning",  # numpy's: NaN and division by 0 are meant
         CASES],
        cwd=CASES.parents[2], env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True, text=True,
    )  # fmt: skip
    print(run.stdout)
    assert run.returncode == 0, run.stdout + run.stderr
