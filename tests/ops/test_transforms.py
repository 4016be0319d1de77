"""Every op under every transform of torch: the right derivative or a refusal, never a silent 0."""

from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.func import (
    functional_call,
    grad,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    vjp,
    vmap,
)

from dal_fast import DalFastError, ops

SPACE = (3, 4, 5)


def random(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


Y, MASK = random(1, 1, *SPACE, seed=1), random(1, 1, *SPACE, seed=2) < 0.7


@dataclass(frozen=True)
class Op:
    """One op as a function of one volume."""

    name: str
    call: object  # (x, backend=...)
    channels: int = 1
    boolean: bool = False  # of the input

    def example(self, seed=3):
        x = random(1, self.channels, *SPACE, seed=seed)
        return x < 0.4 if self.boolean else x


SSIM = {"window": 3}
SMOOTH = [  # their derivative is defined; those of the one-hot family are the softmax's
    Op("ssim3d mean", lambda x, **k: ops.ssim3d(x, Y, **SSIM, **k)),
    Op("ssim3d map", lambda x, **k: ops.ssim3d(x, Y, **SSIM, reduction="none", **k)),
    Op("ssim3d second input", lambda x, **k: ops.ssim3d(Y, x, **SSIM, **k)),
    Op("ssim3d large range", lambda x, **k: ops.ssim3d(x, Y, **SSIM, data_range=3e7, **k)),
    Op("hybrid_score", lambda x, **k: ops.hybrid_score(x, Y, **SSIM, **k)),
    Op("l1_ssim_loss", lambda x, **k: ops.l1_ssim_loss(x, Y, 0.3, **SSIM, **k)),
    Op("onehot_ste", partial(ops.onehot_ste, temperature=0.7), channels=3),
    Op("anatomy_image", lambda z, **k: ops.anatomy_image(z, mask=MASK, **k), channels=3),
]
REFUSING = [  # every derivative
    Op("median3d", ops.median3d),
    Op("tfce3d", lambda x, **k: ops.tfce3d(x - 0.3, MASK, **k)),
]
CONSTANT = [  # piecewise constant, with results that have no gradient: as torch's comparisons
    Op("canny3d", partial(ops.canny3d, low=0.05, high=0.1)),
    Op("anatomy_edges", ops.anatomy_edges, channels=3),
]
MASKS = [
    Op("components3d", ops.components3d, boolean=True),
    Op("remove_small", partial(ops.remove_small, min_voxels=3), boolean=True),
]
each = partial(pytest.mark.parametrize, ids=lambda o: o.name)


def weighted(call):
    """A scalar of the result, whose derivative is not symmetric in its voxels."""

    def scalar(x):
        out = call(x).double()
        return (out * torch.linspace(1, 2, out.numel()).view(out.shape)).sum()

    return scalar


def batch(op):
    return torch.stack([op.example(seed) for seed in (3, 4, 5)])


def dual(f, x):
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(f(forward_ad.make_dual(x, torch.ones_like(x)))).tangent


def double_backward(f, x):
    x = x.detach().requires_grad_()
    (first,) = torch.autograd.grad(f(x), x, create_graph=True)
    return torch.autograd.grad(first.square().sum(), x)[0]


def backward(f, x):
    x = x.detach().requires_grad_()
    return torch.autograd.grad(f(x), x)[0]


class Loss(nn.Module):
    """A module whose parameter enters the op, for functional_call."""

    def __init__(self, f):
        super().__init__()
        self.f, self.shift = f, nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x):
        return self.f(x * (1 + self.shift))


def through_functional_call(f, x):
    module = Loss(f)
    values = {"shift": torch.tensor(0.1, dtype=torch.float64)}
    return grad(lambda v: functional_call(module, v, (x,)))(values)["shift"]


