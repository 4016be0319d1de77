"""Luo's autoencoder, its variants and f-AnoGAN."""

import autoencoders
import pytest
import torch

from dal_fast import DalFastError
from dal_fast.models import (
    Autoencoder,
    AutoencoderConfig,
    create_model,
    load_model,
    load_weights,
)

CODES = ["dense", "spatial", "variational", "adversarial"]
BOX = {"shape": (16, 24, 8), "widths": (4, 8, 16)}


def _count(module):
    return sum(p.numel() for p in module.parameters())


def test_as_many_parameters_as_the_authors_network():
    """Counted on paper from model.py: encoder 97,314,032, decoder 100,716,417."""
    with torch.device("meta"):
        model = create_model("luo2023")
        assert model.restore(torch.empty(2, 1, 160, 192, 96)).shape == (2, 1, 160, 192, 96)
    assert _count(model.part("encoder")) == 97_314_032
    assert _count(model.part("decoder")) == 100_716_417


@pytest.mark.parametrize("code", CODES)
def test_every_code(code):
    model = autoencoders.model(code, **BOX)
    x = torch.rand(3, 1, *BOX["shape"])
    phi = model.restore(x)
    assert phi.shape == x.shape
    mean, log_variance = model.code(x)
    assert (log_variance is not None) == (code == "variational")
    assert mean.shape == (3, *model.code_shape)
    phi.square().mean().backward()
    if log_variance is None:
        missing = [n for n, p in model.named_parameters() if p.grad is None]
        assert missing == []
    torch.testing.assert_close(torch.cat([model.restore(one[None]) for one in x]), phi)


def test_a_variational_code_is_drawn_when_asked():
    model, x = autoencoders.model("variational", **BOX), torch.rand(2, 1, *BOX["shape"])
    draws = [model.restore(x, torch.Generator().manual_seed(seed)) for seed in (0, 1, 0)]
    assert torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[1])
    assert torch.equal(model.restore(x), model.restore(x))


def test_the_critic_sees_every_sample_alone():
    """No batch normalisation: a gradient penalty is one sample's."""
    model = autoencoders.model("adversarial", ("critic",), **BOX).train()
    x = torch.rand(3, 1, *BOX["shape"])
    together, features = model.part("critic")(x)
    assert together.shape == (3,)
    assert features.shape == (3, 16 * 4 * 6 * 2)
    alone = torch.cat([model.part("critic")(one[None])[0] for one in x])
    torch.testing.assert_close(alone, together)


def test_it_sees_a_box_around_the_brain_wherever_that_lies():
    model = autoencoders.model()
    brain = torch.rand(1, 1, 20, 30, 22)
    found = []
    for corner in ((0, 0, 0), (9, 4, 15)):
        x = torch.zeros(1, 1, 48, 48, 48)
        place = (..., *(slice(c, c + s) for c, s in zip(corner, brain.shape[2:], strict=True)))
        x[place] = brain
        output = model(x, x > 0)
        assert torch.equal(output.field_of_view, x > 0)
        assert not output.pseudo_healthy[x == 0].any()
        found.append(output.pseudo_healthy[place])
    assert torch.equal(*found)


def test_what_lies_outside_the_box_is_not_seen():
    model = autoencoders.model()
    mask = torch.ones(1, 1, 40, 40, 40, dtype=torch.bool)
    output = model(torch.rand(1, 1, 40, 40, 40), mask)
    want = torch.zeros_like(mask)
    want[:, :, 4:36, :, 4:36] = True
    assert torch.equal(output.field_of_view, want)
    with pytest.raises(DalFastError) as refused:
        model(torch.rand(1, 1, 40, 40, 40), ~mask)
    assert refused.value.code == "mask-empty"


def test_shapes_that_do_not_fit():
    with pytest.raises(DalFastError, match="multiples of 4"):
        Autoencoder(AutoencoderConfig(**{**BOX, "shape": (16, 22, 8)}))


@pytest.mark.parametrize("code", CODES)
def test_weights_come_back(code, tmp_path):
    path = autoencoders.weights(tmp_path, code)
    model = load_model(path)
    assert model.config == autoencoders.config(code)
    x = torch.rand(1, 1, *model.config.shape)
    torch.testing.assert_close(
        model.restore(x), autoencoders.model(code).restore(x), atol=1e-2, rtol=1e-2
    )
    with pytest.raises(DalFastError, match="autoencoder") as refused:
        load_weights(path)
    assert refused.value.code == "weights-kind"
