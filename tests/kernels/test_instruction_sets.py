"""A processor is asked for every extension that the compiler may use."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", ["avx2", "avx512"])
def test_every_flag_of_the_build_is_asked_for(path):
    """A virtual machine may hide any of them; the kernels would then crash or be wrong."""
    cmake, isa = (ROOT / "CMakeLists.txt").read_text(), (ROOT / "csrc" / "isa.cpp").read_text()
    if path == "avx2":
        flags = re.search(r"set\(flags_avx2 (.*)\)", cmake)[1]
    else:
        flags = re.search(r'set\(DAL_FAST_AVX512_FLAGS "(.*)"', cmake)[1]
    extensions = re.findall(r"-m(\w+)(?= |$)", flags)
    assert len(extensions) >= 4
    for name in extensions:
        assert f'__builtin_cpu_supports("{name}")' in isa or f"has_{name}()" in isa, name
