"""Networks run in single precision, and the process's settings come back."""

import threading

import pytest
import torch

from dal_fast.models import DAL, DALConfig
from dal_fast.screening.runtimes import make_runtime
from dal_fast.screening.runtimes.precision import full_precision


def settings():
    return torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision


pytestmark = pytest.mark.skipif(
    not hasattr(torch.backends.cudnn, "conv"), reason="this torch does not name precisions"
)


def test_tf32_is_off_inside_only():
    before = settings()
    assert before[0] == "tf32"  # torch's default
    with full_precision():
        assert settings() == ("ieee", "ieee")
    assert settings() == before
    assert torch.backends.cudnn.allow_tf32


def test_it_comes_back_after_an_exception():
    before = settings()
    with pytest.raises(ZeroDivisionError), full_precision():
        raise ZeroDivisionError
    assert settings() == before


def test_threads_that_overlap_restore_what_was_before_the_first():
    before, entered, leave = settings(), threading.Event(), threading.Event()

    def other():
        with full_precision():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with full_precision():
        thread.start()
        assert entered.wait(10)
    assert settings() == ("ieee", "ieee")  # the other one is still inside
    leave.set()
    thread.join()
    assert settings() == before


def test_the_torch_runtime_runs_its_networks_so(monkeypatch):
    model = DAL(DALConfig(tissue_widths=(4, 8)))
    seen = []
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda *x: seen.append(settings()) or forward(*x))
    mask = torch.ones((1, 1, 16, 16, 16), dtype=torch.bool)
    make_runtime("torch", model, "cpu").run(torch.rand(mask.shape), mask)
    assert seen == [("ieee", "ieee")]
