"""The kernels' thread pool: the threads that its callers ask for, or as many as there are."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

START = """
import os, resource, sys, threading, time, torch
from dal_fast import context, ops
torch.set_num_threads(1)

def threads():
    time.sleep(0.2)  # a thread that has been joined is still listed for a moment
    return len(os.listdir("/proc/self/task"))

def run(number):
    with context.use(threads=number):
        return ops.onehot_ste(x)

x = torch.rand(1, 4, 96, 96, 96, generator=torch.Generator().manual_seed(0))
run(1)
"""


def printed(body):
    done = subprocess.run(
        [sys.executable, "-c", START + textwrap.dedent(body)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two processors")
def test_concurrent_callers_get_the_sum_of_their_helpers_up_to_the_processors():
    two, many, processors = printed("""
        def together(callers, number):
            barrier = threading.Barrier(callers)
            def call():
                barrier.wait()
                run(number)
            going = [threading.Thread(target=call) for _ in range(callers)]
            for t in going: t.start()
            for t in going: t.join()
            return threads()

        before = threads()
        for _ in range(20):  # until both are in the pool at once
            two = together(2, 2) - before
            if two > 1: break
        for _ in range(3):
            many = together(8, 2) - before
        print(two, many, len(os.sched_getaffinity(0)))
    """)
    assert int(two) == 2
    assert int(many) <= max(2, int(processors))


def test_one_caller_gets_its_helpers_and_no_more():
    helpers = printed("""
        before = threads()
        for number in (2, 3, 7):
            run(number); run(number)
            print(threads() - before)
    """)
    assert helpers == ["1", "2", "6"]


def test_a_thread_that_cannot_be_started_means_fewer_threads():
    same, fewer = printed("""
        want = run(1)
        before = threads()
        pages = int(open("/proc/self/statm").read().split()[0])
        limit = pages * resource.getpagesize() + (160 << 20)  # a stack is 8 MB or more
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
        got = run(200)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        print(torch.equal(got, want), threads() - before)
    """)
    assert same == "True"
    assert int(fewer) < 199


# a pool that belongs to an engine

ROOT = Path(__file__).parents[1]
POOL = ROOT / "tests" / "pool"
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")


def compiled(out, sources, *flags):
    command = ["g++", "-std=gnu++17", "-O1", "-g", "-fPIC", "-fvisibility=hidden", "-pthread"]
    command += [*flags, f"-I{ROOT / 'csrc'}", *map(str, sources), str(ROOT / "csrc/parallel.cpp")]
    subprocess.run([*command, "-o", str(out)], check=True, timeout=300)
    return out


@needs_compiler
def test_a_library_that_is_unloaded_leaves_no_thread_behind(tmp_path):
    """A hundred times; the process's own pool, which nobody joins, is seen to stay."""
    library = compiled(tmp_path / "library.so", [POOL / "library.cpp"], "-shared")
    script = f"""
        import _ctypes, ctypes
        before = threads()
        for _ in range(100):
            loaded = ctypes.CDLL({str(library)!r})
            loaded.engine_open.restype = ctypes.c_void_p
            loaded.engine_run.restype = ctypes.c_int64
            engine = ctypes.c_void_p(loaded.engine_open())
            assert loaded.engine_run(engine, ctypes.c_int64(100), 4) == 100 * 101
            inside = len(os.listdir("/proc/self/task")) - before
            loaded.engine_close(engine)
            _ctypes.dlclose(loaded._handle)
        mapped = {str(library)!r} in open("/proc/self/maps").read()
        print(inside, threads() - before, mapped)
        loaded = ctypes.CDLL({str(library)!r})
        loaded.run_without_engine(ctypes.c_int64(100), 4)
        print(threads() - before)
    """
    inside, left, mapped, of_process = printed(script)
    assert int(inside) >= 3
    assert (left, mapped) == ("0", "False")
    assert int(of_process) >= 3


@needs_compiler
@pytest.mark.parametrize(
    ("sanitizer", "arguments"), [("thread", ["20"]), ("address,undefined", ["20", "fork"])]
)
def test_engines_under_sanitizers(tmp_path, sanitizer, arguments):
    program = compiled(
        tmp_path / "sessions", [POOL / "sessions.cpp", POOL / "library.cpp"],
        f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all",
    )  # fmt: skip
    done = subprocess.run(
        [program, *arguments], capture_output=True, text=True, check=False, timeout=300
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
