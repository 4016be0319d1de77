"""The HTML report of an evaluation: one page, and a small picture a case beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from dal_fast.evaluation.measures import Row
from dal_fast.evaluation.plots import curves, group_plot
from dal_fast.evaluation.results import GROUPED, Results
from dal_fast.evaluation.statistics import Mean
from dal_fast.report.html import NOTICE, card, document, fact, pairs

SHOWN = 6  # best and worst cases
PICTURES = "cases"  # folder of them, beside the page
_TOTALS = {
    "average_precision": "AP, voxels pooled, brain",
    "average_precision_volume": "AP, voxels pooled, whole volume",
    "best_pooled_dice": "best Dice, voxels pooled (oracle)",
    "best_mean_dice": "best mean Dice of one threshold (oracle)",
    "auroc": "AUROC, voxels pooled, brain",
    "scan_auroc": "AUROC of scans by their score",
    "slice_auroc": "AUROC of slices",
    "slice_average_precision": "AP of slices, positive: lesion",
    "slice_auprc_normal": "AUPRC of slices, positive: normal",
    "lesion_sensitivity": "lesions found",
    "slice_sensitivity": "lesion slices found",
}
_MEANS = {
    "average_precision": "AP, mean over cases, brain",
    "average_precision_volume": "AP, mean over cases, whole volume",
    "best_dice": "best Dice of each case (oracle)",
    "dice": "Dice at the threshold",
    "false_positive_rate": "false-positive rate at the threshold",
    "false_regions": "false regions a scan",
    "marked_ml": "marked, mL",
}


def evaluation_page(
    results: Results, about: Mapping[str, Any], title: str, pictures: bool = True
) -> str:
    """Everything that a reader compares, on one page.

    Args:
        results: summed up.
        about: what was judged.
        title: of the page.
        pictures: whether there is a picture of every case beside the page.
    """
    protocol, found = results.protocol, results.found
    body = [
        f'<header><h1>{escape(title)}</h1><p class="sub">protocol {escape(protocol.name)}</p>'
        f'<p class="notice">{NOTICE}</p></header>',
        f'<section class="card"><div class="facts" style="margin-top:0">{_facts(results)}</div>'
        "</section>",
        card("Detectors", _summary(results)),
        card("Curves", curves(found, protocol)),
    ]
    if results.paired:
        body.append(card("Paired by case", _paired(results)))
    for measure in GROUPED:
        own = [(one.name, results.groups[one.name, measure]) for one in found]
        if any(groups for _, groups in own):
            body.append(card(f"{_MEANS[measure]}, by what is known", group_plot(own, measure)))
    body += [
        card("Worst and best cases", _extremes(results, pictures)),
        card("Cases", _cases(results, pictures)),
        card("What was judged", pairs({**about, "protocol": protocol.name})),
    ]
    return document(f"{title}: evaluation", "\n".join(body))


def _facts(results: Results) -> str:
    first = results.found[0]
    people = len({str(row["participant"]) for row in first.rows})
    return (
        fact(str(len(first.rows)), "scans judged")
        + fact(str(first.sick), "with lesions")
        + fact(str(people), "participants")
        + fact(str(len(results.found)), "detectors")
    )


def _summary(results: Results) -> str:
    names = [one.name for one in results.found]
    head = "".join(f'<th class="n">{escape(name)}</th>' for name in names)
    protocol = results.protocol
    pooled = "average_precision_volume" if protocol.whole_volume else "average_precision"
    lines = []
    for measure, label in _TOTALS.items():
        cells = [_number(results.totals[name][measure]) for name in names]
        if measure == pooled:
            cells = [c + _between(results.intervals[n]) for c, n in zip(cells, names, strict=True)]
        lines.append(_line(label, cells, measure in protocol.headline))
    for measure, label in _MEANS.items():
        cells = [_mean(results.means[name][measure]) for name in names]
        name = f"mean_{measure}" if measure in _TOTALS else measure  # a total has the plain name
        own = {name, f"mean_{measure}"} & {*protocol.headline}
        lines.append(_line(label, cells, bool(own)))
    thresholds = [next(iter(one.thresholds.items())) for one in results.found]
    lines.append(_line("threshold", [f"{v:.4g} ({k})" for k, v in thresholds], False))
    return (
        f'<div class="wide"><table><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
        '<p class="notice">Bold: what the protocol\'s authors report. Brackets: 95 % interval over '
        "participants (bootstrap). An oracle chooses its threshold on the very cases.</p>"
    )


def _line(label: str, cells: Sequence[str], bold: bool) -> str:
    mark = "b" if bold else "span"
    values = "".join(f'<td class="n"><{mark}>{escape(cell)}</{mark}></td>' for cell in cells)
    return f"<tr><th><{mark}>{escape(label)}</{mark}></th>{values}</tr>"


def _paired(results: Results) -> str:
    rows = "".join(
        f"<tr><td>{escape(p.first)} less {escape(p.second)}</td>"
        f"<td>{escape(_MEANS[p.measure])}</td>"
        f'<td class="n">{_mean(p.difference, signed=True)}</td>'
        f'<td class="n">{_number(p.p)}</td><td class="n">{p.difference.participants}</td></tr>'
        for p in results.paired
    )
    return (
        '<div class="wide"><table><thead><tr><th>detectors</th><th>measure</th>'
        '<th class="n">mean difference</th><th class="n">p, Wilcoxon signed-rank</th>'
        f'<th class="n">participants</th></tr></thead><tbody>{rows}</tbody></table></div>'
        '<p class="notice">p is not corrected for the number of comparisons.</p>'
    )


def _extremes(results: Results, pictures: bool) -> str:
    """The cases of the first detector with the lowest and highest AP."""
    first = results.found[0]
    known = [row for row in first.rows if not math.isnan(float(row["average_precision"]))]
    ranked = sorted(known, key=lambda row: float(row["average_precision"]))
    worst, best = ranked[:SHOWN], ranked[SHOWN:][-SHOWN:][::-1]
    order = ", ".join(["lesion", *(one.name for one in results.found)])
    return (
        f'<p class="notice">By the AP of {escape(first.name)}. From left to right: '
        f"{escape(order)}.</p>"
        f"<h2>Worst</h2>{_gallery(worst, pictures)}<h2>Best</h2>{_gallery(best, pictures)}"
    )


def _gallery(rows: Sequence[Row], pictures: bool) -> str:
    style = "width:100%;border-radius:6px"
    items = "".join(
        f"<div>{_picture(row, style) if pictures else ''}"
        f'<br><span class="notice">{escape(str(row["case"]))}: '
        f"AP {_number(float(row['average_precision']))}, "
        f"{float(row['lesion_ml']):.1f} mL</span></div>"
        for row in rows
    )
    return (
        '<div style="display:grid;gap:12px;'
        f'grid-template-columns:repeat(auto-fill,minmax(380px,1fr))">{items}</div>'
    )


def _cases(results: Results, pictures: bool) -> str:
    names = [one.name for one in results.found]
    head = "".join(
        f'<th class="n">AP {escape(name)}</th><th class="n">Dice {escape(name)}</th>'
        for name in names
    )
    lines = []
    for rows in zip(*(one.rows for one in results.found), strict=True):
        cells = "".join(
            f'<td class="n">{_number(float(row["average_precision"]))}</td>'
            f'<td class="n">{_number(float(row["dice"]))}</td>'
            for row in rows
        )
        row = rows[0]
        small = _picture(row, "height:64px;border-radius:4px") if pictures else ""
        lines.append(
            f"<tr><td>{small}</td><td>{escape(str(row['case']))}</td>"
            f'<td class="n">{float(row["lesion_ml"]):.2f}</td>{cells}</tr>'
        )
    return (
        '<div class="wide"><table><thead><tr><th></th><th>case</th><th class="n">lesion, mL</th>'
        f"{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _picture(row: Row, style: str) -> str:
    name = str(row["case"])
    return (
        f'<img loading="lazy" style="{style}" src="{quote(f"{PICTURES}/{name}.png")}" '
        f'alt="{escape(name)}">'
    )


def _mean(mean: Mean, signed: bool = False) -> str:
    if math.isnan(mean.value):
        return "–"
    sign = "+" if signed and mean.value >= 0 else ""
    return f"{sign}{_number(mean.value)}{_between((mean.low, mean.high))}"


def _between(ends: tuple[float, float]) -> str:
    low, high = ends
    return "" if math.isnan(low) else f" [{_number(low)}, {_number(high)}]"


def _number(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.3f}" if abs(value) >= 0.01 or value == 0 else f"{value:.2g}"
