"""Docstrings are written as Sphinx reads them; the site renders Markdown.

``:func:`dal_fast.ops.ssim3d` `` becomes code, ``::`` before an indented block a colon, and a table drawn with
``====`` a block of text.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:py:)?(?:func|class|meth|attr|data|mod|exc):`~?([^`]+)`")
_BLOCK = re.compile(r"::(\n\n {4})")
_TABLE = re.compile(r"^=+ +=.*\n(?:.*\n)*?=+ +=.*$(?:\n(?:.+\n)*?=+ +=.*$)?", re.MULTILINE)


def as_markdown(text: str) -> str:
    """A docstring in Markdown."""
    text = _BLOCK.sub(r":\1", _ROLE.sub(r"`\1`", text))
    return _TABLE.sub(lambda table: f"```text\n{table[0].replace('``', '')}\n```", text)


class Sphinx(griffe.Extension):
    """Turns every docstring into Markdown before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)
