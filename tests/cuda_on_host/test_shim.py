"""CUDA C++ on the CPU, in every mode and order; and what is built when."""

import pytest
from cuda_on_host import build
from cuda_on_host.test_planted_bugs import PREEMPTED, SHUFFLED, of_mode, run

pytestmark = pytest.mark.skipif(bool(build.why_not()), reason=build.why_not())

FEATURES = [
    "dynamic shared memory",
    "warp shuffles",
    "votes",
    "vectors and halves",
    "atomics",
    "resident blocks",
    "grid and parameters",
    "bit intrinsics",
    "failure and after",
]


@pytest.mark.parametrize("mode", [of_mode(mode, mode) for mode in build.MODES])
def test_features(mode):
    settings = [[0, 1, 0, 1], *SHUFFLED, *PREEMPTED]
    results, said = run("features", mode, settings)
    assert not said
    assert [name for name, _ in results] == [name for name in FEATURES for _ in settings]
    assert not [result for result in results if result[1]]


@pytest.fixture
def source(tmp_path):
    """A CUDA source that includes a header of its own."""
    (tmp_path / "number.h").write_text("constexpr int kNumber = 1;\n")
    file = tmp_path / "small.cu"
    file.write_text('#include "number.h"\nextern "C" int number() { return kNumber; }\n')
    return file


def count_commands(monkeypatch):
    commands, execute = [], build._run
    monkeypatch.setattr(build, "_run", lambda command: (commands.append(command), execute(command)))
    return commands


def test_only_what_changed_is_built_again(source, monkeypatch):
    folder = source.parent / "out"
    machine = build._machine("fast", build.FOLDER)
    monkeypatch.setattr(build, "_machine", lambda mode, folder: machine)
    commands = count_commands(monkeypatch)
    first = build.library("fast", source, folder)
    assert len(commands) == 2  # its object, its library
    assert build.library("fast", source, folder) == first
    assert len(commands) == 2
    source.with_name("number.h").write_text("constexpr int kNumber = 2;\n")
    build.library("fast", source, folder)
    assert len(commands) == 4
    build.library("fast", source, folder, defines=["OTHER"])
    assert len(commands) == 5  # the same object


def test_a_compiler_error_is_shown(source):
    source.write_text("__global__ void broken( {}")
    with pytest.raises(RuntimeError, match=r"small\.cu:1"):
        build.library("fast", source, source.parent / "out")


def test_why_not_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(build, "toolkit", list)
    build.why_not.cache_clear()
    assert "the CUDA toolkit's headers" in build.why_not()
    build.why_not.cache_clear()
