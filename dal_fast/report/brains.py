"""The page of a folder of brain masks: every outline, the least certain first."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

from dal_fast.errors import Code
from dal_fast.report.html import NOTICE, card, document, fact
from dal_fast.report.index import Failure, failures_table


@dataclass(frozen=True)
class BrainEntry:
    """One scan with a brain mask.

    Attributes:
        name: path of the scan below its folder, without extension.
        volume_ml: of the brain.
        confidence: 0 to 1; ``None`` where nothing was extracted by dal_fast.
        origin: where the mask comes from, in words.
        flags: codes of the quality flags.
        picture: path of the outline's picture, relative to the page.
    """

    name: str
    volume_ml: float
    confidence: float | None
    origin: str
    flags: Sequence[str]
    picture: str


def brains_page(title: str, entries: Sequence[BrainEntry], failures: Sequence[Failure]) -> str:
    """A picture of every brain's outline, flagged and uncertain ones first, and what failed.

    Args:
        title: name of the folder.
        entries: in any order.
        failures: of every scan without a mask.
    """
    ranked = sorted(entries, key=lambda e: (not e.flags, _confidence(e), e.name))
    left_out = sum(code == Code.LEFT_OUT for _, code, _ in failures)
    facts = fact(str(len(ranked)), "brains") + fact(str(len(failures) - left_out), "failed")
    body = [
        f'<header><h1>{escape(title)}</h1><p class="notice">{NOTICE}</p></header>',
        f'<section class="card"><div class="facts" style="margin-top:0">{facts}</div></section>',
    ]
    if ranked:
        pictures = "".join(_figure(entry) for entry in ranked)
        body.append(card("Outlines of the brain masks", f'<div class="brains">{pictures}</div>'))
    if failures:
        body.append(card("Scans without a mask", failures_table(failures)))
    return document(f"{title}: brain masks", "\n".join(body))


def _confidence(entry: BrainEntry) -> float:
    return 1.0 if entry.confidence is None else entry.confidence


def _figure(entry: BrainEntry) -> str:
    sure = "" if entry.confidence is None else f", confidence {entry.confidence:.2f}"
    flags = "".join(f'<span class="chip">{escape(flag)}</span>' for flag in entry.flags)
    return (
        f'<div><img loading="lazy" src="{quote(os.fsencode(entry.picture))}" '
        f'alt="outline of {escape(entry.name)}"><p><b>{escape(entry.name)}</b><br>'
        f"{entry.volume_ml:,.0f} mL, {escape(entry.origin)}{sure} {flags}</p></div>"
    )
