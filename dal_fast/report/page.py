"""The page of one scan: where it is strangest, in three planes, and everything that led there."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dal_fast.imaging.orientation import position_in_words
from dal_fast.imaging.text import counted
from dal_fast.report import colour
from dal_fast.report.advice import advice_card, mask_in_doubt
from dal_fast.report.basis import basis_card
from dal_fast.report.colour import Window
from dal_fast.report.html import NOTICE, card, document, fact, pairs
from dal_fast.report.outline import outlines, scan_window
from dal_fast.report.planes import (
    AXIAL,
    VIEWS,
    Box,
    Plane,
    View,
    plane,
    position,
    sample,
    world_box,
)
from dal_fast.report.png import data_uri
from dal_fast.screening.result import Image, Result
from dal_fast.screening.scan import ORIGINS

SCALE_TOP = 3.0  # the colour scale ends at this multiple of the threshold, the same on every page
_STRIP_SLICES = 12
_LISTED_REGIONS = 10


def scan_pictures(result: Result) -> tuple[str, NDArray[np.uint8]]:
    """The report of a scan, and a picture that stands for it in an overview.

    Args:
        result: of the screening.

    Returns:
        One HTML document without anything outside it, and the axial slice of the map's maximum,
        ``(H, W, 3)``.
    """
    box, peak = world_box(result.brain_mask), peak_of(result)
    window = scan_window(result.scan, result.brain_mask)
    thumbnail = _anomaly(result, plane(AXIAL, peak, box), window)[::2, ::2]
    panels = _panels(result, box, peak, window)
    where = card("Where the anomaly map is highest", panels, _regions(result, peak))
    slices = card("Axial slices, from inferior to superior", _strip(result, box, window))
    outline = _outline(result, window)
    doubtful = mask_in_doubt(result)
    cards = [
        _header(result),
        advice_card(result),
        *([outline, where, slices] if doubtful else [where, slices, outline]),
        basis_card(result, box, peak),
        _details(result),
    ]
    return document(f"{result.name}: anomaly report", "\n".join(cards)), thumbnail


def plane_pictures(result: Result) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """The scan, grey ``(H, W)``, and the anomaly map over it, ``(H, W, 3)``, in each view.

    Args:
        result: of the screening; the planes go through the map's maximum.
    """
    box, peak = world_box(result.brain_mask), peak_of(result)
    window = scan_window(result.scan, result.brain_mask)
    planes = [plane(view, peak, box) for view in VIEWS]
    return [
        (colour.grey(sample(result.scan, here), window), _anomaly(result, here, window))
        for here in planes
    ]


def peak_of(result: Result) -> NDArray[np.float64]:
    """World coordinates of the highest anomaly value; the brain's middle where there is none."""
    data = result.anomaly.data.T  # as it lies in memory
    place = np.unravel_index(int(np.argmax(data)), data.shape)
    if not data[place] > 0:
        box = world_box(result.brain_mask)
        return (box.low + box.high) / 2
    return result.anomaly.world(np.array(place[::-1]))


def _header(result: Result) -> str:
    brain_ml = result.brain["VolumeML"]
    facts = [
        fact(
            f"{result.score:.3f}",
            f"anomaly score; the threshold is {result.threshold:.3g}",
            "score" if result.score >= result.threshold else "",
        ),
        fact(
            f"{result.volume_ml:.1f} mL",
            f"above the threshold, {counted(len(result.regions), 'region')}",
        ),
        fact(f"{brain_ml:,.0f} mL", f"brain mask, {ORIGINS[result.brain['Source']]}"),
    ]
    flags = [
        f"<li><code>{escape(f.code)}</code>{escape(f.message)}</li>" for f in result.flags
    ] or ['<li class="fine">No quality flag was raised.</li>']
    return (
        f'<header><h1>{escape(result.name)}</h1>\n<p class="sub">{escape(result.source["path"])}'
        f'</p>\n<p class="notice">{NOTICE}</p></header>\n'
        f'<section class="card" style="margin-top:12px"><div class="facts" style="margin-top:0">'
        f'{"".join(facts)}</div>\n<ul class="flags">{"".join(flags)}</ul></section>'
    )


