"""Fixtures of the whole suite."""

from pathlib import Path

import pytest
import torch
from tiny import tiny_weights

from dal_fast import context

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """No test reads or leaves anything in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
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


@pytest.fixture(autouse=True)
def two_threads():
    """The same thread count everywhere, so that a test means the same on every machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)
