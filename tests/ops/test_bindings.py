"""The compiled functions take keywords alone, and the stub says which."""

import ast
import re
from pathlib import Path

import pytest

import dal_fast
from dal_fast import context

_C = context._C
STUB = ast.parse((Path(dal_fast.__file__).parent / "_C.pyi").read_text())
CLASSES = {node.name: node for node in STUB.body if isinstance(node, ast.ClassDef)}
OTHERS = {"Chain", "ChainError"}  # of csrc/bind_screen.h: tests/screening/test_compiled.py
STRUCTS = [
    name
    for name, node in CLASSES.items()
    if name not in OTHERS
    and any(isinstance(f, ast.FunctionDef) and f.name == "__init__" for f in node.body)
]


def keywords(function):
    """Names of a stub function's keyword-only arguments; it may have no others."""
    assert [a.arg for a in function.args.args] == ["self"]
    return [a.arg for a in function.args.kwonlyargs]


def functions(name):
    return {f.name: keywords(f) for f in CLASSES[name].body if isinstance(f, ast.FunctionDef)}


EVERY = functions("Kernels") | functions("CpuKernels")


def test_the_stub_lists_what_there_is():
    assert {name for name in dir(_C.cpu) if not name.startswith("_")} == set(EVERY)
    assert {name for name in dir(_C) if name[0].isupper()} == set(STRUCTS) | OTHERS
    assert len(STRUCTS) == 13


@pytest.mark.parametrize("name", EVERY)
def test_functions_take_the_stubs_keywords_alone(name):
    function = getattr(_C.cpu, name)
    signature = re.match(rf"{name}\(\*, (.*)\) ->", function.__doc__)
    assert re.findall(r"(?:^|, )(\w+): ", signature[1]) == EVERY[name]
    with pytest.raises(TypeError):
        function(*(0,) * len(EVERY[name]))


@pytest.mark.parametrize("name", STRUCTS)
def test_structs_are_built_from_exactly_their_keywords(name):
    struct, given = getattr(_C, name), dict.fromkeys(functions(name)["__init__"], 0)
    struct(**given)
    with pytest.raises(TypeError, match="unknown"):
        struct(**given, other=0)
    for missing in given:
        with pytest.raises(TypeError, match=missing):
            struct(**{k: v for k, v in given.items() if k != missing})
    with pytest.raises(TypeError):
        struct(*given.values())


def test_a_number_that_is_no_integer_is_refused():
    with pytest.raises(RuntimeError, match="cast"):
        _C.OnehotShape(batch=1, classes=3, voxels=0.5)


@pytest.mark.skipif(not hasattr(_C, "cuda"), reason="built without CUDA")
def test_the_gpu_has_the_same_functions():
    assert set(functions("Kernels")) <= set(dir(_C.cuda))
    for name, names in functions("Kernels").items():
        signature = re.match(rf"{name}\(\*, (.*)\) ->", getattr(_C.cuda, name).__doc__)
        assert re.findall(r"(?:^|, )(\w+): ", signature[1]) == names
