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
from dal_fast.evaluation.report.plots import COLOURS, figure, label_axis, svg
from dal_fast.report.html import NOTICE, card, document, fact, pairs

_INFORMED = {"scan": "scan", "pseudo_healthy": "φ", "twin": "φ of the twin without lesion"}


def leak_table(leaks: Sequence[Leak]) -> Table:
    """Medians over scans by path and contrast."""
    table = Table("path", "contrast", "scans", "kept", *(f"I, {n}" for n in _INFORMED.values()),
                  title="what phi keeps of a lesion, medians")  # fmt: skip
    for (path, contrast), group in _grouped(leaks).items():
        shares = [f"{median(getattr(leak, name) for leak in group):.3f}" for name in _INFORMED]
        kept = f"{median(leak.kept for leak in group):+.3f}"
        table.add_row(path, contrast, str(len(group)), kept, *shares)
    return table


def shift_table(moved: Shift) -> Table:
    """How far the modality vector moves."""
    title = "modality vector: from the scan's to phi's, in distances between contrasts"
    table = Table("mean", "largest", "own contrast nearest", title=title)
    table.add_row(f"{moved.mean:.3f}", f"{moved.largest:.3f}", f"{moved.own:.0%}")
    return table


def print_checks(leaks: Sequence[Leak], moved: Shift) -> None:
    """Print both."""
    console = Console()
    console.print(leak_table(leaks))
    console.print(shift_table(moved))


def checks_page(
    title: str,
    agreements: Sequence[dict[tuple[str, str], Tensor]],
    tissues: Sequence[str],
    leaks: Sequence[Leak],
    vectors: list[Vectors],
    moved: Shift,
    about: dict[str, Any],
) -> str:
    """All three checks on one page.

    Args:
        title: of the page.
        agreements: one a brain, by pair of contrasts, Dice ``(K,)``.
        tissues: names of them.
        leaks: of :func:`dal_fast.evaluation.checks.leaks`.
        vectors: before and after restoration.
        moved: their shift.
        about: weights, data, seed.
    """
    dice = torch.stack([value for of_brain in agreements for value in of_brain.values()]).mean(0)
    facts = (
        "".join(fact(f"{v:.3f}", f"Dice, {t}") for t, v in zip(tissues, dice.tolist(), strict=True))
        + fact(f"{median(leak.kept for leak in leaks):+.2f}", "of a lesion's contrast kept, median")
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
                card("3. Modality vectors before and after", _vector_plot(vectors)),
                card("What was checked", pairs(about)),
            ]
        ),
    )


def _agreement(agreements: Sequence[dict[tuple[str, str], Tensor]], tissues: Sequence[str]) -> str:
    rows = []
    for pair in agreements[0]:
        mean = torch.stack([of_brain[pair] for of_brain in agreements]).mean(0).tolist()
        cells = (f"{t} {v:.3f}" for t, v in zip(tissues, mean, strict=True))
        rows.append((" – ".join(pair), ", ".join(cells)))
    return pairs(rows) + '<p class="notice">Dice, mean over brains; 1 where they are the same.</p>'


def _leak_plot(leaks: Sequence[Leak]) -> str:
    groups = _grouped(leaks)
    drawing, (kept, information) = figure(1, 2, 12, 0.8 + 0.42 * len(groups))
    for row, group in enumerate(groups.values()):
        values = [leak.kept for leak in group]
        kept.plot(values, [row] * len(group), "o", alpha=0.5, color=COLOURS[0])
        kept.plot(median(values), row, "|", markersize=18, color=COLOURS[0])
        for number, name in enumerate(_INFORMED):
            values = [getattr(leak, name) for leak in group]
            at = [row + 0.22 * (number - 1)] * len(values)
            colour = COLOURS[number]
            label = _INFORMED[name] if row == 0 else None
            information.plot(values, at, "o", markersize=4, alpha=0.6, color=colour, label=label)
            information.plot(fmean(values), at[0], "|", markersize=12, color=colour)
    for axis in (kept, information):
        axis.set_yticks(range(len(groups)), [" ".join(key) for key in groups])
        axis.invert_yaxis()
    kept.axvline(0, color="#808b98", linewidth=0.8)
    label_axis(kept, "share of the lesion's contrast that φ keeps", "", "")
    label_axis(information, "I(intensity; lesion) / H(lesion)", "", "")
    information.legend(frameon=False, fontsize=8, labelcolor="#808b98")
    return svg(drawing)


def _vector_plot(vectors: list[Vectors]) -> str:
    before, after, share = principal_axes(vectors)
    drawing, (axis,) = figure(1, 1, 7, 4.2)
    for number, name in enumerate(dict.fromkeys(v.contrast for v in vectors)):
        members = [i for i, v in enumerate(vectors) if v.contrast == name]
        colour = COLOURS[number]
        axis.plot(*before[members].T, "o", color=colour, label=f"{name}, scan", markersize=5)
        axis.plot(*after[members].T, "o", markerfacecolor="none", color=colour, label=f"{name}, φ")
        for i in members:
            axis.plot(*zip(before[i], after[i], strict=True), color=colour, linewidth=0.7)
    label_axis(axis, f"two principal axes, {share:.0%} of the variance", "first", "second")
    axis.legend(frameon=False, fontsize=8, labelcolor="#808b98")
    return svg(drawing)


def _grouped(leaks: Sequence[Leak]) -> dict[tuple[str, str], list[Leak]]:
    groups: dict[tuple[str, str], list[Leak]] = {}
    for leak in leaks:
        groups.setdefault((leak.path, leak.contrast), []).append(leak)
    return groups