def _panels(result: Result, box: Box, peak: NDArray[np.float64], window: Window) -> str:
    cells: list[str] = []
    count = 0
    widest = max(plane(view, peak, box).shape[1] for view in VIEWS)
    for view in VIEWS:
        here = plane(view, peak, box)
        pictures = _pictures(result, here, window)
        if not cells:
            count = len(pictures)
            cells = [f'<div class="head">{name}</div>' for name in pictures]
        letters = _letters(view, result.side_known)
        cross = _cross(*position(view, peak, box))
        share = here.shape[1] / widest  # one scale, in mm, for all three views
        for name, pixels in pictures.items():
            cells.append(_figure(pixels, letters, f"{name}, {view.name}", cross, share))
    return f'<div class="panels of{count}">{"".join(cells)}</div>\n{_legend(result)}'


def _letters(view: View, side_known: bool) -> tuple[str, ...]:
    """What lies at the left, right, top and bottom edge of a view; R and L with doubt."""
    return tuple(
        f"{letter}?" if letter in "RL" and not side_known else letter for letter in view.letters
    )


def _pictures(result: Result, here: Plane, window: Window) -> dict[str, NDArray[np.uint8]]:
    """One plane of everything that the model made, by name."""
    pictures = {"Scan": colour.grey(sample(result.scan, here), window)}
    if result.tissue is not None:
        pictures["Tissue"] = colour.tissue(sample(result.tissue, here, "nearest"))
    if result.edges is not None:
        pictures["Edges"] = colour.grey(sample(result.edges, here, "nearest"), Window(1.0))
    pictures["Pseudo-healthy"] = colour.grey(sample(result.pseudo_healthy, here), window)
    pictures["Anomaly"] = _anomaly(result, here, window)
    return pictures


def _strip(result: Result, box: Box, window: Window) -> str:
    heights = np.linspace(*_bulk(result.brain_mask), _STRIP_SLICES)
    letters = _letters(AXIAL, result.side_known)
    cells = []
    for z in heights:
        pixels = _anomaly(result, plane(AXIAL, np.array([0.0, 0.0, z]), box), window)
        height = f"{abs(round(z))} mm {'S' if round(z) >= 0 else 'I'}"
        label = f'<i class="mm">{height}</i>'
        cells.append(_figure(pixels, letters, f"axial at {height}", label))
    return f'<div class="strip">{"".join(cells)}</div>'


def _bulk(brain: Image) -> tuple[float, float]:
    """Heights in mm between which most of the brain lies."""
    inside = np.flatnonzero(brain.data.T.reshape(-1)[::97]) * 97
    places = np.stack(np.unravel_index(inside, brain.data.shape[::-1])[::-1], axis=1)
    z = brain.world(places)[:, 2]
    low, high = np.percentile(z, [4, 97]) if len(z) else (0, 0)
    return float(low), float(high)


def _anomaly(result: Result, here: Plane, window: Window) -> NDArray[np.uint8]:
    background = colour.grey(sample(result.scan, here), window)
    values = sample(result.anomaly, here)
    return colour.overlay(background, values, result.threshold, SCALE_TOP * result.threshold)


def _figure(
    pixels: NDArray[np.uint8], letters: Sequence[str], text: str, extra: str, share: float = 1.0
) -> str:
    """A picture with the letters of its edges, ``share`` of the figure's width."""
    edges = "".join(
        f'<i class="{side}">{letter}</i>' for side, letter in zip("lrtb", letters, strict=True)
    )
    height, width = pixels.shape[:2]
    return (
        f'<figure><div class="frame" style="width:{share:.2%}">'
        f'<img src="{data_uri(pixels)}" width="{width}" height="{height}" alt="{escape(text)}">'
        f"{edges}{extra}</div></figure>"
    )


def _cross(x: float, y: float) -> str:
    """Four ticks at the edges that point at the maximum without covering it."""
    return (
        f'<s class="v" style="left:{x:.2%};top:0"></s><s class="v" style="left:{x:.2%};bottom:0">'
        f'</s><s class="h" style="top:{y:.2%};left:0"></s>'
        f'<s class="h" style="top:{y:.2%};right:0"></s>'
    )


