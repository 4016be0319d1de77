"""Autoencoders and f-AnoGAN: their losses, whose turn it is, and trainings to the end."""

import csv
import math
from itertools import pairwise

import autoencoders
import pytest
import torch
from brains import labels, structures, t1w
from interruption import Left, leave_after
from torch.distributions import Normal, kl_divergence

from dal_fast import DalFastError
from dal_fast.models import load_model, read_card
from dal_fast.synthesis.sample import Sample
from dal_fast.training import train
from dal_fast.training.batch import batch_of
from dal_fast.training.config import StageConfig, TrainConfig, read_config
from dal_fast.training.loop import make_optimiser, rate_factor
from dal_fast.training.reconstruction import (
    RECONSTRUCTION_LOSSES,
    AutoencoderOutputs,
    add_noise,
)

SHAPE = (20, 24, 20)
SAMPLES = {"contrasts": 1, "lesions": 0.0, "maps": 0.0, "brains": 2}
STAGE = {
    "name": "both", "trains": ("encoder", "decoder"), "steps": 3, "losses": {"l2": 1.0},
    "optimiser": "adam",
}  # fmt: skip
GAN = {
    "name": "gan", "trains": ("decoder", "critic"), "steps": 6, "critic_steps": 2, "clip": math.inf,
    "losses": {"critic": 1.0, "generator": 1.0}, "optimiser": "adam", "betas": (0.0, 0.9),
    "rate": 1e-3, "schedule": "constant",
}  # fmt: skip
IZI = {
    "name": "encoder", "trains": ("encoder",), "steps": 2, "losses": {"l2": 1.0, "features": 1.0},
    "optimiser": "rmsprop",
}  # fmt: skip
STAGES = {
    "dense": (STAGE,),
    "spatial": (STAGE,),
    "variational": ({**STAGE, "losses": {"l2": 1.0, "kl": 0.02}},),
    "adversarial": (GAN, IZI),
}


def _config(code, *stages, **changes):
    model = autoencoders.config(code, shape=SHAPE).model_dump()
    settings = {"model": model, "samples": SAMPLES, "stages": stages or STAGES[code], **changes}
    return TrainConfig.model_validate({"validate_on": 1, "validate_every": 3, **settings})


def _run(config, data, out, **progress):
    fabric = train.make_fabric("cpu", 1, config)
    return train.run(config, data, out, fabric, progress=train.Progress(**progress))


def _outputs(code, parts=None, learning=("encoder", "decoder")):
    model = autoencoders.model(code, parts)
    maps = structures()
    sample = Sample(
        torch.cat([t1w(maps), 0.5 * t1w(maps)]), torch.from_numpy(labels()).long()[None],
        (maps > 0).repeat(2, 1, 1, 1, 1), maps > 9999,
    )  # fmt: skip
    batch = add_noise(batch_of(sample), model, torch.Generator().manual_seed(3))
    return AutoencoderOutputs(model, batch, learning)


def _loss(name, outputs):
    return RECONSTRUCTION_LOSSES[name](outputs.batch, outputs)


# -- losses -----------------------------------------------------------------------------------


def test_l2_and_kl_are_those_of_the_definition():
    outputs = _outputs("variational")
    phi, scan = outputs.pseudo_healthy, outputs.scan
    want = torch.stack([(a - b).square().mean() for a, b in zip(phi, scan, strict=True)])
    torch.testing.assert_close(_loss("l2", outputs), want)
    mean, log_variance = outputs.code
    code = Normal(mean, (0.5 * log_variance).exp())
    nats = kl_divergence(code, Normal(torch.zeros_like(mean), torch.ones_like(mean))).sum(1)
    torch.testing.assert_close(_loss("kl", outputs), nats / scan[0].numel())


def test_a_variational_code_is_drawn_around_its_mean():
    outputs = _outputs("variational")
    mean, log_variance = outputs.code
    noise = (0.5 * log_variance).exp() * outputs.batch["code_noise"]
    torch.testing.assert_close(outputs.pseudo_healthy, outputs.model.decode(mean + noise))
    assert not torch.allclose(outputs.pseudo_healthy, outputs.model.decode(mean))


def test_the_slope_of_the_critic_is_held_at_one():
    """Against the slope by finite differences, along its own direction."""
    outputs = _outputs("adversarial", ("encoder", "decoder", "critic"), ("critic",))
    y = outputs.between.detach().requires_grad_()
    (slope,) = torch.autograd.grad(outputs.critic(y)[0].sum(), y)
    size = slope.flatten(1).norm(dim=1).view(-1, 1, 1, 1, 1)
    with torch.no_grad():
        score = outputs.critic(outputs.generated)[0] - outputs.critic(outputs.scan)[0]
        ends = [outputs.critic(y + sign * 1e-2 * slope / size)[0] for sign in (1, -1)]
    steep = (ends[0] - ends[1]) / 2e-2
    penalty = _loss("critic", outputs) - score
    torch.testing.assert_close(penalty, 10 * (steep - 1).square(), rtol=0.02, atol=1e-3)


