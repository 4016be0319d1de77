"""The tree of ``make library``, which knows nothing of Python, where a stranger uses it."""

import shutil
import subprocess
from pathlib import Path

import pytest
from c_library import ROOT, TREE, brain_files, output_of, score_in

pytestmark = [
    pytest.mark.installed,
    pytest.mark.skipif(
        not all(map(shutil.which, ("cc", "c++", "cmake", "pkg-config"))),
        reason="needs a C++ compiler, cmake and pkg-config",
    ),
]
PROJECT = """
cmake_minimum_required(VERSION 3.20)
project(stranger LANGUAGES C CXX)
find_package(dal_fast {version} CONFIG REQUIRED)
foreach(language c cpp)
  add_executable(screen_${{language}} "{examples}/screen.${{language}}")
  target_link_libraries(screen_${{language}} PRIVATE dal_fast::dal_fast)
endforeach()
file(WRITE "${{CMAKE_BINARY_DIR}}/bundle" "${{dal_fast_BUNDLE}}")
file(WRITE "${{CMAKE_BINARY_DIR}}/engine" "${{dal_fast_ENGINE}}")
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Not where it was installed."""
    folder = tmp_path_factory.mktemp("elsewhere") / "tree"
    shutil.copytree(ROOT / "build/prefix", folder)
    return folder


@pytest.fixture(scope="module")
def engine():
    return Path(pytest.importorskip("openvino").__file__).parent


def configure(tree, folder, version, *options):
    examples, found = tree / "share/dal_fast/examples", tree / "share/cmake/dal_fast"
    (folder / "CMakeLists.txt").write_text(PROJECT.format(version=version, examples=examples))
    return subprocess.run(
        ["cmake", "-S", folder, "-B", folder / "build", f"-Ddal_fast_DIR={found}", *options],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


def test_it_holds_what_the_wheel_holds_and_nothing_of_python(tree):
    assert {str(p.relative_to(tree)) for p in tree.rglob("*") if not p.is_dir()} == TREE
    kept = (ROOT / "build/library/CMakeCache.txt").read_text("utf-8").splitlines()
    assert not [line for line in kept if line.startswith(("Python_", "_Python", "pybind11"))]


def test_a_cmake_project_and_pkg_config_find_it(tree, engine, tmp_path):
    words, scores = brain_files(tmp_path), []
    done = configure(tree, tmp_path, 1)
    assert done.returncode == 0, done.stderr
    output_of("cmake", "--build", tmp_path / "build", cwd=tmp_path)
    bundle = (tmp_path / "build/bundle").read_text("utf-8")
    for language in ("c", "cpp"):
        program = tmp_path / f"build/screen_{language}"
        scores.append(score_in(output_of(program, bundle, engine, *words, cwd=tmp_path)))
    paths = {"PKG_CONFIG_PATH": f"{tree}/lib/pkgconfig", "LD_LIBRARY_PATH": f"{tree}/lib"}
    ask = ["pkg-config", "dal_fast"]
    flags = output_of(*ask, "--cflags", "--libs", cwd=tmp_path, **paths).split()
    bundle = output_of(*ask, "--variable=bundle", cwd=tmp_path, **paths).strip()
    examples = output_of(*ask, "--variable=examples", cwd=tmp_path, **paths).strip()
    output_of("cc", f"{examples}/screen.c", *flags, "-o", "screen", cwd=tmp_path)
    scores.append(score_in(output_of("./screen", bundle, engine, *words, cwd=tmp_path, **paths)))
    assert len(set(scores)) == 1


def test_the_component_openvino_says_where_the_engine_lies(tree, engine, tmp_path):
    words = brain_files(tmp_path)
    asked, given = "1 COMPONENTS openvino", f"-DOpenVINO_DIR={engine}/cmake"
    done = configure(tree, tmp_path, asked, given)
    assert done.returncode == 0, done.stderr
    output_of("cmake", "--build", tmp_path / "build", "--target", "screen_c", cwd=tmp_path)
    facts = [(tmp_path / "build" / name).read_text("utf-8") for name in ("bundle", "engine")]
    score_in(output_of(tmp_path / "build/screen_c", *facts, *words, cwd=tmp_path))


@pytest.mark.parametrize(
    ("component", "message"),
    [("openvino", "OpenVINO was not found"), ("tensorrt", "there is no component tensorrt")],
)
def test_a_component_that_is_not_there_is_refused(tree, tmp_path, component, message):
    done = configure(
        tree, tmp_path, f"1 COMPONENTS {component}", "-DCMAKE_DISABLE_FIND_PACKAGE_OpenVINO=ON"
    )
    assert done.returncode != 0
    assert message in " ".join(done.stderr.split())


def test_another_major_version_is_not_found(tree, tmp_path):
    done = configure(tree, tmp_path, 2)
    assert done.returncode != 0
    assert "compatible with requested version" in done.stderr
