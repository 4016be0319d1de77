"""A training step on a GPU whose tensors have no data: nothing in it waits for the GPU."""

from contextlib import nullcontext
from unittest import mock

import pytest
import torch
from fake_gpu import GPU, Synchronises, empty, fake_gpu, needs_fake_gpu, onto_fake_gpu, watched
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dal_fast.ops._image_stages import by_torch
from dal_fast.synthesis.sample import Sample
from dal_fast.training.ahead import Ahead
from dal_fast.training.config import read_config
from dal_fast.training.loop import learn, make_optimiser, update_average
from dal_fast.training.objective import make_objective
from dal_fast.training.train import build

SPACE = (16, 24, 16)


def objective_of(recipe, **changes):
    """Model and objective of a recipe's last stage, with small networks."""
    config = read_config(recipe)
    sizes = {"tissue_widths": (4, 8), "anatomy_widths": (4, 8), "decoder_width": 4}
    if config.model.residual_head_widths:
        sizes["residual_head_widths"] = (4, 8)
    model_config = config.model.model_copy(update=sizes)
    config = config.model_copy(update={"model": model_config, "init": None, **changes})
    stage = config.stages[-1].model_copy(update={"edge_corruption": 0.0})
    return build(config, []), stage, config


def sample(device):
    """Of two contrasts of a brain."""
    volume = (2, 1, *SPACE)
    masks = [empty(volume, torch.bool, device) for _ in range(2)]
    tissue = empty((2, *SPACE), torch.int64, device)
    images = [empty(volume, device=device) for _ in range(2)]
    return Sample(images[0], tissue, *masks, healthy=images[1])


def prepared(recipe, device):
    """Objective, a batch, and the rest of a training, on a device without data."""
    model, stage, config = objective_of(recipe)
    onto_fake_gpu(model, device)
    for name in model.parts:
        model.part(name).requires_grad_(name in stage.trains)
    objective = make_objective(model, stage, config.samples.contrasts, mixed=False)
    objective.start_step(0)
    return objective, objective.prepare(sample(device), None), config


def whole_step(recipe):
    """Losses, gradients, optimiser and average, on tensors of the meta device, which have no data
    either; torch's gradients do not run on a fake GPU."""
    plain = mock.patch("torch.autocast", return_value=nullcontext())  # refuses that device
    with by_torch(), plain:
        objective, batch, config = prepared(recipe, "meta")
        learning = [p for p in objective.model.parameters() if p.requires_grad]
        optimiser = make_optimiser(objective.stage, learning, fused=False)
        average = AveragedModel(objective.model, use_buffers=False)
        learn(objective, objective, batch, optimiser, learning, torch.Tensor.backward)
        with watched() as calls:  # the optimiser has made its state
            learn(objective, objective, batch, optimiser, learning, torch.Tensor.backward)
            update_average(average, objective.model, config.ema, first=False)
    assert all(p.grad is not None for p in learning)
    return calls


RECIPES = ["default", "residual_head", "evidence", "published"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_step_reads_no_value(recipe):
    calls = whole_step(recipe)
    assert calls["convolution_backward"] > 5
    assert calls["_foreach_lerp_"] == 1


@needs_fake_gpu
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_losses_wait_for_no_gpu(recipe):
    with fake_gpu():
        objective, batch, _ = prepared(recipe, GPU)
        with watched() as calls:
            total = objective.total(objective(batch))
    assert total.device.type == "cuda"
    assert calls["convolution"] > 5


def test_a_loss_that_reads_its_value_is_noticed(monkeypatch):
    from dal_fast.training import losses

    def reads(batch, outputs):
        return outputs.entropy.mean() * float(outputs.entropy.max())

    monkeypatch.setitem(losses.LOSSES, "tissue", reads)
    with pytest.raises((Synchronises, RuntimeError), match=r"item\(\)|_local_scalar"):
        whole_step("default")


def test_the_average_is_torchs():
    torch.manual_seed(0)
    model = torch.nn.BatchNorm1d(3)
    want = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=False)
    got = AveragedModel(model, use_buffers=False)
    for number in range(3):
        with torch.no_grad():
            for tensor in (*model.parameters(), model.running_mean):
                tensor.add_(torch.randn(3))
        want.update_parameters(model)
        update_average(got, model, 0.9, first=number == 0)
        for a, b in zip(got.state_dict().values(), want.state_dict().values(), strict=True):
            assert torch.equal(a, b)


def test_samples_made_ahead_are_the_same():
    config = read_config("default")
    stages = tuple(stage.model_copy(update={"steps": 7}) for stage in config.stages)
    config = config.model_copy(update={"stages": stages})

    class Drawn:
        def batch(self, step, difficulty, device, rank=0, world=1):
            return step, difficulty, rank, world

        def step_generator(self, step, device, rank):
            return step, rank

    cpu = torch.device("cpu")
    ahead = Ahead(Drawn(), config, threads=2)
    try:
        assert ahead.step_generator(3, cpu, 1) == (3, 1)
        for number in range(2, 7):  # a training that is taken up again
            difficulty = ahead._difficulty[number]
            assert ahead.batch(number, difficulty, cpu, 1, 2) == (number, difficulty, 1, 2)
            assert len(ahead._waiting) <= 3
    finally:
        ahead.close()
