"""The compiled highest_nearby and usual_spread against torch."""

import pytest
import torch
from chain.volumes import SHAPES, everywhere, far, random_case, reference_parts

from dal_fast.models.residuals import highest_nearby, usual_spread


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("sign", [1, -1])
def test_the_highest_nearby(shape, sign):
    _, phi, _, mask = random_case(shape)
    (want,) = reference_parts(highest_nearby, sign * phi, mask)
    assert torch.equal(everywhere(highest_nearby, sign * phi, mask)[0], want)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_usual_spread(shape):
    x, phi, p, mask = random_case(shape)
    inputs = x, phi, p, mask & (x > 0.2)
    (got,) = everywhere(usual_spread, *inputs)
    assert far(got, *reference_parts(usual_spread, *inputs, double=True)) < 1e-6
    assert far(got, *reference_parts(usual_spread, *inputs)) < 1e-6


def test_batches_go_one_by_one():
    first, second = random_case((17, 33, 21)), random_case((17, 33, 21), 5)
    both = [torch.cat(pair) for pair in zip(first, second, strict=True)]
    for n, (x, phi, p, mask) in enumerate((first, second)):
        assert torch.equal(usual_spread(*both)[n], usual_spread(x, phi, p, mask)[0])
        assert torch.equal(highest_nearby(both[1], both[3])[n], highest_nearby(phi, mask)[0])


def test_gradients_and_other_types_keep_torch():
    x, phi, p, mask = random_case((17, 33, 21))
    probabilities = p.clone().requires_grad_()
    usual_spread(x, phi, probabilities, mask).sum().backward()
    assert probabilities.grad.isfinite().all()
    assert usual_spread(x.double(), phi.double(), p.double(), mask).dtype == torch.float64
