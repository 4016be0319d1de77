"""The page of a screened folder: every scan, the strangest first."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

from dal_fast.errors import Code
from dal_fast.report.html import NOTICE, card, document, fact

Failure = tuple[str, str, str]
"""File, code and message of a scan without a result."""


@dataclass(frozen=True)
class IndexEntry:
    """One finished scan. ``page`` and ``thumbnail`` are paths relative to the index.

    ``rank`` says where its score lies among those of healthy scans, where that is known.
    """

    name: str
    score: float
    volume_ml: float
    flags: Sequence[str]
    page: str
    thumbnail: str
    rank: str = ""


def index_page(title: str, entries: Sequence[IndexEntry], failures: Sequence[Failure]) -> str:
    """A table of scans by score, and of the scans that could not be screened.

    Args:
        title: name of the folder.
        entries: finished scans in any order.
        failures: of every scan without a result.
    """
    ranked = sorted(entries, key=lambda e: (-e.score, e.name))
    left_out = sum(code == Code.LEFT_OUT for _, code, _ in failures)
    facts = fact(str(len(ranked)), "scans screened") + fact(str(len(failures) - left_out), "failed")
    if left_out:
        facts += fact(str(left_out), "left out")
    body = [
        f'<header><h1>{escape(title)}</h1><p class="notice">{NOTICE}</p></header>',
        f'<section class="card"><div class="facts" style="margin-top:0">{facts}</div></section>',
    ]
    if ranked:
        body.append(card("Scans by anomaly score", _finished(ranked)))
    if failures:
        body.append(card("Scans without a result", failures_table(failures)))
    return document(f"{title}: anomaly screening", "\n".join(body))


def _finished(ranked: Sequence[IndexEntry]) -> str:
    top = max(entry.score for entry in ranked) or 1.0
    compared = any(entry.rank for entry in ranked)
    rows = "".join(_row(i, entry, top, compared) for i, entry in enumerate(ranked, 1))
    return (
        '<div class="wide"><table class="index"><thead><tr><th class="n">rank</th><th></th>'
        '<th>scan</th><th class="n">score</th><th></th>'
        + ('<th class="n">among healthy</th>' if compared else "")
        + '<th class="n">above threshold</th><th>quality flags</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _row(rank: int, entry: IndexEntry, top: float, compared: bool) -> str:
    flags = "".join(f'<span class="chip">{escape(f)}</span>' for f in entry.flags)
    marked = ' class="marked"' if entry.volume_ml > 0 else ""
    link = _link(entry.page)
    return (
        f'<tr><td class="n">{rank}</td><td><a href="{link}"><img loading="lazy" '
        f'src="{_link(entry.thumbnail)}" alt=""></a></td>'
        f'<td><a href="{link}">{escape(entry.name)}</a></td><td class="n">{entry.score:.3f}</td>'
        f'<td><div class="meter"><div{marked} style="width:{100 * entry.score / top:.1f}%">'
        "</div></div></td>"
        + (f'<td class="n">{escape(entry.rank)}</td>' if compared else "")
        + f'<td class="n">{entry.volume_ml:.1f} mL</td><td>{flags}</td></tr>'
    )


def _link(path: str) -> str:
    """A relative address, also of a name that is not UTF-8."""
    return quote(os.fsencode(path))


def failures_table(failures: Sequence[Failure]) -> str:
    """Files without a result, and why."""
    rows = "".join(
        f"<tr><td>{escape(file)}</td><td><code>{escape(code)}</code></td>"
        f"<td>{escape(message)}</td></tr>"
        for file, code, message in failures
    )
    return (
        "<table><thead><tr><th>file</th><th>code</th><th>why</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )
