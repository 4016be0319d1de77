"""Every code is raised as the class that it stands for, and a test names it."""

import ast
import pickle
import re
from pathlib import Path

import pytest

import dal_fast
from dal_fast import errors
from dal_fast.errors import Code, DalFastError, InputError, error_of

PACKAGE = Path(dal_fast.__file__).parent
TESTS = Path(__file__).parent
CLASSES = {
    kind.__name__: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, DalFastError)
}


def trees(root):
    for path in sorted(root.rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def members(node):
    """Members of Code that occur below a node."""
    return {
        inner.attr
        for inner in ast.walk(node)
        if isinstance(inner, ast.Attribute)
        and isinstance(inner.value, ast.Name)
        and inner.value.id == "Code"
        and not inner.attr.startswith("__")
    }


def errors_made():
    """Where an error is made: file and line, the class's name, the node of its code."""
    for path, tree in trees(PACKAGE):
        for node in ast.walk(tree):
            name = getattr(getattr(node, "func", None), "id", None)
            if isinstance(node, ast.Call) and name in CLASSES and node.args:
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}", name, node.args[0]


def named_by_the_package():
    """Members of Code that the package names, as a member or by the code itself."""
    values = {str(code): code.name for code in Code}
    names = set()
    for path, tree in trees(PACKAGE):
        if path.name != "errors.py":
            names |= members(tree)
    return names | {
        values[code.value]
        for _, _, code in errors_made()
        if isinstance(code, ast.Constant) and code.value in values
    }


def test_every_error_is_of_the_class_of_its_code():
    wrong = [
        f"{where}: {name}(Code.{member})"
        for where, name, code in errors_made()
        for member in members(code)
        if error_of(Code[member], "").__class__ is not CLASSES[name]
    ]
    assert wrong == []


def test_no_code_is_a_string():
    texts = [
        f"{where}: {code.value!r}"
        for where, _, code in errors_made()
        if isinstance(code, ast.Constant)
    ]
    assert texts == []


def test_every_member_that_is_named_exists():
    unknown = [
        f"{path.relative_to(root)}: Code.{member}"
        for root in (PACKAGE, TESTS)
        for path, tree in trees(root)
        for member in members(tree)
        if member not in Code.__members__
    ]
    assert unknown == []


def test_every_code_is_raised_by_the_package():
    assert sorted(set(Code.__members__) - named_by_the_package()) == []


def test_every_code_is_named_by_a_test():
    text = "".join(
        path.read_text(encoding="utf-8")
        for path in sorted(TESTS.rglob("*.py"))
        if path != Path(__file__)
    )
    without = [
        code.name
        for code in Code
        if not re.search(rf"[\"'\[]{code}[\"'\]]|Code\.{code.name}\b", text)
    ]
    assert without == []


@pytest.mark.parametrize("code", Code)
def test_a_code_survives_another_process(code):
    error = pickle.loads(pickle.dumps(error_of(code, "why")))
    assert (type(error), error.code, error.message) == (type(error_of(code, "")), code, "why")
    assert isinstance(error, DalFastError)
    assert isinstance(error, ValueError)
    assert str(error) == "why"
    assert code.explanation.endswith(".")
    assert code == code.value == str(code)


def test_an_unknown_code_is_a_fault_of_the_program():
    with pytest.raises(ValueError, match="not a valid Code"):
        InputError("no-such-code", "why")
