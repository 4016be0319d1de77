"""The few pieces of HTML that both pages are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files
from typing import Any

import dal_fast

NOTICE = "Research software. Not a medical device."


def document(title: str, body: str) -> str:
    """A whole page: no script, no address outside the page."""
    style = files("dal_fast.report").joinpath("style.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body><main>\n{body}\n<footer>{NOTICE} Made by dal_fast {dal_fast.__version__}."
        "</footer>\n</main></body>\n</html>\n"
    )


def card(title: str, *content: str) -> str:
    inner = "\n".join(content)
    return f'<section class="card"><h2>{escape(title)}</h2>\n{inner}\n</section>'


def pairs(rows: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> str:
    """A table of names and values."""
    items = rows.items() if isinstance(rows, Mapping) else rows
    lines = (f"<tr><th>{escape(str(k))}</th><td>{escape(_text(v))}</td></tr>" for k, v in items)
    return f"<table>{''.join(lines)}</table>"


def fact(value: str, label: str, kind: str = "") -> str:
    return f'<div class="fact {kind}"><b>{escape(value)}</b><span>{escape(label)}</span></div>'


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if value is None:
        return "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(v) for v in value)
    return str(value)
