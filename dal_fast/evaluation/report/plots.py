"""Curves and groups as SVG, by matplotlib; readable on light and dark pages."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dal_fast.cache import writable_folder
from dal_fast.errors import Code, RuntimeUnavailable
from dal_fast.evaluation.compare import DetectorResults
from dal_fast.evaluation.protocols import Protocol
from dal_fast.evaluation.statistics import Group
from dal_fast.evaluation.sweep import SWEEP

COLOURS = ("#b8442c", "#2f6fb2", "#3c8f5a", "#9a6fb0", "#c58a1b", "#4d9fa8")
_GREY = "#808b98"
_FOLDER = "MPLCONFIGDIR"
_POINTS = 600  # of a curve


def curves(detectors: Sequence[DetectorResults], protocol: Protocol) -> str:
    """ROC, precision and recall, and Dice by threshold (pooled, and mean over cases)."""
    drawing, axes = figure(1, 4, 13.5, 3.4)
    lines: list[Any] = []
    for detector, colour in zip(detectors, _cycle(len(detectors)), strict=True):
        pooled, unit = detector.counted(protocol), abs(detector.threshold) or 1
        roc, pr = pooled.roc(), pooled.precision_recall()
        lines += axes[0].plot(*_thinned(roc.fpr, roc.tpr), color=colour)
        axes[1].plot(*_thinned(pr.recall, pr.precision), color=colour)
        dice = pooled.dice()
        axes[2].plot(*_thinned(dice.thresholds / unit, dice.dice), color=colour)
        axes[3].plot(SWEEP / unit, detector.mean_dice, color=colour)
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
    _legend(axes[0], lines, [detector.name for detector in detectors])
    return svg(drawing)


def group_plot(groups: Sequence[tuple[str, Sequence[Group]]], measure: str) -> str:
    """Means with 95 % intervals by factor and value; one colour a detector."""
    values = list(dict.fromkeys((g.factor, g.value) for _, of in groups for g in of))
    drawing, (axis,) = figure(1, 1, 11, 0.9 + 0.3 * len(values))
    step = 0.6 / max(1, len(groups))
    marks: list[Any] = []
    for number, ((_, of), colour) in enumerate(zip(groups, _cycle(len(groups)), strict=True)):
        at = [values.index((g.factor, g.value)) + step * (number + 0.5) - 0.3 for g in of]
        centre = np.array([g.mean.value for g in of])
        ends = np.array([[g.mean.low, g.mean.high] for g in of]).reshape(-1, 2).T
        spans = np.abs(np.nan_to_num(ends - centre))
        marks.append(axis.errorbar(centre, at, xerr=spans, fmt="o", color=colour, markersize=4))
    counts = {(g.factor, g.value): g.mean.n for _, of in groups for g in of}
    ticks = [_plain(f"{f}: {v}  (n={counts[f, v]})") for f, v in values]
    axis.set_yticks(range(len(values)), ticks)
    axis.invert_yaxis()
    label_axis(axis, "", measure.replace("_", " "), "")
    _legend(axis, marks, [name for name, _ in groups])
    return svg(drawing)


def _legend(axis: Any, handles: Sequence[Any], names: Sequence[str]) -> None:
    """A legend of names that begin with an underscore, too."""
    labels = [_plain(name) for name in names]
    axis.legend(handles, labels, frameon=False, fontsize=8, labelcolor=_GREY)


def _plain(text: str) -> str:
    """A text in which matplotlib sees no formula."""
    return text.replace("$", r"\$")


def _cycle(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]


def _thinned(x: torch.Tensor, y: torch.Tensor) -> tuple[NDArray[Any], NDArray[Any]]:
    """At most ``_POINTS`` points, even in both directions."""
    a, b = x.double().numpy(), np.nan_to_num(y.double().numpy())
    if len(a) <= _POINTS:
        return a, b
    length = np.cumsum(np.abs(np.diff(_unit(a), prepend=a[:1])) + np.abs(np.diff(b, prepend=b[:1])))
    length += np.linspace(0, max(length[-1], 1e-12), len(length))
    at = np.searchsorted(length, np.linspace(length[0], length[-1], _POINTS))
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
        RuntimeUnavailable: ``extra-missing`` without matplotlib.
    """
    try:
        with _own_configuration():
            from matplotlib.figure import Figure
    except ImportError as error:
        raise RuntimeUnavailable(
            Code.EXTRA_MISSING, f"plots need pip install 'dal_fast[evaluate]' ({error})"
        ) from None
    drawing = Figure(figsize=(width, height), layout="constrained")
    drawing.patch.set_alpha(0)
    return drawing, drawing.subplots(rows, columns, squeeze=False).ravel()


@contextlib.contextmanager
def _own_configuration() -> Iterator[None]:
    """What matplotlib writes when it is first imported, a list of fonts, goes into our cache.

    It is left alone where it was imported before, or where MPLCONFIGDIR says where to write.
    """
    if "matplotlib" in sys.modules or _FOLDER in os.environ:
        yield
        return
    os.environ[_FOLDER] = str(writable_folder("matplotlib"))
    try:
        import matplotlib.font_manager  # noqa: F401 - it writes now, and remembers the folder

        yield
    finally:
        del os.environ[_FOLDER]


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


def svg(drawing: Any) -> str:
    """The figure as an ``<svg>`` element as wide as its place."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    out, canvas = io.StringIO(), FigureCanvasSVG(drawing)
    write: Any = canvas.print_svg  # not savefig, which draws once more, for the layout
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "dal_fast"}):
        write(out, metadata={"Date": None})
    text = out.getvalue()
    widest = (
        f'<svg style="width:100%;max-width:{96 * drawing.get_size_inches()[0]:.0f}px;height:auto" '
    )
    return text[text.index("<svg") :].replace("<svg ", widest, 1)
