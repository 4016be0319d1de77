"""The checks of the method for a reader: tables on a terminal, and a page with plots."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from dal_fast.evaluation.checks import Leak, Shift, Vectors, principal_axes
from dal_fast.evaluation.plots import COLOURS, figure, label_axis, svg
from dal_fast.report.html import NOTICE, card, document, fact, pairs

_INFORMED = {"scan": "scan", "pseudo_healthy": "φ", "twin": "φ of the twin without lesion"}


def leak_table(leaks: Sequence[Leak]) -> Table:
    """Medians over scans by path and contrast."""
    table = Table("path", "contrast", "scans", "kept", *(f"I, {n}" for n in _INFORMED.values()),
                  title="what phi keeps of a lesion, medians")  # fmt: skip
    for (path, contrast), own in _grouped(leaks).items():
        known = [f"{median(getattr(one, name) for one in own):.3f}" for name in _INFORMED]
        table.add_row(path, contrast, str(len(own)), f"{median(o.kept for o in own):+.3f}", *known)
    return table


def shift_table(moved: Shift) -> Table:
    """How far the modality vector moves."""
    title = "modality vector: from the scan's to phi's, in distances between contrasts"
    table = Table("mean", "largest", "own contrast nearest", title=title)
    table.add_row(f"{moved.mean:.3f}", f"{moved.largest:.3f}", f"{moved.own:.0%}")
    return table


def show(leaks: Sequence[Leak], moved: Shift) -> None:
    """Print both."""
    console = Console()
    console.print(leak_table(leaks))
    console.print(shift_table(moved))


def checks_page(
    title: str,
    agreements: Sequence[dict[tuple[str, str], Tensor]],
    tissues: Sequence[str],
    leaks: Sequence[Leak],
    found: list[Vectors],
    moved: Shift,
    about: dict[str, Any],
) -> str:
    """All three checks on one page.

    Args:
        title: of the page.
        agreements: one a brain, by pair of contrasts, Dice ``(K,)``.
        tissues: names of them.
        leaks: of :func:`dal_fast.evaluation.checks.leaks`.
        found: vectors before and after.
        moved: their shift.
        about: weights, data, seed.
    """
    dice = torch.stack([value for one in agreements for value in one.values()]).mean(0)
    facts = (
        "".join(fact(f"{v:.3f}", f"Dice, {t}") for t, v in zip(tissues, dice.tolist(), strict=True))
        + fact(f"{median(one.kept for one in leaks):+.2f}", "of a lesion's contrast kept, median")
        + fact(f"{moved.mean:.2f}", "shift of v, mean")
    )
    return document(
        title,
        "\n".join(
            [
                f'<header><h1>{title}</h1><p class="notice">{NOTICE}</p></header>',
                f'<section class="card"><div class="facts" style="margin-top:0">{facts}</div>'
                "</section>",
                card("1. Tissue maps of one brain's contrasts", _agreement(agreements, tissues)),
                card("2. What the pseudo-healthy image knows of the lesion", _leak_plot(leaks)),
                card("3. Modality vectors before and after", _vector_plot(found)),
                card("What was checked", pairs(about)),
            ]
        ),
    )


def _agreement(agreements: Sequence[dict[tuple[str, str], Tensor]], tissues: Sequence[str]) -> str:
    rows = []
    for pair in agreements[0]:
        mean = torch.stack([one[pair] for one in agreements]).mean(0).tolist()
        cells = (f"{t} {v:.3f}" for t, v in zip(tissues, mean, strict=True))
        rows.append((" – ".join(pair), ", ".join(cells)))
    return pairs(rows) + '<p class="notice">Dice, mean over brains; 1 where they are the same.</p>'


def _leak_plot(leaks: Sequence[Leak]) -> str:
    groups = _grouped(leaks)
    shape, (kept, told) = figure(1, 2, 12, 0.8 + 0.42 * len(groups))
    for row, own in enumerate(groups.values()):
        kept.plot([o.kept for o in own], [row] * len(own), "o", alpha=0.5, color=COLOURS[0])
        kept.plot(median(o.kept for o in own), row, "|", markersize=18, color=COLOURS[0])
        for number, name in enumerate(_INFORMED):
            values = [getattr(o, name) for o in own]
            at = [row + 0.22 * (number - 1)] * len(values)
            colour = COLOURS[number]
            label = _INFORMED[name] if row == 0 else None
            told.plot(values, at, "o", markersize=4, alpha=0.6, color=colour, label=label)
            told.plot(fmean(values), at[0], "|", markersize=12, color=colour)
    for axis in (kept, told):
        axis.set_yticks(range(len(groups)), [" ".join(key) for key in groups])
        axis.invert_yaxis()
    kept.axvline(0, color="#808b98", linewidth=0.8)
    label_axis(kept, "share of the lesion's contrast that φ keeps", "", "")
    label_axis(told, "I(intensity; lesion) / H(lesion)", "", "")
    told.legend(frameon=False, fontsize=8, labelcolor="#808b98")
    return svg(shape)


def _vector_plot(found: list[Vectors]) -> str:
    before, after, share = principal_axes(found)
    shape, (axis,) = figure(1, 1, 7, 4.2)
    for number, name in enumerate(dict.fromkeys(v.contrast for v in found)):
        own = [i for i, v in enumerate(found) if v.contrast == name]
        colour = COLOURS[number]
        axis.plot(*before[own].T, "o", color=colour, label=f"{name}, scan", markersize=5)
        axis.plot(*after[own].T, "o", markerfacecolor="none", color=colour, label=f"{name}, φ")
        for i in own:
            axis.plot(*zip(before[i], after[i], strict=True), color=colour, linewidth=0.7)
    label_axis(axis, f"two principal axes, {share:.0%} of the variance", "first", "second")
    axis.legend(frameon=False, fontsize=8, labelcolor="#808b98")
    return svg(shape)


def _grouped(leaks: Sequence[Leak]) -> dict[tuple[str, str], list[Leak]]:
    groups: dict[tuple[str, str], list[Leak]] = {}
    for one in leaks:
        groups.setdefault((one.path, one.contrast), []).append(one)
    return groups