REVERSE = {
    "backward": backward,
    "grad": lambda f, x: grad(f)(x),
    "vjp": lambda f, x: vjp(f, x)[1](torch.tensor(2.0, dtype=torch.float64))[0],
    "jacrev": lambda f, x: jacrev(f)(x),
    "functional_call": through_functional_call,
}
REFUSED = {
    "jvp": lambda f, x: jvp(f, (x,), (torch.ones_like(x),))[1],
    "jacfwd": lambda f, x: jacfwd(f)(x),
    "forward-mode AD": dual,
    "hessian": lambda f, x: hessian(f)(x),
    "hessian in reverse": lambda f, x: jacrev(jacrev(f))(x),
    "grad of grad": lambda f, x: grad(lambda a: grad(f)(a).square().sum())(x),
    "double backward": double_backward,
    "jvp of grad": lambda f, x: jvp(grad(f), (x,), (torch.ones_like(x),))[1],
    "grad of jvp": lambda f, x: grad(lambda a: jvp(f, (a,), (torch.ones_like(a),))[1])(x),
    "vmap of jvp": lambda f, x: vmap(lambda t: jvp(f, (x,), (t,))[1])(torch.stack([x, x])),
}


@each("op", SMOOTH)
@pytest.mark.parametrize("transform", REVERSE)
def test_reverse_mode_is_right(op, transform):
    apply, x = REVERSE[transform], op.example()
    want = apply(weighted(partial(op.call, backend="reference")), x)
    assert want.abs().max() > 0
    torch.testing.assert_close(apply(weighted(op.call), x), want, rtol=1e-9, atol=1e-12)


@each("op", SMOOTH)
def test_jacobian_of_the_result_itself(op):
    x = op.example()
    want = jacrev(partial(op.call, backend="reference"))(x)
    torch.testing.assert_close(jacrev(op.call)(x), want, rtol=1e-9, atol=1e-12)


@each("op", SMOOTH)
@pytest.mark.parametrize("nesting", ["vmap of grad", "grad of vmap"])
def test_batches_of_gradients(op, nesting):
    xs, f = batch(op), weighted(op.call)
    want = torch.stack([backward(f, x) for x in xs])
    gradients = {
        "vmap of grad": vmap(grad(f)),
        "grad of vmap": grad(lambda a: vmap(f)(a).sum()),
    }[nesting]
    assert torch.equal(gradients(xs), want)


@each("op", [*SMOOTH, *REFUSING])
@pytest.mark.parametrize("transform", REFUSED)
def test_forward_mode_and_second_derivatives_are_refused(op, transform):
    with pytest.raises(DalFastError) as refused:
        REFUSED[transform](weighted(op.call), op.example())
    assert refused.value.code == "no-gradient"
    assert "detach" in refused.value.message or "reference" in refused.value.message


@each("op", [o for o in SMOOTH if "ssim" in o.name or o.name == "hybrid_score"])
@pytest.mark.parametrize("transform", REFUSED)
def test_the_reference_has_what_is_refused(op, transform):
    """Checked against differences of its gradient, and among themselves."""
    f = weighted(partial(op.call, backend="reference"))
    x = op.example()
    got, step = REFUSED[transform](f, x), 1e-5
    ones = torch.ones_like(x)

    def slope(g, along):
        return (g(x + step * along) - g(x - step * along)) / (2 * step)

    if transform in ("jvp", "forward-mode AD"):
        torch.testing.assert_close(got, slope(f, ones), rtol=1e-5, atol=1e-6)
    if transform == "jvp of grad":
        torch.testing.assert_close(got, slope(partial(backward, f), ones), rtol=1e-4, atol=1e-4)
    assert torch.isfinite(got).all()
    assert got.abs().max() > 0


@each("op", REFUSING)
@pytest.mark.parametrize("transform", REVERSE)
def test_every_derivative_is_refused(op, transform):
    with pytest.raises(DalFastError) as refused:
        REVERSE[transform](weighted(op.call), op.example())
    assert refused.value.code == "no-gradient"


