"""Docstrings are written as Sphinx reads them; the site renders Markdown.

A role such as ``:func:`` becomes code, ``::`` before an indented block a colon, a table drawn with
``====`` a block of text, an indented definition a definition, and ``low, high: of it`` an entry for
each name.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:py:)?(?:func|class|meth|attr|data|mod|exc):`~?([^`]+)`")
_BLOCK = re.compile(r"::(\n\n {4})")
_DEFINITION = re.compile(r"^(``.+)\n {4}(?=\S)", re.MULTILINE)
_NAMES = re.compile(r"^( {4})(\w+(?:, \w+)+):((?: .*)(?:\n {8}.*)*)", re.MULTILINE)
_TABLE = re.compile(r"^=+ +=.*\n(?:.*\n)*?=+ +=.*$(?:\n(?:.+\n)*?=+ +=.*$)?", re.MULTILINE)


def as_markdown(text: str) -> str:
    """A docstring in Markdown."""
    text = _BLOCK.sub(r":\1", _ROLE.sub(r"`\1`", text))
    text = _DEFINITION.sub(r"\1\n:   ", _NAMES.sub(_one_each, text))
    return _TABLE.sub(lambda table: f"```text\n{table[0].replace('``', '')}\n```", text)


def _one_each(entry: re.Match[str]) -> str:
    indent, names, meaning = entry.groups()
    return "\n".join(f"{indent}{name}:{meaning}" for name in names.split(", "))


class Sphinx(griffe.Extension):
    """Turns every docstring into Markdown before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)
