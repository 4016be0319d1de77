"""onehot_ste and anatomy_image: what the conformance table does not ask."""

import pytest
import torch

from dal_fast import DalFastError
from dal_fast.ops import anatomy_image, onehot_ste
from dal_fast.ops.onehot import _onehot, _onehot_backward


def logits_of(shape, dtype, seed=0):
    n, _, *space = shape
    g = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(n, 3, *space, generator=g)).to(dtype)


def test_gradient_equals_the_softmax_gradient():
    z = logits_of((1, 1, 4, 5, 6), torch.float64).requires_grad_()
    g = torch.randn(z.shape, dtype=torch.float64)
    (ours,) = torch.autograd.grad(onehot_ste(z, 2.0), z, g)
    (softmax,) = torch.autograd.grad(torch.softmax(z / 2.0, 1), z, g)
    torch.testing.assert_close(ours, softmax, rtol=0, atol=1e-12)


def test_ties_go_to_the_lowest_class():
    z = torch.zeros(1, 4, 2, 2, 2)
    assert onehot_ste(z)[:, 0].eq(1).all()
    assert onehot_ste(z)[:, 1:].eq(0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_nan_wins_only_in_the_first_class(dtype):
    nan, inf = torch.nan, torch.inf
    rows = [[nan, 1, 2], [1, nan, 2], [2, nan, 1], [1, 2, nan], [nan, nan, nan], [-inf, nan, -inf]]
    rows += [[inf, nan, inf], [-inf, nan, 0]]
    z = torch.tensor(rows, dtype=dtype).T.reshape(1, 3, 2, 2, 2).requires_grad_()
    winners = onehot_ste(z).argmax(1).flatten()
    assert winners.tolist() == [0, 2, 0, 1, 0, 0, 0, 2]
    for backend in ("cpu", "reference"):
        own = onehot_ste(z, backend=backend)
        assert torch.equal(own.sum(1), torch.ones(1, 2, 2, 2, dtype=dtype))
        assert torch.equal(own.argmax(1).flatten(), winners)
        (gradient,) = torch.autograd.grad(own, z, torch.ones_like(own))
        assert gradient.isnan().all()


@pytest.mark.parametrize("levels", [None, [0.29, 0.48, 0.72]])
def test_opcheck(levels):
    z = logits_of((2, 3, 3, 4, 5), torch.float32).requires_grad_()
    mask = None if levels is None else torch.ones(2, 1, 3, 4, 5, dtype=torch.bool)
    torch.library.opcheck(_onehot.overload, (z, levels, mask, 1.0, "cpu"))
    grad = torch.randn_like(_onehot(z, levels, mask, 1.0, "cpu").detach())
    torch.library.opcheck(_onehot_backward.overload, (z.detach(), grad, levels, mask, 1.0, "cpu"))


def test_compiles_without_graph_break():
    compiled = torch.compile(lambda z: anatomy_image(z).mean(), fullgraph=True, backend="aot_eager")
    z = logits_of((1, 1, 4, 5, 6), torch.float32).requires_grad_()
    compiled(z).backward()
    want = z.grad.clone()
    z.grad = None
    anatomy_image(z).mean().backward()
    torch.testing.assert_close(want, z.grad)


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda: onehot_ste(torch.zeros(3, 4, 5)), "shape"),
        (lambda: onehot_ste(torch.zeros(1, 2, 0, 3, 3)), "shape"),
        (lambda: onehot_ste(torch.zeros(1, 3, 2, 2, 2, dtype=torch.int32)), "dtype"),
        (lambda: onehot_ste(torch.zeros(1, 3, 2, 2, 2), 0.0), "value"),
        (lambda: anatomy_image(torch.zeros(1, 2, 2, 2, 2)), "levels"),
        (lambda: onehot_ste(torch.zeros(1, 3, 2, 2, 2), backend="cuda"), "backend-unavailable"),
    ],
)
def test_refusals(call, code):
    with pytest.raises(DalFastError) as refused:
        call()
    assert refused.value.code == code
