"""Programs that host the library as it is shipped: those of ``make sanitized``, beside a malloc
that is counted.

The sources are in ``tests/capi/host``. A stand-in takes OpenVINO's place, so that every failure can
be asked for; what it computes is of no use.
"""

import os
import shutil
import subprocess

import pytest
from capi import native

SOURCES = native.ROOT / "tests/capi/host"
CHECKS = (
    "screens_of_random_volumes",
    "sixteen_sessions_at_once",
    "two_runs_in_one_session",
    "two_hundred_cancels",
    "a_cancel_that_comes_late",
    "deadlines",
    "odd_arithmetic",
    "odd_arithmetic_of_lent_threads",
    "memory_that_ends_at_every_call",
    "an_engine_that_fails_at_every_call",
    "an_engine_that_lies",
    "threads_that_are_refused",
    "a_fork_before_and_after_opening",
    "an_exit_during_a_run",
    "no_allocation_in_a_run",
    "malloc_that_ends_at_every_call",
)
pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")


def compiled(out, *sources, flags=()):
    include = [f"-I{native.ROOT / folder}" for folder in ("csrc", "kernels", "tests/capi/host")]
    subprocess.run(
        ["g++", "-std=gnu++17", "-O1", "-Wall", *include, *sources, *flags, "-pthread", "-ldl",
         "-o", out],
        check=True,
    )  # fmt: skip
    return out


def compiled_host(out, library, *more):
    sources = [SOURCES / f"{name}.cpp" for name in ("host", "random_volumes", "runs", "failures")]
    linked = native.ROOT / "csrc/bundle/sha256.cpp", library, *more
    return compiled(out, *sources, *linked, flags=["-rdynamic", f"-Wl,-rpath,{library.parent}"])


@pytest.fixture(scope="module")
def hosts(library, tmp_path_factory):
    """Folder with the programs and the stand-in."""
    folder = tmp_path_factory.mktemp("hosts")
    compiled_host(folder / "host", library, SOURCES / "counted_malloc.cpp", "-DHOST_COUNTS_MALLOC")
    compiled(folder / "unload", SOURCES / "unload.cpp")
    compiled(
        folder / "libopenvino_c.so", SOURCES / "fake_openvino.cpp",
        flags=["-shared", "-fPIC", "-fvisibility=hidden"],
    )  # fmt: skip
    return folder


def run(*command, **environment):
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, timeout=280,
        env=os.environ | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_check_is_named_here():
    text = (SOURCES / "host.h").read_text("utf-8")
    assert [name for name in CHECKS if f"void {name}();" not in text] == []
    assert text.count("();\n") == len(CHECKS)


@pytest.mark.parametrize("check", CHECKS)
def test_host(hosts, check):
    run(hosts / "host", hosts / "libopenvino_c.so", check)


@pytest.mark.skipif(shutil.which("localedef") is None, reason="needs localedef")
def test_numbers_with_a_comma(hosts, tmp_path):
    made = subprocess.run(
        ["localedef", "-i", "de_DE", "-f", "UTF-8", tmp_path / "de_DE.UTF-8"],
        capture_output=True, check=False,
    )  # fmt: skip
    if made.returncode:
        pytest.skip("there is no source of a German locale")
    printed = run(
        hosts / "host", hosts / "libopenvino_c.so", "odd_arithmetic", LOCPATH=str(tmp_path)
    )
    assert "German numbers" in printed


def test_unloading(hosts, library):
    run(hosts / "unload", library, 1000)


def test_no_allocation_beside_openvinos_own(hosts, bundle, engine_path):
    printed = run(hosts / "host", engine_path, "no_allocation_in_a_run", BUNDLE=str(bundle))
    assert "screens: 0, and" in printed


@pytest.mark.long
@pytest.mark.skipif(shutil.which("valgrind") is None, reason="needs valgrind")
def test_no_report_of_valgrinds(hosts, library, tmp_path):
    """With its malloc, not the counted one."""
    host = compiled_host(tmp_path / "host", library)
    valgrind = "valgrind", "--quiet", "--error-exitcode=9", "--leak-check=full", "--fair-sched=yes"
    for check in ("memory_that_ends_at_every_call", "an_engine_that_lies", CHECKS[0]):
        run(*valgrind, host, hosts / "libopenvino_c.so", check)