def _legend(result: Result) -> str:
    threshold = result.threshold
    top = SCALE_TOP * threshold
    swatches = "".join(
        f'<span class="swatch" style="background:rgb({r} {g} {b})"></span>{name}'
        for name, (r, g, b) in zip(
            colour.TISSUE_NAMES, colour.TISSUE_COLOURS[1:].tolist(), strict=True
        )
    )
    tissues = f"<div>Tissue:{swatches}</div>" if result.tissue is not None else ""
    convention = (
        "Radiological convention: the patient’s right is on the left."
        if result.side_known
        else "Left and right may be swapped, see the quality flags."
    )
    mark = 100 / SCALE_TOP
    return (
        '<div class="legend"><div class="scale" role="img" aria-label="colour scale">'
        f'<div class="bar" style="background:linear-gradient(90deg, {colour.scale_stops()})"></div>'
        f'<u style="left:{mark:.2f}%"></u><em class="first" style="left:0">0</em>'
        f'<em style="left:{mark:.2f}%">threshold {threshold:.3g}</em>'
        f'<em class="last" style="left:100%">{top:.3g} and more</em></div>'
        f"{tissues}<div>{convention}</div></div>"
    )


def _outline(result: Result, window: Window) -> str:
    """The mask over the scan, where that shows more than the brain."""
    if result.brain["Source"] == "nonzero":
        return ""
    cells = [
        _figure(pixels, _letters(view, result.side_known), f"outline, {view.name}", "")
        for view, pixels in outlines(result.scan, result.brain_mask, window)
    ]
    title = f"Brain mask: {ORIGINS[result.brain['Source']]}"
    outline = f'<div class="outlines">{"".join(cells)}</div>'
    facts = pairs(_brain_facts(result.brain))
    return card(title, f'<div class="beside">{outline}<div>{facts}</div></div>')


def _brain_facts(brain: dict[str, Any]) -> list[tuple[str, str]]:
    """What is known of an extracted mask, in words."""
    if "Confidence" not in brain:
        return [("volume", f"{brain['VolumeML']:,.0f} mL")]
    return [
        ("volume", f"{brain['VolumeML']:,.0f} mL"),
        ("confidence", f"{brain['Confidence']:.2f} of 1"),
        ("Dice with the mask of the mirrored head", f"{brain['MirroredDice']:.3f}"),
        ("sharpness of the border", f"{brain['BorderSharpness']:.2f}"),
        ("sphericity", f"{brain['Sphericity']:.2f}"),
    ]


def _details(result: Result) -> str:
    cards = [
        card("Parameters", pairs(_parameters(result))),
        card("Source", pairs({**result.source, **_grid(result.scan)})),
    ]
    return f'<div class="columns">{"".join(cards)}</div>'


def _parameters(result: Result) -> dict[str, Any]:
    """The parameters, and what runs where: the device is that of the networks alone."""
    shown = dict(result.parameters)
    device = shown.pop("device", "cpu")
    return {**shown, "networks run on": device, "everything else runs on": "cpu"}


def _grid(scan: Image) -> dict[str, str]:
    spacing = np.linalg.norm(scan.affine[:3, :3], axis=0)
    return {
        "voxels": " × ".join(str(n) for n in scan.data.shape),
        "voxel size": " × ".join(f"{s:.3g}" for s in spacing) + " mm",
    }


def _regions(result: Result, peak: NDArray[np.float64]) -> str:
    """Where the map is highest, and the regions above the threshold by their peaks."""
    regions = result.regions
    where = f"The map is highest at {position_in_words(peak.tolist(), result.side_known)}."
    if not regions:
        return f"<p>{where} No region is above the threshold.</p>"
    rows = "".join(
        f'<tr><td class="n">{r.volume_ml:.2f}</td><td class="n">{r.peak:.3f}</td>'
        f"<td>{result.place_in_words(r)}</td></tr>"
        for r in regions[:_LISTED_REGIONS]
    )
    more = len(regions) - _LISTED_REGIONS
    rest = f'<p class="notice">and {more} more</p>' if more > 0 else ""
    return (
        f'<p>{where}</p><div class="wide regions"><table><thead><tr><th class="n">mL</th>'
        '<th class="n">peak</th>'
        "<th>where the peak is</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div>{rest}"
    )