@each("op", CONSTANT)
@pytest.mark.parametrize("transform", {**REVERSE, **REFUSED})
def test_edges_are_as_torchs_comparisons(op, transform):
    """Their derivative is 0 wherever it is defined, and autograd knows of none."""
    apply = {**REVERSE, **REFUSED}[transform]

    def outcome(call):
        try:
            result = apply(weighted(call), op.example())
        except RuntimeError as error:
            return str(error)
        return "None" if result is None else result.abs().max().item()

    assert outcome(op.call) == outcome(lambda x: x > 0.5) != 1


@each("op", [*SMOOTH, *REFUSING, *CONSTANT, *MASKS])
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_vmap_is_a_loop(op, backend):
    call, xs = partial(op.call, backend=backend), batch(op)
    want = torch.stack([call(x) for x in xs])
    looping = ("canny3d", "anatomy_edges", "tfce3d", *(m.name for m in MASKS))
    if backend == "reference" and op.name in looping:
        with pytest.raises(RuntimeError):  # its loops depend on the values
            vmap(call)(xs)
        return
    assert torch.equal(vmap(call)(xs), want) or backend == "reference"
    torch.testing.assert_close(vmap(call)(xs), want)
    moved = vmap(call, in_dims=5, out_dims=-1)(xs.movedim(0, 5))
    torch.testing.assert_close(moved, want.movedim(0, -1))


def test_vmap_over_two_inputs_and_over_one():
    x, y = random(2, 1, 1, *SPACE), random(2, 1, 1, *SPACE, seed=1)
    want = torch.stack([ops.hybrid_score(a, b) for a, b in zip(x, y, strict=True)])
    assert torch.equal(vmap(ops.hybrid_score)(x, y), want)
    want = torch.stack([ops.hybrid_score(x[0], b) for b in y])
    assert torch.equal(vmap(ops.hybrid_score, in_dims=(None, 0))(x[0], y), want)
    nested = vmap(vmap(ops.hybrid_score, in_dims=(None, 0)), in_dims=(0, None))(x, y)
    assert torch.equal(nested[1, 0], ops.hybrid_score(x[1], y[0]))


def test_vmap_over_nothing_is_refused():
    with pytest.raises((DalFastError, RuntimeError)):
        vmap(ops.canny3d)(torch.zeros(0, 1, 1, *SPACE))


@each("op", SMOOTH)
def test_compiled_gradients_are_right(op):
    f, x = weighted(op.call), op.example()
    compiled = torch.compile(lambda a: grad(f)(a), backend="aot_eager")
    torch.testing.assert_close(compiled(x), backward(f, x))


def test_metrics_refuse_transforms():
    score, target = random(1, 1, *SPACE), MASK
    for transform in (grad, vmap):
        metrics = ops.VoxelMetrics()

        def call(s, metrics=metrics):
            metrics.update(s, target)
            return s.sum()

        with pytest.raises((RuntimeError, DalFastError)):
            transform(call)(score if transform is grad else score[None])
        assert not metrics.cases
        assert torch.isnan(torch.tensor(metrics.average_precision()))


LEARNABLE = torch.tensor(0.5, requires_grad=True)
Z, V = random(1, 3, *SPACE), random(1, 1, *SPACE)


@pytest.mark.parametrize(
    "call",
    [
        lambda: ops.onehot_ste(Z, LEARNABLE),
        lambda: ops.anatomy_image(Z, (0.1, LEARNABLE, 0.3)),
        lambda: ops.anatomy_image(Z, torch.rand(3, requires_grad=True)),
        lambda: ops.anatomy_edges(Z, (0.1, LEARNABLE, 0.3)),
        lambda: ops.canny3d(V, LEARNABLE),
        lambda: ops.ssim3d(V, Y, sigma=LEARNABLE),
        lambda: ops.hybrid_score(V, Y, data_range=LEARNABLE),
        lambda: ops.l1_ssim_loss(V, Y, LEARNABLE),
        lambda: ops.tfce3d(V, None, LEARNABLE),
        lambda: ops.tfce3d(V, height_power=LEARNABLE),
    ],
)
def test_derivatives_by_options_are_refused(call):
    with pytest.raises(DalFastError) as refused:
        call()
    assert refused.value.code == "no-gradient"
