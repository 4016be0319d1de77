"""The C library's tree, and the lines of its documentation."""

import platform
import re
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from phantom import phantom

ROOT = Path(__file__).resolve().parents[1]
TREE = {  # what cmake --install lays out
    "include/dal_fast.h",
    "lib/libdal_fast.so",
    "lib/libdal_fast.so.1",
    "lib/pkgconfig/dal_fast.pc",
    "share/cmake/dal_fast/dal_fastConfig.cmake",
    "share/cmake/dal_fast/dal_fastConfigVersion.cmake",
    "share/dal_fast/default.dalb",
    *(
        f"share/dal_fast/examples/{name}"
        for name in (
            "screen.c",
            "screen.cpp",
            "dal_fast.hpp",
            "screen.rs",
            "Screen.cs",
            "ctypes_screen.py",
        )
    ),
}


def documented_lines():
    """The commands of docs/howto/embed.md, from pip install to a score."""
    text = (ROOT / "docs/howto/embed.md").read_text("utf-8")
    lines = re.search(r"```sh\n(.*?)```", text, re.DOTALL)[1].splitlines()
    assert lines[0] == "pip install 'dal_fast[openvino]'"
    assert len(lines) <= 10
    return lines


def brain_files(folder):
    """brain.nii.gz, brain.f32 and mask.u8 in a folder; how they follow on a command line."""
    data, affine, _ = phantom("RAS")
    nib.save(nib.Nifti1Image(data, affine), folder / "brain.nii.gz")
    data.astype("<f4").ravel("F").tofile(folder / "brain.f32")
    (data > 0).astype("u1").ravel("F").tofile(folder / "mask.u8")
    return ["brain.f32", "mask.u8", *map(str, data.shape), "2.0"]


def output_of(*words, cwd, **environment):
    """Of a command that sees nothing of the caller's environment."""
    done = subprocess.run(
        list(map(str, words)),
        capture_output=True, text=True, timeout=240, cwd=cwd, check=False,
        env={"PATH": "/usr/bin:/bin", **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def score_in(text):
    score = float(re.search(r"^score (\S+)$", text, re.MULTILINE)[1])
    assert np.isfinite(score)
    assert score > 0
    return score


def newest_glibc(path):
    """The youngest glibc that a compiled file asks for, such as (2, 34)."""
    needs = subprocess.run(["readelf", "-V", path], capture_output=True, text=True, check=True)
    versions = re.findall(r"Name: GLIBC_(\d+)\.(\d+)", needs.stdout)
    return max((int(major), int(minor)) for major, minor in versions)


built_with_old_headers = pytest.mark.skipif(
    [*map(int, platform.libc_ver()[1].split("."))] >= [2, 38],
    reason="the headers of glibc 2.38 and later lead to functions of theirs",
)
