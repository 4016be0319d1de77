"""Curves and groups as SVG, by matplotlib; readable on light and dark pages."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dal_fast.errors import Code, RuntimeUnavailable
from dal_fast.evaluation.evaluate import Judgement
from dal_fast.evaluation.protocols import Protocol
from dal_fast.evaluation.statistics import Group
from dal_fast.evaluation.sweep import SWEEP

COLOURS = ("#b8442c", "#2f6fb2", "#3c8f5a", "#9a6fb0", "#c58a1b", "#4d9fa8")
_GREY = "#808b98"
_POINTS = 600  # of a curve


def curves(found: Sequence[Judgement], protocol: Protocol) -> str:
    """ROC, precision and recall, and Dice by threshold (pooled, and mean over cases)."""
    shape, axes = figure(1, 4, 13.5, 3.4)
    for judgement, colour in zip(found, _cycle(len(found)), strict=True):
        pooled, own = judgement.counted(protocol), judgement.threshold
        roc, pr = pooled.roc(), pooled.precision_recall()
        axes[0].plot(*_thinned(roc.fpr, roc.tpr), color=colour, label=judgement.name)
        axes[1].plot(*_thinned(pr.recall, pr.precision), color=colour)
        dice = pooled.dice()
        axes[2].plot(*_thinned(dice.thresholds / abs(own or 1), dice.dice), color=colour)
        axes[3].plot(SWEEP / abs(own or 1), judgement.mean_dice, color=colour)
    label_axis(axes[0], "pooled ROC", "false-positive rate", "true-positive rate")
    label_axis(axes[1], "pooled precision and recall", "recall", "precision")
    label_axis(axes[2], "Dice, pooled", "threshold / its threshold", "Dice")
    label_axis(axes[3], "Dice, mean over cases", "threshold / its threshold", "Dice")
    for axis in axes[2:]:
        axis.set_xscale("log")
        axis.set_xlim(0.05, 20)
        axis.axvline(1, color=_GREY, linewidth=0.8, linestyle=":")
    for axis in axes:
        axis.set_ylim(0, 1)
    axes[0].legend(frameon=False, fontsize=8, labelcolor=_GREY)
    return svg(shape)


def group_plot(groups: Sequence[tuple[str, Sequence[Group]]], measure: str) -> str:
    """Means with 95 % intervals by factor and value; one colour a detector."""
    values = list(dict.fromkeys((g.factor, g.value) for _, own in groups for g in own))
    shape, (axis,) = figure(1, 1, 11, 0.9 + 0.3 * len(values))
    step = 0.6 / max(1, len(groups))
    for number, ((name, own), colour) in enumerate(zip(groups, _cycle(len(groups)), strict=True)):
        at = [values.index((g.factor, g.value)) + step * (number + 0.5) - 0.3 for g in own]
        centre = np.array([g.mean.value for g in own])
        ends = np.array([[g.mean.low, g.mean.high] for g in own]).reshape(-1, 2).T
        spans = np.abs(np.nan_to_num(ends - centre))
        axis.errorbar(centre, at, xerr=spans, fmt="o", color=colour, label=name, markersize=4)
    counts = {(g.factor, g.value): g.mean.n for _, own in groups for g in own}
    axis.set_yticks(range(len(values)), [f"{f}: {v}  (n={counts[f, v]})" for f, v in values])
    axis.invert_yaxis()
    label_axis(axis, "", measure.replace("_", " "), "")
    axis.legend(frameon=False, fontsize=8, labelcolor=_GREY)
    return svg(shape)


def _cycle(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]


def _thinned(x: torch.Tensor, y: torch.Tensor) -> tuple[NDArray[Any], NDArray[Any]]:
    """At most ``_POINTS`` points, even in both directions."""
    a, b = x.double().numpy(), np.nan_to_num(y.double().numpy())
    if len(a) <= _POINTS:
        return a, b
    way = np.cumsum(np.abs(np.diff(_unit(a), prepend=a[:1])) + np.abs(np.diff(b, prepend=b[:1])))
    way += np.linspace(0, max(way[-1], 1e-12), len(way))
    at = np.searchsorted(way, np.linspace(way[0], way[-1], _POINTS))
    keep = np.unique(np.minimum(at, len(a) - 1))
    return a[keep], b[keep]


def _unit(a: NDArray[Any]) -> NDArray[Any]:
    finite = a[np.isfinite(a)]
    span = float(np.ptp(finite)) if len(finite) else 0.0
    unit: NDArray[Any] = np.nan_to_num(a / span if span else a, posinf=0, neginf=0)
    return unit


def figure(rows: int, columns: int, width: float, height: float) -> tuple[Any, Any]:
    """A figure without background, inches, and its axes, flat.

    Raises:
        InputError: ``extra-missing`` without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RuntimeUnavailable(
            Code.EXTRA_MISSING, f"plots need pip install 'dal_fast[evaluate]' ({error})"
        ) from None
    made = Figure(figsize=(width, height), layout="constrained")
    made.patch.set_alpha(0)
    return made, made.subplots(rows, columns, squeeze=False).ravel()


def label_axis(axis: Any, title: str, x: str, y: str) -> None:
    """Titles, and the style of all plots."""
    axis.patch.set_alpha(0)
    axis.set_title(title, fontsize=9, color=_GREY)
    axis.set_xlabel(x, fontsize=8, color=_GREY)
    axis.set_ylabel(y, fontsize=8, color=_GREY)
    axis.tick_params(colors=_GREY, labelsize=8)
    axis.grid(alpha=0.25, color=_GREY, linewidth=0.5)
    for side, spine in axis.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_GREY)


def svg(shape: Any) -> str:
    """The figure as an ``<svg>`` element as wide as its place."""
    from matplotlib import rc_context

    out = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "dal_fast"}):
        shape.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    widest = (
        f'<svg style="width:100%;max-width:{96 * shape.get_size_inches()[0]:.0f}px;height:auto" '
    )
    return text[text.index("<svg") :].replace("<svg ", widest, 1)
