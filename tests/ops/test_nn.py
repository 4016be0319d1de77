"""The modules are their ops with the options that they were built with."""

import inspect

import pytest
import torch

from dal_fast import InputError, context, nn, ops

G = torch.Generator().manual_seed(0)
X, Y = torch.rand(1, 1, 12, 13, 14, generator=G), torch.rand(1, 1, 12, 13, 14, generator=G)
Z, MASK = torch.randn(1, 3, 12, 13, 14, generator=G), X > 0.3
WINDOW = {"window": 7, "sigma": 2.0, "kind": "uniform", "data_range": 3.0}

MODULES = {
    "OneHotSTE": ({"temperature": 0.5}, (Z,), lambda z, **k: ops.onehot_ste(z, **k)),
    "AnatomyImage": (
        {"levels": (0.1, 0.2, 0.4), "temperature": 0.5}, (Z, MASK),
        lambda z, m, **k: ops.anatomy_image(z, mask=m, **k),
    ),
    "Canny3d": (
        {"sigma": 0.8, "low": 0.05, "high": 0.1}, (X, MASK),
        lambda x, m, **k: ops.canny3d(x, mask=m, **k),
    ),
    "SSIMLoss3d": (WINDOW, (X, Y), lambda x, y, **k: 1 - ops.ssim3d(x, y, **k)),
    "L1SSIMLoss3d": ({"alpha": 0.2, **WINDOW}, (X, Y), ops.l1_ssim_loss),
    "HybridScore": (WINDOW, (X, Y), ops.hybrid_score),
    "TFCE3d": (
        {"extent_power": 1.0, "height_power": 0.5, "connectivity": 6}, (X, MASK),
        lambda x, m, **k: ops.tfce3d(x, m, **k),
    ),
    "Median3d": ({"size": 5}, (X, MASK), lambda x, m, **k: ops.median3d(x, mask=m, **k)),
}  # fmt: skip
PUBLIC = [
    name
    for name, value in vars(nn).items()
    if inspect.isclass(value) and value.__module__ == nn.__name__ and name[0] != "_"
]


def test_every_module_is_in_the_table():
    assert sorted(MODULES) == sorted(PUBLIC)


@pytest.mark.parametrize("name", MODULES)
def test_options_reach_the_op(name):
    options, inputs, op = MODULES[name]
    module = getattr(nn, name)(**options)
    assert torch.equal(module(*inputs), op(*inputs, **options))
    assert all(f"{k}={v!r}" in repr(module) for k, v in options.items())
    assert not list(module.parameters())


@pytest.mark.parametrize("name", MODULES)
def test_defaults_are_the_ops(name):
    _, inputs, op = MODULES[name]
    assert torch.equal(getattr(nn, name)()(*inputs), op(*inputs))


@pytest.mark.parametrize("name", MODULES)
def test_options_are_keywords(name):
    options = MODULES[name][0]
    with pytest.raises(TypeError):
        getattr(nn, name)(*options.values())


def test_the_losses_are_what_their_names_say():
    ssim, mixed = nn.SSIMLoss3d(), nn.L1SSIMLoss3d()
    torch.testing.assert_close(ssim(X, Y), 1 - ops.ssim3d(X, Y))
    assert mixed.alpha == inspect.signature(ops.l1_ssim_loss).parameters["alpha"].default
    want = mixed.alpha * (X - Y).abs().mean() + (1 - mixed.alpha) * ssim(X, Y)
    torch.testing.assert_close(mixed(X, Y), want)


BAD_OPTIONS = {
    "OneHotSTE": {"temperature": (0.0, "1")},
    "AnatomyImage": {"levels": ((), (0.1, "x")), "temperature": (-1.0,)},
    "Canny3d": {"sigma": (-1.0,), "low": (0.5, "x"), "high": (0.01,)},
    "SSIMLoss3d": {"window": (4, 1, 35, 2.5), "sigma": (0.0,), "kind": ("box",)},
    "L1SSIMLoss3d": {"alpha": (3.0, "x"), "window": (4,), "data_range": (0.0,)},
    "HybridScore": {"window": (4,), "data_range": (-1.0,)},
    "TFCE3d": {"extent_power": (-1.0,), "height_power": (-1.0,), "connectivity": (5,)},
    "Median3d": {"size": (2, 7)},
}


@pytest.mark.parametrize("name", MODULES)
def test_bad_options_are_refused_when_the_module_is_made(name):
    for option, values in BAD_OPTIONS[name].items():
        for value in values:
            with pytest.raises(InputError):
                getattr(nn, name)(**{option: value})


@pytest.mark.parametrize("name", MODULES)
def test_options_are_checked_once(name, monkeypatch):
    kind, calls = getattr(nn, name), []
    forward = kind.forward
    monkeypatch.setattr(kind, "forward", lambda *given: calls.append(forward(*given)))
    kind(**MODULES[name][0])
    assert len(calls) == 1


def test_a_module_is_made_whatever_backend_is_set():
    with context.use(backend="reference"):
        module = nn.Canny3d()
    assert module(X).shape == X.shape
