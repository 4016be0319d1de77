"""The wheel that ``make wheel`` left in dist/, where a stranger installs it.

The environment is bare: no compiler, no nvcc, no checkout, and nothing on ``PATH`` but its own
programs. What the wheel depends on is borrowed from the environment that runs the
tests.
"""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import typer
from c_library import (
    TREE,
    brain_files,
    built_with_old_headers,
    documented_lines,
    newest_glibc,
    output_of,
    score_in,
)
from phantom import phantom, save

ROOT = Path(__file__).resolve().parents[1]
PACKAGE, KERNELS = ROOT / "dal_fast", ROOT / "kernels"

pytestmark = pytest.mark.wheel

SCRIPT = """
import sys
import torch
import dal_fast
from dal_fast import _C, nn, ops

for module in (dal_fast, _C):
    assert module.__file__.startswith(sys.prefix), module.__file__
x, y = torch.rand(2, 1, 1, 24, 28, 20, requires_grad=True).unbind(0)
ops.ssim3d(x, y).backward()
assert ops.canny3d(x).any()
assert ops.median3d(x.detach(), 5).shape == x.shape
assert nn.Canny3d()(x).dtype == torch.bool
for isa in _C.supported_isas():  # an exception of C++, beside torch's own C++ library
    _C.set_isa(isa)
    assert _C.current_isa() == isa
try:
    _C.set_isa("abacus")
except ValueError as error:
    print("refused:", error)
"""


@pytest.fixture(scope="module")
def wheel():
    (path,) = (ROOT / "dist").glob("dal_fast-*.whl")
    return path


@pytest.fixture(scope="module")
def bare(tmp_path_factory, wheel):
    """Runs a command in an environment that holds the wheel and nothing that could build it."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv/bin/python"
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    install = [*pip, "install", "--quiet", "--no-deps", "--no-index", "--no-compile", wheel]
    subprocess.run(install, check=True)
    site = next((folder / "venv").glob("lib/python*/site-packages"))
    dependencies = {str(Path(module.__file__).parents[1]) for module in (torch, typer)}
    (site / "dependencies.pth").write_text("\n".join(dependencies) + "\n")
    environment = {"PATH": str(folder / "venv/bin"), "HOME": str(folder)}
    for tool in ("cc", "g++", "clang", "nvcc", "cmake"):
        assert shutil.which(tool, path=environment["PATH"]) is None

    def run(*words):
        return subprocess.run(
            [folder / "venv/bin" / words[0], *map(str, words[1:])],
            capture_output=True, text=True, timeout=240, cwd=folder, env=environment, check=False,
        )  # fmt: skip

    run.folder = folder
    return run


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}
    found = {name for name in names if ".dist-info/" not in name}
    compiled = {name for name in found if name.startswith("dal_fast/_C") and name.endswith(".so")}
    assert len(compiled) == 1
    expected = {
        str(path.relative_to(ROOT))
        for suffix in ("py", "pyi", "toml", "css", "safetensors", "md")
        for path in PACKAGE.rglob(f"*.{suffix}")
        if "kernels" not in path.relative_to(PACKAGE).parts
    }
    expected |= {f"dal_fast/{path.relative_to(ROOT)}" for path in KERNELS.glob("*/*_triton.py")}
    expected |= {"dal_fast/py.typed"}
    expected |= {f"dal_fast/{name}" for name in TREE}
    assert found - compiled == expected
    assert any(name.startswith("dal_fast/_C") and name.endswith(".pyi") for name in found)
    for must in (
        "weights/default.safetensors",
        "weights/published.safetensors",
        "weights/brain.safetensors",
        "training/recipes/default.toml",
    ):
        assert f"dal_fast/{must}" in found


@built_with_old_headers
def test_the_wheel_says_which_systems_it_is_for(wheel, tmp_path):
    tag = re.search(r"-manylinux_(\d+)_(\d+)_", wheel.name)
    named = int(tag[1]), int(tag[2])
    assert named <= (2, 34)
    with zipfile.ZipFile(wheel) as content:
        compiled = [name for name in content.namelist() if ".so" in Path(name).name]
        files = [content.extract(name, tmp_path) for name in compiled]
    needs = [newest_glibc(path) for path in files if Path(path).read_bytes()[:4] == b"\x7fELF"]
    assert len(needs) == 2
    assert max(needs) <= named


def test_the_ops_run(bare):
    done = bare("python", "-c", SCRIPT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("refused: ")


def test_doctor_is_content(bare):
    done = bare("dal-fast", "doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ready to screen" in done.stdout


def test_a_brain_is_screened(bare, tmp_path):
    data, affine, centre = phantom("LAS")
    scan, out = save(tmp_path / "sub-01_T2w.nii.gz", data, affine), tmp_path / "out"
    done = bare("dal-fast", "screen", scan, out, "--runtime", "torch")
    assert done.returncode == 0, done.stderr
    sidecar = json.loads((out / "sub-01_desc-anomaly_T2w.json").read_text())
    assert all((out / name).is_file() for name in sidecar["Outputs"].values())
    anomaly = nib.load(out / sidecar["Outputs"]["anomaly"])
    assert anomaly.shape == data.shape
    assert np.allclose(anomaly.affine, affine)
    assert sidecar["Score"] > 0.2
    highest = np.unravel_index(anomaly.get_fdata().argmax(), data.shape)
    assert np.linalg.norm(nib.affines.apply_affine(affine, highest) - centre) < 8


def test_a_c_program_prints_a_score(bare, tmp_path):
    """The lines of docs/howto/embed.md, with a compiler that the wheel itself does without."""
    if not (shutil.which("cc") and shutil.which("pkg-config")):
        pytest.skip("needs a C compiler and pkg-config")
    brain_files(tmp_path)
    for made_by_the_lines in ("brain.f32", "mask.u8"):
        (tmp_path / made_by_the_lines).unlink()
    _, *lines = documented_lines()  # the first one installs the wheel, which is done
    program = "\n".join(["set -e", *lines])
    path = f"{bare.folder / 'venv/bin'}:/usr/bin:/bin"
    score_in(output_of("bash", "-c", program, cwd=tmp_path, PATH=path, HOME=tmp_path))
