"""Every example runs, as a user would run it, and leaves what it says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import needs_default_weights

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted(
    path.stem for path in (ROOT / "examples").glob("*.py") if path.stem != "synthetic"
)
LEAVES = {
    "screen_from_python": "anomaly.nii.gz",
    "ops_in_your_training": None,
    "train_small": "run/weights.safetensors",
    "compare_detectors": "report/index.html",
}
KEEPS_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}  # of glibc
LONG = ("train_small", "compare_detectors", "ops_in_your_training")
NEEDS = {"train_small": "lightning_fabric", "compare_detectors": "matplotlib"}


@needs_default_weights
@pytest.mark.slow
@pytest.mark.parametrize(
    "example",
    [pytest.param(e, marks=[pytest.mark.long] if e in LONG else []) for e in EXAMPLES],
)
def test_example(example, tmp_path):
    if example in NEEDS:
        pytest.importorskip(NEEDS[example])
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / f"{example}.py", tmp_path],
        capture_output=True, text=True, timeout=280, cwd=tmp_path, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": ""} | KEEPS_MEMORY,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    if LEAVES[example]:
        assert (tmp_path / LEAVES[example]).is_file()


def test_every_example_is_documented():
    pages = "".join(page.read_text("utf-8") for page in (ROOT / "docs").rglob("*.md"))
    for example in EXAMPLES:
        assert f"examples/{example}.py" in pages
