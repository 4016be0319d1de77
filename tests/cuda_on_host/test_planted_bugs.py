"""Which detector finds which planted bug; none finds one in kernels that are right.

The instruments of ``make emulated`` are tested there.
"""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from cuda_on_host import build

pytestmark = pytest.mark.skipif(bool(build.why_not()), reason=build.why_not())

HERE = Path(__file__).resolve().parent

# order, seed, preemptions in 1000, resident blocks
SHUFFLED = [[1, 1, 0, 1]] + [[order, seed, 0, 1] for order in (2, 3) for seed in (1, 2, 3)]
SHUFFLED += [[2, 4, 200, 4], [3, 4, 200, 4]]
PREEMPTED = [[order, seed, 20, 4] for order in (2, 3) for seed in (1, 2, 3)]
HOW = {
    "fast": ("fast", [[0, 1, 0, 1]]),
    "shuffled": ("fast", SHUFFLED),
    "asan": ("asan", [[0, 1, 0, 1]]),
    "race": ("race", [[0, 1, 0, 1]]),
    "preempted": ("race", PREEMPTED),
}

# found: yes, not: -, by chance: ?
TABLE = """
                            fast   shuffled  asan   race   preempted
no_barrier_after_load       yes    yes       ?      yes    yes
no_barrier_before_reload    yes    yes       yes    yes    yes
no_barrier_in_reduction     -      yes       -      yes    yes
no_syncwarp                 yes    yes       yes    yes    yes
divergent_barrier           yes    yes       yes    yes    yes
return_before_barrier       yes    yes       yes    yes    yes
return_before_shuffle       yes    yes       yes    yes    yes
shuffle_without_all_lanes   yes    yes       yes    yes    yes
halo_not_loaded             yes    yes       ?      yes    yes
plain_increment             -      -         -      yes    yes
volatile_increment          -      -         -      yes    yes
plain_union                 -      -         -      yes    yes
volatile_union              -      -         -      -      yes
two_threads_one_address     -      -         -      yes    yes
two_blocks_one_address      -      -         -      yes    yes
volatile_against_plain      -      -         -      yes    yes
shared_outside              ?      ?         yes    ?      ?
dynamic_shared_outside      yes    yes       yes    yes    yes
allocation_outside          yes    yes       yes    yes    yes
global_read_outside         ?      ?         yes    ?      ?
global_write_outside        ?      ?         yes    ?      ?
local_outside               ?      ?         yes    ?      ?
misaligned_vector           -      -         yes    -      -
signed_overflow             -      -         yes    -      -
waits_for_another_block     yes    ?         yes    yes    ?
"""


def cells():
    """(bug, how, whether it is found) of every cell that is not left to chance."""
    head, *rows = [line.split() for line in TABLE.strip().splitlines()]
    for bug, *found in rows:
        yield from ((bug, how, f == "yes") for how, f in zip(head, found, strict=True) if f != "?")


def of_mode(mode, *values):
    """A parameter; of another mode than that of the suite, it is for ``make emulated``."""
    return pytest.param(*values, marks=[pytest.mark.emulated] if mode != "fast" else [])


@cache
def built(source, mode):
    """The library of a source; whether it is fresh is looked at once."""
    return build.library(mode, HERE / "kernels" / f"{source}.cu")


def run(source, mode, settings, *names):
    """[(sample, what is wrong or "")] and what a sanitizer said when it ended the process."""
    samples = HERE / "run_samples.py"
    command = [sys.executable, samples, built(source, mode), json.dumps(settings), *names]
    environment = {**os.environ, "COH_TIMEOUT": "1", **build.preload(mode)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250)
    sanitizers = ("ERROR: AddressSanitizer", "runtime error")
    said = [line for line in done.stderr.splitlines() if any(s in line for s in sanitizers)]
    if done.returncode and not said:
        said = [f"exit status {done.returncode}: {done.stderr}"]
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()], said


@cache
def of_a_column(how):
    """{bug: its message at each setting} of a column's bugs, in one process that outlives them."""
    mode, settings = HOW[how]
    bugs = [bug for bug, column, _ in cells() if column == how]
    results, said = run("planted", mode, settings, *bugs)
    assert not said
    assert len(results) == len(bugs) * len(settings)
    return {bug: [message for name, message in results if name == bug] for bug in bugs}


def messages(bug, how):
    """What was said of a bug at each setting, "" for nothing; a sanitizer ends the process."""
    if how != "asan":
        return of_a_column(how)[bug]
    results, said = run("planted", *HOW[how], bug)
    return [message for _, message in results] + said


@pytest.mark.parametrize(
    ("bug", "how", "found"), [of_mode(HOW[cell[1]][0], *cell) for cell in cells()]
)
def test_a_planted_bug_is_found(bug, how, found):
    wrong = list(filter(None, messages(bug, how)))
    assert bool(wrong) == found, wrong


@pytest.mark.parametrize("how", [of_mode(mode, how) for how, (mode, _) in HOW.items()])
def test_nothing_is_found_in_right_kernels(how):
    mode, settings = HOW[how]
    right = [f"right {name}" for name in ("filter", "reduce", "histogram", "components", "touch")]
    results, said = run("planted", mode, settings, *right)
    assert not said
    assert [name for name, _ in results] == [name for name in right for _ in settings]
    assert not [message for _, message in results if message]


@pytest.mark.parametrize(
    ("bug", "how", "message"),
    [
        of_mode("race", "no_barrier_in_reduction", "race", "race: write after read at planted.cu:"),
        of_mode("race", "two_blocks_one_address", "race", "against thread 0 of another block"),
        of_mode(
            "race", "halo_not_loaded", "race", "uninitialised shared memory: read at planted.cu:"
        ),
        ("divergent_barrier", "fast", "divergent __syncthreads: this thread is at planted.cu:"),
        ("shuffle_without_all_lanes", "fast", "deadlock, 8 threads wait in __shfl_down_sync"),
        ("allocation_outside", "fast", "written outside of an allocation of 256 bytes"),
        ("waits_for_another_block", "fast", "has not ended in time"),
    ],
)
def test_the_message_names_the_bug(bug, how, message):
    assert message in messages(bug, how)[0]
