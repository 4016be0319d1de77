"""Public docstrings say what an API page needs, and their examples run."""

import doctest
import inspect

import pytest
import torch

from dal_fast import context, nn, ops

OPS = {name: getattr(ops, name) for name in ops.__all__ if callable(getattr(ops, name))}
MODULES = {
    name: value
    for name, value in vars(nn).items()
    if inspect.isclass(value) and value.__module__ == nn.__name__ and name[0] != "_"
}


@pytest.mark.parametrize("name", [*OPS, *MODULES, "use"])
def test_examples_run(name):
    documented = {**OPS, **MODULES, "use": context.use}[name]
    (found,) = doctest.DocTestFinder(recurse=False).find(documented, name, globs={})
    assert found.examples
    torch.manual_seed(0)
    report = []
    runner = doctest.DocTestRunner(verbose=False)
    runner.run(found, out=report.append)
    assert not runner.failures, "".join(report)


@pytest.mark.parametrize("name", OPS)
def test_ops_say_shapes_errors_and_every_argument(name):
    text, function = inspect.getdoc(OPS[name]), OPS[name]
    assert "Args:" in text
    assert "Raises:" in text
    assert "InputError" in text
    shapes = "(N, " in text or (inspect.isclass(function) and "(N, " in function.update.__doc__)
    assert shapes
    for argument in inspect.signature(function).parameters:
        assert f"{argument}: " in text, argument


@pytest.mark.parametrize("name", MODULES)
def test_modules_say_shapes_and_every_option(name):
    text = inspect.getdoc(MODULES[name])
    assert "Shape:" in text
    for argument in inspect.signature(MODULES[name]).parameters:
        assert argument in text, argument
