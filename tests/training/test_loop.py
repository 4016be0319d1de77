"""The training: it learns, resumes to the bit, processes agree, its folder tells how it went."""

import csv
import math
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from interruption import Left, leave_after

from dal_fast import DalFastError
from dal_fast.models import load_weights, read_card
from dal_fast.synthesis.brains import Brain
from dal_fast.training import checkpoint, train
from dal_fast.training.config import TrainConfig
from dal_fast.training.loop import Step, difficulty, rate_factor

pytest.importorskip("lightning_fabric")
MODEL = {
    "tissue_widths": (4, 8), "anatomy_widths": (4, 8), "anatomy_channels": 4, "decoder_width": 4,
    "tissue_input": "evidence", "patch": 2,
}  # fmt: skip
TISSUE = {
    "name": "tissue", "trains": ("tissue",), "steps": 4,
    "losses": {"tissue": 1.0, "consistency": 0.5, "restoration": 1.0},
}  # fmt: skip
TOML = """
checkpoint_every = 2
validate_every = 6
validate_on = 2
[model]
tissue_input = "evidence"
patch = 2
tissue_widths = [4, 8]
[samples]
brains = 2
[[stages]]
name = "first"
trains = ["tissue"]
steps = 4
losses = { tissue = 1.0, restoration = 1.0 }
[[stages]]
name = "second"
trains = ["tissue"]
steps = 8
losses = { tissue = 1.0, dice = 1.0, consistency = 0.5 }
"""


def _config(*stages, **changes):
    settings = {"model": MODEL, "stages": stages or (TISSUE,), "checkpoint_every": 2, **changes}
    return TrainConfig.model_validate({"validate_every": 4, "validate_on": 1, **settings})


def _run(config, data, out, progress=None):
    fabric = train.make_fabric("cpu", 1, config)
    return train.run(config, data, out, fabric, progress=progress)


def _rows(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def _same(a, b):
    a, b = load_weights(a).state_dict(), load_weights(b).state_dict()
    return all(torch.equal(a[name], b[name]) for name in a)


def test_a_training_leaves_weights_logs_and_pictures(data, tmp_path):
    weights = _run(_config(), data, tmp_path)
    assert load_weights(weights).parts == ("tissue", "evidence")
    card = read_card(weights)
    assert card["steps"] == 4
    assert card["split"] == {"scans": 2, "maps": 0, "held_out": 2}
    assert all(0 <= value <= 1 for value in card["metrics"].values())
    rows = _rows(tmp_path / "log.csv")
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4]
    assert all(math.isfinite(float(row["restoration"])) for row in rows)
    (row,) = _rows(tmp_path / "validation.csv")
    assert 0 <= float(row["agreement"]) <= 1
    assert (tmp_path / "pictures" / "step-000004.png").read_bytes().startswith(b"\x89PNG")


