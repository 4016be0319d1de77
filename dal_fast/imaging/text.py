"""Names as text: on disk a name is bytes, of any encoding, and may hold control characters."""

from __future__ import annotations

import re
from collections.abc import Sequence

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def printable(text: str) -> str:
    """The text with ``\\xNN`` for every byte of a file name that is not UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def first_few(values: Sequence[str], most: int = 8) -> str:
    """Values beside each other, for a refusal; of many the first ones."""
    return ", ".join(values[:most]) + (", …" if len(values) > most else "")


def counted(number: int, noun: str) -> str:
    """A number and what it counts: ``1 scan``, ``2 scans``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def one_line(text: str) -> str:
    """Printable text with an escape (``\\n``, ``\\t``, ``\\x1b``) for each control character."""
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], printable(text))
