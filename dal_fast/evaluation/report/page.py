"""The HTML report of an evaluation: one page, and a small picture a case beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from dal_fast.evaluation.case_metrics import CaseMetrics
from dal_fast.evaluation.compare import DetectorResults
from dal_fast.evaluation.report.plots import curves, group_plot
from dal_fast.evaluation.report.results import GROUPED, Summary
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
    "slice_auroc": "AUROC of slices, by their sum",
    "slice_peak_auroc": "AUROC of the brain's slices, by their highest value",
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
    summary: Summary, about: Mapping[str, Any], title: str, pictures: bool = True
) -> str:
    """Everything that a reader compares, on one page.

    Args:
        summary: of at least one case.
        about: what was evaluated: dataset, folders, rules.
        title: of the page.
        pictures: whether there is a picture of every case beside the page.
    """
    protocol, detectors = summary.comparison.protocol, summary.comparison.detectors
    body = [
        f'<header><h1>{escape(title)}</h1><p class="sub">protocol {escape(protocol.name)}</p>'
        f'<p class="notice">{NOTICE}</p></header>',
        f'<section class="card"><div class="facts" style="margin-top:0">{_facts(summary)}</div>'
        "</section>",
        card("Detectors", _totals(summary)),
        card("Curves", curves(detectors, protocol)),
    ]
    if summary.failures:
        body.insert(2, card("Cases that could not be evaluated", _failures(summary)))
    if summary.paired:
        body.append(card("Paired by case", _paired(summary)))
    for measure in GROUPED:
        by_detector = [(d.name, summary.groups[d.name, measure]) for d in detectors]
        if any(groups for _, groups in by_detector):
            plot = group_plot(by_detector, measure)
            body.append(card(f"{_MEANS[measure]}, by what is known of the cases", plot))
    body += [
        card("Worst and best cases", _extremes(detectors, pictures)),
        card("Cases", _cases(detectors, pictures)),
        card("What was evaluated", pairs({**about, "protocol": protocol.name})),
    ]
    return document(f"{title}: evaluation", "\n".join(body))


def _facts(summary: Summary) -> str:
    first = summary.comparison.detectors[0]
    participants = len({case.participant for case in first.cases})
    failed = len({name for name, _, _ in summary.failures})
    return (
        fact(str(len(first.cases)), "scans evaluated")
        + fact(str(first.with_lesion), "with lesions")
        + fact(str(participants), "participants")
        + fact(str(len(summary.comparison.detectors)), "detectors")
        + (fact(str(failed), "scans failed") if failed else "")
    )


def _failures(summary: Summary) -> str:
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(code)}</td><td>{escape(message)}</td></tr>"
        for name, code, message in summary.failures
    )
    return (
        '<div class="wide"><table><thead><tr><th>case</th><th>code</th><th>reason</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _totals(summary: Summary) -> str:
    detectors, protocol = summary.comparison.detectors, summary.comparison.protocol
    names = [detector.name for detector in detectors]
    head = "".join(f'<th class="n">{escape(name)}</th>' for name in names)
    pooled = "average_precision_volume" if protocol.whole_volume else "average_precision"
    lines = []
    for measure, label in _TOTALS.items():
        cells = [_number(summary.totals[name][measure]) for name in names]
        if measure == pooled:
            intervals = (_between(summary.intervals[name]) for name in names)
            cells = [cell + ends for cell, ends in zip(cells, intervals, strict=True)]
        lines.append(_line(label, cells, measure in protocol.headline))
    for measure, label in _MEANS.items():
        cells = [_mean(summary.means[name][measure]) for name in names]
        name = f"mean_{measure}" if measure in _TOTALS else measure  # a total has the plain name
        bold = bool({name, f"mean_{measure}"} & {*protocol.headline})
        lines.append(_line(label, cells, bold))
    thresholds = [next(iter(detector.thresholds.items())) for detector in detectors]
    lines.append(_line("threshold", [f"{v:.4g} ({k})" for k, v in thresholds], False))
    return (
        f'<div class="wide"><table><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
        '<p class="notice">Bold: what the protocol\'s authors report. Brackets: 95 % interval over '
        "participants (bootstrap). An oracle chooses its threshold on the evaluated cases "
        "themselves.</p>"
    )


def _line(label: str, cells: Sequence[str], bold: bool) -> str:
    mark = "b" if bold else "span"
    values = "".join(f'<td class="n"><{mark}>{escape(cell)}</{mark}></td>' for cell in cells)
    return f"<tr><th><{mark}>{escape(label)}</{mark}></th>{values}</tr>"


def _paired(summary: Summary) -> str:
    rows = "".join(
        f"<tr><td>{escape(p.first)} less {escape(p.second)}</td>"
        f"<td>{escape(_MEANS[p.measure])}</td>"
        f'<td class="n">{_mean(p.difference, signed=True)}</td>'
        f'<td class="n">{_number(p.p)}</td><td class="n">{p.difference.participants}</td></tr>'
        for p in summary.paired
    )
    return (
        '<div class="wide"><table><thead><tr><th>detectors</th><th>measure</th>'
        '<th class="n">mean difference</th><th class="n">p, Wilcoxon signed-rank</th>'
        f'<th class="n">participants</th></tr></thead><tbody>{rows}</tbody></table></div>'
        '<p class="notice">p is not corrected for the number of comparisons.</p>'
    )


def _extremes(detectors: Sequence[DetectorResults], pictures: bool) -> str:
    """The cases of the first detector with the lowest and highest AP."""
    first = detectors[0]
    known = [case for case in first.cases if not math.isnan(case.values["average_precision"])]
    ranked = sorted(known, key=lambda case: case.values["average_precision"])
    worst, best = ranked[:SHOWN], ranked[SHOWN:][-SHOWN:][::-1]
    order = ", ".join(["lesion", *(detector.name for detector in detectors)])
    return (
        f'<p class="notice">By the AP of {escape(first.name)}. From left to right: '
        f"{escape(order)}.</p>"
        f"<h2>Worst</h2>{_gallery(worst, pictures)}"
        + (f"<h2>Best</h2>{_gallery(best, pictures)}" if best else "")
    )


def _gallery(cases: Sequence[CaseMetrics], pictures: bool) -> str:
    style = "width:100%;border-radius:6px"
    items = "".join(
        f"<div>{_picture(case, style) if pictures else ''}"
        f'<br><span class="notice">{escape(case.case)}: '
        f"AP {_number(case.values['average_precision'])}, "
        f"{case.values['lesion_ml']:.1f} mL</span></div>"
        for case in cases
    )
    return (
        '<div style="display:grid;gap:12px;'
        f'grid-template-columns:repeat(auto-fill,minmax(380px,1fr))">{items}</div>'
    )


def _cases(detectors: Sequence[DetectorResults], pictures: bool) -> str:
    head = "".join(
        f'<th class="n">AP {escape(d.name)}</th><th class="n">Dice {escape(d.name)}</th>'
        for d in detectors
    )
    lines = []
    for of_detectors in zip(*(detector.cases for detector in detectors), strict=True):
        cells = "".join(
            f'<td class="n">{_number(case.values["average_precision"])}</td>'
            f'<td class="n">{_number(case.values["dice"])}</td>'
            for case in of_detectors
        )
        case = of_detectors[0]
        picture = _picture(case, "height:64px;border-radius:4px") if pictures else ""
        lines.append(
            f"<tr><td>{picture}</td><td>{escape(case.case)}</td>"
            f'<td class="n">{case.values["lesion_ml"]:.2f}</td>{cells}</tr>'
        )
    return (
        '<div class="wide"><table><thead><tr><th></th><th>case</th><th class="n">lesion, mL</th>'
        f"{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _picture(case: CaseMetrics, style: str) -> str:
    return (
        f'<img loading="lazy" style="{style}" src="{quote(f"{PICTURES}/{case.case}.png")}" '
        f'alt="{escape(case.case)}">'
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