def test_features_are_the_critics():
    outputs = _outputs("adversarial", ("encoder", "decoder", "critic"), ("encoder",))
    want = outputs.critic(outputs.pseudo_healthy)[1] - outputs.critic(outputs.scan)[1]
    torch.testing.assert_close(_loss("features", outputs), want.square().mean(1))
    assert torch.equal(_loss("generator", outputs), -outputs.critic(outputs.generated)[0])


# -- configuration ------------------------------------------------------------------------------


def test_turns():
    stage = StageConfig.model_validate(GAN)
    turns = [stage.turn(step) for step in range(6)]
    critic, generator = (("critic",), ("critic",)), (("decoder",), ("generator",))
    assert turns == [critic, critic, generator] * 2
    assert StageConfig.model_validate(STAGE).turn(5) == (("encoder", "decoder"), ("l2",))
    assert rate_factor(500, 1000, "constant") == 1


@pytest.mark.parametrize("kind", ["adam", "adamw", "rmsprop"])
def test_optimisers(kind):
    stage = StageConfig.model_validate({**STAGE, "optimiser": kind, "weight_decay": 0.5})
    parameter = torch.nn.Parameter(torch.ones(1))
    optimiser = make_optimiser(stage, [parameter], fused=False)
    assert type(optimiser).__name__.lower() == kind
    parameter.grad = torch.zeros(1)
    optimiser.step()
    assert parameter.item() < 1  # by the weight decay alone


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"samples": {**SAMPLES, "lesions": 0.5}}, "healthy"),
        ({"samples": {**SAMPLES, "contrasts": 2}}, "one contrast"),
        ({"stages": [{**STAGE, "trains": ("tissue",)}]}, "unknown networks"),
        ({"stages": [{**STAGE, "losses": {"dice": 1.0}}]}, "unknown losses"),
        ({"stages": [{**STAGE, "losses": {"kl": 1.0}}]}, "variational"),
        ({"stages": [{**STAGE, "critic_steps": 5}]}, "critic"),
        ({"stages": [GAN, IZI], "compile": True}, "slope"),
        ({"model": {"kind": "autoencoder", "recoupler": "film"}}, "recoupler"),
        ({"model": {"kind": "forest"}}, "forest"),
    ],
)
def test_a_mistake_is_named(changes, what):
    settings = {"model": autoencoders.config().model_dump(), "samples": SAMPLES, "stages": [STAGE]}
    with pytest.raises(ValueError, match=what):
        TrainConfig.model_validate({**settings, **changes})


def test_the_published_recipe():
    config = read_config("luo2023")
    assert config.model.shape == (160, 192, 96)
    (stage,) = config.stages
    assert (stage.optimiser, stage.rate, stage.weight_decay) == ("adam", 1e-4, 1e-5)
    assert stage.clip == math.inf
    assert config.samples.brains == 8


# -- trainings ----------------------------------------------------------------------------------


@pytest.mark.parametrize("code", list(STAGES))
def test_every_code_trains_to_the_end(code, data, tmp_path):
    weights = _run(_config(code), data, tmp_path)
    model = load_model(weights)
    assert model.parts == ("encoder", "decoder")
    assert model.config == autoencoders.config(code, shape=SHAPE)
    card = read_card(weights)
    assert set(card["healthy"]["thresholds"]) == {"T1w"}
    assert 0 < card["metrics"]["error"] < 1
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    assert all(math.isfinite(float(row["total"])) for row in rows)
    if code == "adversarial":
        turns = [row["generator"] != "" for row in rows]
        assert turns == [False, False, True] * 2 + [False] * 2
    assert list((tmp_path / "pictures").glob("*.png"))


@pytest.mark.usefixtures("no_calibration")
def test_only_who_has_the_turn_learns(data, tmp_path):
    config = _config("adversarial", {**GAN, "steps": 3}, checkpoint_every=1)
    states = []

    def look(step, *_):
        saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["model"]
        states.append({k: v for k, v in saved.items() if k.endswith(("weight", "bias"))})

    _run(config, data, tmp_path, step=look)
    for (before, after), learning in zip(pairwise(states), ("critic", "decoder"), strict=True):
        changed = {
            name.split(".")[0] for name in after if not torch.equal(before[name], after[name])
        }
        assert changed == {learning}


@pytest.mark.usefixtures("no_calibration")
@pytest.mark.parametrize("code", ["variational", "adversarial"])
def test_interrupted_the_end_is_the_same(code, data, tmp_path):
    config = _config(code, checkpoint_every=1)
    whole = load_model(_run(config, data, tmp_path / "whole")).state_dict()

    with pytest.raises(Left):
        _run(config, data, tmp_path / "left", step=leave_after(2))
    again = load_model(_run(config, data, tmp_path / "left")).state_dict()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


@pytest.mark.usefixtures("no_calibration")
def test_it_learns(data, tmp_path):
    losses = []
    stage = {**STAGE, "steps": 60, "rate": 1e-2}
    config = _config("dense", stage, checkpoint_every=100, validate_every=100)
    _run(config, data, tmp_path, step=lambda step, *_: losses.append(step.losses["l2"]))
    assert sum(losses[-6:]) < 0.3 * sum(losses[:6])


def test_weights_of_another_kind_are_not_taken_over(data, tmp_path):
    with pytest.raises(DalFastError, match="another kind") as refused:
        _run(_config("dense", init="default"), data, tmp_path)
    assert refused.value.code == "weights-mismatch"
