"""Docstrings cross-refer as Sphinx does (``:func:`dal_fast.ops.ssim3d```); the site renders Markdown."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:py:)?(?:func|class|meth|attr|data|mod|exc):`~?([^`]+)`")


class Roles(griffe.Extension):
    """Turns every role into code."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = _ROLE.sub(r"`\1`", obj.docstring.value)
