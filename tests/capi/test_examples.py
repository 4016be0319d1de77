"""The examples, where their compilers are: the same raw volume, the same score."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from capi import native

EXAMPLES = native.ROOT / "examples"
BUILDS = {
    "c": ("gcc", ["gcc", "-std=c99", "-Wall", "-Werror", "{c}/screen.c", "-o", "{out}/screen"]),
    "cpp": ("g++", ["g++", "-std=c++17", "-Wall", "-Werror", "{cpp}/screen.cpp",
                    "-o", "{out}/screen"]),
    "rust": ("rustc", ["rustc", "{rust}/screen.rs", "-L", "native={out}", "-l", "dylib=dal_fast",
                       "-o", "{out}/screen"]),
    "csharp": ("mcs", ["mcs", "{csharp}/Screen.cs", "-out:{out}/screen.exe"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def raw(tmp_path_factory, brain):
    """Scan and mask without a header, and what follows them on the command line."""
    folder = tmp_path_factory.mktemp("raw")
    scan, mask, _ = brain
    scan.T.tofile(folder / "scan.f32")
    mask.T.tofile(folder / "mask.u8")
    return [folder / "scan.f32", folder / "mask.u8", *scan.shape, 2.5]


@pytest.fixture(scope="module")
def wanted(engine, brain):
    scan, mask, _ = brain
    session = native.Session(engine)
    affine = np.diag([2.5, 2.5, 2.5, 1.0])
    summary = session.run(scan, affine, mask)[0]
    session.close()
    return summary.score


def check_sides(command, raw, **environment):
    """A file that is longer or shorter than the sides say is no scan of that shape."""
    *files, depth, size = raw
    for wrong in (depth - 1, depth + 1):
        done = subprocess.run(
            list(map(str, [*command, *files, wrong, size])), capture_output=True, text=True,
            check=False, timeout=120, env=os.environ | environment,
        )  # fmt: skip
        assert done.returncode > 0
        assert "as the sides say" in done.stderr


def score_of(command, **environment):
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, timeout=120,
        env=os.environ | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    word, score = done.stdout.split()[:2]
    assert word == "score"
    return float(score)


@pytest.mark.parametrize("language", sorted(BUILDS))
def test_compiled_examples(language, library, bundle, engine_path, raw, wanted, tmp_path):
    compiler, build = BUILDS[language]
    if shutil.which(compiler) is None or (language == "csharp" and shutil.which("mono") is None):
        pytest.skip(f"needs {compiler}")
    folders = {name: EXAMPLES / name for name in BUILDS}
    build = [word.format(out=tmp_path, **folders) for word in build]
    if language in ("c", "cpp"):
        build += [f"-I{native.HEADER.parent}", str(library)]
    (tmp_path / "libdal_fast.so").symlink_to(library)
    subprocess.run(build, check=True, timeout=250, cwd=tmp_path)
    program = [tmp_path / "screen"] if language != "csharp" else ["mono", tmp_path / "screen.exe"]
    command = [*program, bundle, engine_path]
    where = {"LD_LIBRARY_PATH": str(library.parent)}
    assert score_of([*command, *raw], **where) == pytest.approx(wanted, rel=1e-5)
    check_sides(command, raw, **where)


def test_python_without_torch(library, bundle, engine_path, raw, wanted):
    program = EXAMPLES / "python/ctypes_screen.py"
    files = [program, library, bundle, engine_path]
    check_sides([sys.executable, *files], raw)
    command = [sys.executable, "-S", "-X", "importtime", *files, *raw]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    assert float(done.stdout.split()[1]) == pytest.approx(wanted, rel=1e-5)
    assert not {"torch", "numpy"} & {
        line.split("|")[-1].strip() for line in done.stderr.splitlines()
    }
