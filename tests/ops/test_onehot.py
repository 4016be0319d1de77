"""onehot_ste and anatomy_image: every backend, dtype and layout against the float64 reference."""

import pytest
import torch
from support import DTYPES, LAYOUTS, SHAPES, TOLERANCE, each_isa

from dal_fast import InputError, reference
from dal_fast.ops import LEVELS, anatomy_image, onehot_ste
from dal_fast.ops.onehot import _onehot, _onehot_backward

GRAD_TOLERANCE = {**TOLERANCE, torch.float16: 2e-3, torch.bfloat16: 2e-2}


def logits_of(shape, dtype, seed=0):
    n, _, *space = shape
    g = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(n, 3, *space, generator=g)).to(dtype)


@each_isa
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_forward_and_gradient_match_reference(isa, shape, dtype, layout):
    z = LAYOUTS[layout](logits_of(shape, dtype)).requires_grad_()
    y = onehot_ste(z, 0.7)
    want = reference.onehot_ste(z.detach().double().requires_grad_(), 0.7)
    assert torch.equal(y.double(), want.detach().round())
    g = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    z64 = z.detach().double().requires_grad_()
    (want_g,) = torch.autograd.grad(reference.onehot_ste(z64, 0.7), z64, g.double())
    (got_g,) = torch.autograd.grad(y, z, g)
    torch.testing.assert_close(got_g.double(), want_g, rtol=0, atol=GRAD_TOLERANCE[dtype])


@each_isa
@pytest.mark.parametrize("dtype", DTYPES)
def test_anatomy_image_and_gradient(isa, dtype):
    z = logits_of((2, 3, 5, 7, 9), dtype).requires_grad_()
    mask = torch.rand(2, 1, 5, 7, 9, generator=torch.Generator().manual_seed(2)) > 0.3
    image = anatomy_image(z, mask=mask)
    z64 = z.detach().double().requires_grad_()
    want = reference.anatomy_image(z64, LEVELS, mask)
    torch.testing.assert_close(image.double(), want, rtol=0, atol=TOLERANCE[dtype])
    g = torch.randn(image.shape, generator=torch.Generator().manual_seed(3)).to(dtype)
    (want_g,) = torch.autograd.grad(want, z64, g.double())
    (got_g,) = torch.autograd.grad(image, z, g)
    torch.testing.assert_close(got_g.double(), want_g, rtol=0, atol=GRAD_TOLERANCE[dtype])


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


@pytest.mark.parametrize("levels", [None, [0.29, 0.48, 0.72]])
def test_opcheck(levels):
    z = logits_of((2, 3, 3, 4, 5), torch.float32).requires_grad_()
    mask = None if levels is None else torch.ones(2, 1, 3, 4, 5, dtype=torch.bool)
    torch.library.opcheck(_onehot, (z, levels, mask, 1.0))
    grad = torch.randn_like(_onehot(z, levels, mask, 1.0).detach())
    torch.library.opcheck(_onehot_backward, (z.detach(), grad, levels, mask, 1.0))


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
    with pytest.raises(InputError) as refused:
        call()
    assert refused.value.code == code
