"""The kernels' thread pool: the threads that its callers ask for, or as many as there are."""

import os
import subprocess
import sys
import textwrap

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


@pytest.mark.parametrize("number", [2, 3, 7])
def test_one_caller_gets_its_helpers_and_no_more(number):
    (helpers,) = printed(f"""
        before = threads()
        run({number}); run({number})
        print(threads() - before)
    """)
    assert int(helpers) == number - 1


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
