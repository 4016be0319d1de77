"""What can fail in a training is one coded error, and the last good checkpoint survives it."""

import contextlib
import resource
import sys

import pytest
import torch
from interruption import Left, leave_after

from dal_fast import DalFastError
from dal_fast.errors import InputError, OutputError, RuntimeUnavailable
from dal_fast.models import DALConfig, build_model, save_weights
from dal_fast.training import checkpoint, train
from dal_fast.training.config import TrainConfig
from dal_fast.training.journal import Journal
from dal_fast.training.loop import Step

pytest.importorskip("lightning_fabric")
MODEL = {"tissue_widths": (4, 8)}
STAGE = {"name": "tissue", "trains": ("tissue",), "steps": 4, "losses": {"tissue": 1.0}}
pytestmark = pytest.mark.usefixtures("no_calibration")


def _config(**changes):
    settings = {"model": MODEL, "stages": [STAGE], "checkpoint_every": 2, "validate_every": 4}
    return TrainConfig.model_validate({**settings, "validate_on": 1, **changes})


def _run(data, out, progress=None, **changes):
    config = _config(**changes)
    fabric = train.make_fabric("cpu", 1, config)
    return train.run(config, data, out, fabric, progress=progress)


@contextlib.contextmanager
def _largest_file(size):
    """As on a full disk: no file of this process grows beyond ``size`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _names(folder):
    return {path.name for path in folder.iterdir()}


def test_a_disk_that_is_full_at_a_checkpoint(data, tmp_path):
    with pytest.raises(Left):
        _run(data, tmp_path, train.Progress(step=leave_after(2)))
    path = tmp_path / "last.ckpt"
    before, names = path.read_bytes(), _names(tmp_path)
    with _largest_file(len(before) // 2), pytest.raises(OutputError) as refused:
        _run(data, tmp_path)
    assert refused.value.code == "disk-full"
    assert "last.ckpt" in str(refused.value)
    assert path.read_bytes() == before
    assert _names(tmp_path) == names
    assert checkpoint.load(path)["done"] == 2
    assert _run(data, tmp_path).is_file()  # the disk has room again


def test_a_disk_that_is_full_at_the_end(data, tmp_path):
    weights = _run(data, tmp_path)
    size = weights.stat().st_size
    weights.unlink()
    with _largest_file(size - 1), pytest.raises(OutputError) as refused:
        _run(data, tmp_path)  # all steps are made; the weights are what is left to write
    assert refused.value.code == "disk-full"
    assert not weights.exists()
    assert checkpoint.load(tmp_path / "last.ckpt")["done"] == 4
    assert _run(data, tmp_path).stat().st_size == size


def test_weights_that_cannot_be_written_leave_the_old_ones(tmp_path):
    model = build_model(DALConfig(**MODEL), ["tissue"])
    path = tmp_path / "weights.safetensors"
    save_weights(path, model, {}, ["tissue"])
    before = path.read_bytes()
    with _largest_file(1000), pytest.raises(OutputError) as refused:
        save_weights(path, model, {"steps": 1}, ["tissue"])
    assert refused.value.code == "disk-full"
    assert path.read_bytes() == before
    assert _names(tmp_path) == {path.name}


def test_a_disk_that_is_full_at_a_line_of_the_log(tmp_path):
    step = Step(1, "tissue", {"total": 1.0}, 0.1, 0.1, 0.1)
    with contextlib.closing(Journal(tmp_path, 0, "dal")) as journal:
        size = (tmp_path / "log.csv").stat().st_size
        with _largest_file(size), pytest.raises(OutputError) as refused:
            journal.step(step)
    assert refused.value.code == "disk-full"


def test_a_folder_that_cannot_be_made(data, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError) as refused:
        _run(data, tmp_path / "file" / "out")
    assert refused.value.code == "output-unwritable"


def test_networks_that_the_given_weights_lack(data, tmp_path):
    edges = build_model(DALConfig(**MODEL, recoupler="edges_closed_form"), ["restorer"])
    save_weights(tmp_path / "edges.safetensors", edges, {}, ["restorer"])
    with pytest.raises(InputError, match="none of the networks") as refused:
        _run(data, tmp_path / "out", init=str(tmp_path / "edges.safetensors"))
    assert refused.value.code == "weights-mismatch"


def test_lightning_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(RuntimeUnavailable, match="pip install") as refused:
        train.make_fabric("cpu", 1, _config())
    assert refused.value.code == "extra-missing"


def test_a_device_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeUnavailable) as refused:
        train.make_fabric("cuda:1", 1, _config())
    assert refused.value.code == "device-unavailable"


def test_processes_that_cannot_share_a_step(tmp_path):
    class Three:
        world_size = 3

    with pytest.raises(DalFastError, match="3 processes") as refused:
        train.Training(_config(), None, None, Three(), tmp_path)
    assert refused.value.code == "value"