STAGES = {
    "published": [
        {**TISSUE, "losses": {"tissue": 1.0}, "steps": 1},
        {
            "name": "joint", "trains": ("tissue", "code", "modality", "restorer", "decoder"),
            "steps": 2, "edge_corruption": 1.0,
            "losses": {
                "reconstruction": 1.0, "cross_reconstruction": 1.0, "consistency": 1.0,
                "similarity": 0.1, "restoration": 1.0, "code": 1.0, "reuse": 0.1, "tissue": 1.0,
            },
        },
    ],
    "edges": [
        {**TISSUE, "losses": {"tissue": 1.0}, "steps": 1},
        {
            "name": "edges", "trains": ("restorer", "head"), "steps": 2, "edge_corruption": 0.5,
            "losses": {"edge_tissue": 1.0, "restoration": 1.0},
        },
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("stages", "model"),
    [
        ("published", {"recoupler": "film", "tissue_input": "scan"}),
        ("edges", {"recoupler": "edges_closed_form"}),
    ],
)
@pytest.mark.usefixtures("no_calibration")
def test_every_recoupler_trains(data, tmp_path, stages, model):
    config = _config(*STAGES[stages], model={**MODEL, **model})
    weights = load_weights(_run(config, data, tmp_path))
    assert weights.config.recoupler == model["recoupler"]
    rows = _rows(tmp_path / "log.csv")
    assert all(math.isfinite(float(row["total"])) for row in rows)


@pytest.mark.usefixtures("no_calibration")
def test_bfloat16_trains(data, tmp_path):
    _run(_config(precision="bf16-mixed"), data, tmp_path)
    last = _rows(tmp_path / "log.csv")[-1]
    assert math.isfinite(float(last["total"]))


@pytest.mark.usefixtures("no_calibration")
def test_a_training_goes_on_where_another_ended(data, tmp_path):
    first = _run(_config(), data, tmp_path / "a")
    nothing = {**TISSUE, "steps": 1, "rate": 1e-12}
    gone_on = _run(_config(nothing, init=str(first), ema=0.0), data, tmp_path / "b")
    a, b = load_weights(first).state_dict(), load_weights(gone_on).state_dict()
    assert all(torch.allclose(a[name], b[name], atol=1e-4) for name in a)
    with pytest.raises(DalFastError, match="tissue") as refused:
        _run(_config(model={**MODEL, "tissue_widths": (4, 4)}, init=str(first)), data, tmp_path)
    assert refused.value.code == "weights-mismatch"


def test_a_resting_network_keeps_the_atlas_it_learned_with():
    head = {"name": "head", "trains": ("residual_head",), "steps": 1, "losses": {"abnormality": 1}}
    model = {"tissue_input": "evidence", "residual_head_widths": (16, 24, 64)}
    brain = Brain("white", torch.full((1, 1, 8, 8, 8), 3 * 256 + 9, dtype=torch.int16))
    shipped = load_weights().state_dict()["evidence.atlas"]
    for stage, kept in ((head, True), (TISSUE, False)):
        built = train.build(_config(stage, model=model, init="default"), [brain])
        assert torch.equal(built.state_dict()["evidence.atlas"], shipped) == kept


@pytest.mark.usefixtures("no_calibration")
def test_training_learns(data, tmp_path):
    stage = {**TISSUE, "losses": {"tissue": 1.0}, "steps": 40, "rate": 1e-2, "easy_until": 1.0}
    stage["hard_from"] = 1.0
    losses = []
    progress = train.Progress(step=lambda step, *_: losses.append(step.losses["total"]))
    model = {**MODEL, "tissue_input": "scan", "tissue_widths": (8, 16), "patch": 1}
    samples = {"painted": 0, "remapped": 0, "recoloured": 0, "contrasts": 1}
    rarely = {"checkpoint_every": 100, "validate_every": 100}
    config = _config(stage, model=model, samples=samples, **rarely)
    _run(config, data, tmp_path, progress)
    assert sum(losses[-8:]) < 0.7 * sum(losses[:8])


@pytest.mark.usefixtures("no_calibration")
def test_interrupted_anywhere_the_end_is_the_same(data, tmp_path):
    """Left in the middle of either stage, and between them, and gone on with."""
    stages = ({**TISSUE, "steps": 3}, {**TISSUE, "name": "again", "steps": 3})
    config = _config(*stages, checkpoint_every=1, validate_every=6)
    whole = _run(config, data, tmp_path / "whole")

    for stop in (1, 3, 5):
        out = tmp_path / f"left-{stop}"
        with pytest.raises(Left):
            _run(config, data, out, train.Progress(step=leave_after(stop)))
        assert _same(_run(config, data, out), whole)
        rows = _rows(out / "log.csv")
        assert [int(row["step"]) for row in rows] == [1, 2, 3, 4, 5, 6]


@pytest.mark.usefixtures("no_calibration")
def test_another_training_in_the_folder_is_refused(data, tmp_path):
    _run(_config(), data, tmp_path)
    with pytest.raises(DalFastError) as refused:
        _run(_config(seed=5), data, tmp_path)
    assert refused.value.code == "train-mismatch"


def test_what_is_no_checkpoint_is_refused(data, tmp_path):
    (tmp_path / "last.ckpt").write_bytes(b"nothing")
    with pytest.raises(DalFastError) as refused:
        _run(_config(), data, tmp_path)
    assert refused.value.code == "train-corrupt"
    torch.save({"config": ""}, tmp_path / "last.ckpt")
    with pytest.raises(DalFastError, match="dal_fast"):
        checkpoint.load(tmp_path / "last.ckpt")


def test_schedules():
    stage = _config({**TISSUE, "steps": 100, "easy_until": 0.2, "hard_from": 0.6}).stages[0]
    assert [difficulty(stage, s) for s in (0, 20, 60, 99)] == [0, 0, 1, 1]
    assert difficulty(stage, 40) == pytest.approx(0.5)
    assert rate_factor(0, 1000) == pytest.approx(1 / 20)
    assert rate_factor(500, 1000) == pytest.approx(0.5)
    assert rate_factor(999, 1000) < 1e-4
    assert Step(1, "a", {}, 0.1, 1.0, 0.5).number == 1


# -- through the command line, in processes of their own -------------------------------------------


def _command(config, data, out, *more):
    return [sys.executable, "-m", "dal_fast.cli", "train", str(config), "--data", str(data),
            "--out", str(out), "--device", "cpu", *more]  # fmt: skip


def _finish(words):
    done = subprocess.run(words, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    config = folder / "config.toml"
    config.write_text(TOML)
    _finish(_command(config, data, folder / "out"))
    return config, folder / "out"


@pytest.mark.long
def test_killed_and_resumed_ends_with_the_same_bits(data, uninterrupted, tmp_path):
    config, whole = uninterrupted
    out = tmp_path / "out"
    process = subprocess.Popen(_command(config, data, out), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        done = (out / "log.csv").read_text().count("\n") - 1 if (out / "log.csv").exists() else 0
        if done >= 7:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (out / "weights.safetensors").exists()
    assert checkpoint.load(out / "last.ckpt")["done"] < 12
    _finish(_command(config, data, out))
    assert (out / "weights.safetensors").read_bytes() == (
        whole / "weights.safetensors"
    ).read_bytes()
    assert (out / "validation.csv").read_bytes() == (whole / "validation.csv").read_bytes()


@pytest.mark.long
def test_two_processes_end_with_the_weights_of_one(data, uninterrupted, tmp_path):
    """gloo on the CPU; sums in another order, so equal to rounding. They share validation."""
    config, whole = uninterrupted
    _finish(_command(config, data, tmp_path / "out", "--devices", "2"))
    one, two = (checkpoint.load(p / "last.ckpt")["model"] for p in (whole, tmp_path / "out"))
    for name, value in one.items():
        assert torch.allclose(value, two[name], rtol=1e-3, atol=2e-4), name
    alone, shared = (_rows(p / "validation.csv") for p in (whole, tmp_path / "out"))
    assert [row["step"] for row in shared] == ["6", "12"]
    for a, b in zip(alone, shared, strict=True):
        assert all(float(b[name]) == pytest.approx(float(a[name]), abs=0.02) for name in a)


def test_mistakes_end_with_status_2(data, tmp_path):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    words = _command("nothing", data, tmp_path)
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    assert "error [config]" in done.stderr
