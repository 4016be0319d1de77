"""Luo's autoencoder and its variants."""

import pytest
import torch

from dal_fast import InputError
from dal_fast.models import create_model
from dal_fast.models.autoencoder import Autoencoder, AutoencoderConfig

SMALL = {"shape": (16, 24, 8), "widths": (4, 8, 16), "length": 6}


def small(code):
    torch.manual_seed(0)
    return Autoencoder(AutoencoderConfig(code=code, **SMALL))


def test_as_many_parameters_as_the_authors_network():
    """Counted on paper from model.py: encoder 97,314,032, decoder 100,716,417."""
    with torch.device("meta"):
        model = create_model("luo2023")
    encoder, decoder = (
        sum(p.numel() for part in parts for p in part.parameters())
        for parts in ((model.down, model.to_code), (model.from_code, model.up))
    )
    assert (encoder, decoder) == (97_314_032, 100_716_417)
    found = model(torch.empty(2, 1, 160, 192, 96, device="meta"))
    assert found.pseudo_healthy.shape == (2, 1, 160, 192, 96)
    assert found.mean.shape == (2, 512)


@pytest.mark.parametrize("code", ["dense", "spatial", "variational"])
def test_every_code(code):
    model = small(code)
    x = torch.rand(3, 1, *SMALL["shape"])
    found = model(x)
    assert found.pseudo_healthy.shape == x.shape
    assert (found.log_variance is not None) == (code == "variational")
    assert found.mean.shape == ((3, 6, 4, 6, 2) if code == "spatial" else (3, 6))
    found.pseudo_healthy.square().mean().backward()
    named = dict(model.named_parameters())
    assert [n for n, p in named.items() if p.grad is None or not p.grad.isfinite().all()] == []
    model.eval()
    assert torch.equal(model(x).pseudo_healthy, model(x).pseudo_healthy)
    alone = torch.cat([model(one[None]).pseudo_healthy for one in x])
    torch.testing.assert_close(alone, model(x).pseudo_healthy)


def test_a_variational_code_is_drawn_while_training_only():
    model, x = small("variational"), torch.rand(2, 1, *SMALL["shape"])
    model.train()
    assert not torch.equal(model(x).pseudo_healthy, model(x).pseudo_healthy)


def test_it_learns():
    torch.manual_seed(0)
    model, x = small("dense"), torch.rand(4, 1, *SMALL["shape"])
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        loss = (model(x).pseudo_healthy - x).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]


def test_shapes_that_do_not_fit():
    with pytest.raises(InputError, match="multiples of 4"):
        Autoencoder(AutoencoderConfig(**{**SMALL, "shape": (16, 22, 8)}))
    with pytest.raises(InputError, match=r"\(N, 1"):
        small("dense")(torch.rand(1, 1, 16, 16, 16))
