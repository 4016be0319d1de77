"""Fixtures of the whole suite."""

import gc
import os
from functools import cache
from pathlib import Path

import pytest
import torch
import typer.testing
from tiny import tiny_weights
from without_workers import without_workers

from dal_fast import context
from dal_fast.memory import keep_freed_memory
from dal_fast.screening import chain

keep_freed_memory()
# Rooms that test no threads: where two processes share two cores, a second thread is waited for.
ONE_THREAD = {"evaluation", "training", "models", "synthesis", "benchmarks", "report"}
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.hookimpl(wrapper=True)
def pytest_collection(session):
    """Modules and tests stay to the end: no garbage is looked for among them, then or later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items):
    """Files with slow tests come first: at the end both processes have something to do."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def one_command_line():
    """Typer's runner makes every command anew for each call: here once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.testing, "_get_command", cache(typer.testing._get_command))
        yield


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """No test reads or leaves anything in the user's cache; the processes of a run share one."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield


@pytest.fixture(scope="module")
def one_chain():
    """Commands that run in this process find the compiled chain opened, where it can be."""
    if chain.why_not_here() is not None:
        yield
        return
    opened = chain.open_chain()
    opened.load(extraction=True, screening=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chain, "open_chain", lambda runtime: opened)
        yield


@pytest.fixture
def in_this_process():
    """Commands for many scans start no workers."""
    with without_workers():
        yield


@pytest.fixture
def isa(request):
    """Run the test with the kernels of one instruction set."""
    with context.use(instruction_set=request.param):
        yield request.param


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real brains; the test is skipped where it does not exist."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the real brains of {SHARED}")
    return SHARED


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A weight file of networks that are small and untrained."""
    return tiny_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def poisoned():
    """Uninitialised tensors start as NaN, as their type's largest value, or as True."""
    settings = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    settings.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(before[0])
    settings.fill_uninitialized_memory = before[1]


@pytest.fixture(scope="module", autouse=True)
def threads(request):
    """The same thread count everywhere, so that a test means the same on every machine."""
    count = 1 if request.path.parent.name in ONE_THREAD else 2
    torch.set_num_threads(count)
    return count


@pytest.fixture(autouse=True)
def as_many_threads(threads):
    """Whatever the test before has set."""
    torch.set_num_threads(threads)
