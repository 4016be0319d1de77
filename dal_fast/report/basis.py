"""What a map rests on: contrast, sign, smoothing, and the bias field as a small picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dal_fast.report import colour
from dal_fast.report.html import card, pairs
from dal_fast.report.planes import AXIAL, Box, plane, sample
from dal_fast.report.png import data_uri
from dal_fast.screening.result import Image, Result

_WHITE = 2.0  # the bias that is drawn white; 1 is middle grey
_SOURCES = {
    "option": "as told",
    "file name": "by the file’s name",
    "header": "by the header",
    "intensities": "guessed by the intensities",
    "weights": "as the weights were trained for",
}


def basis_card(result: Result, box: Box, peak: NDArray[np.float64]) -> str:
    """A card of the page.

    Args:
        result: of the screening.
        box: of the brain.
        peak: world coordinates of the place that is shown.
    """
    used = result.parameters
    source = _SOURCES[used["contrast_from"]]
    clusters = str(used["score"]).startswith("enhanced")
    facts = {
        "contrast": f"{used['contrast']}, {source}",
        "lesions that are shown": used["sign"],
        "clusters enhanced (TFCE)": "yes" if clusters else "no",
    }
    picture = ""
    if result.bias is not None:
        low, high = _range(result.bias)
        facts["bias field"] = f"{low:.2f} to {high:.2f} of its mean in most of the brain"
        picture = _picture(result.bias, box, peak)
    beside = f'<div class="beside"><div>{pairs(facts)}</div><div>{picture}</div></div>'
    return card("What the map rests on", beside if picture else pairs(facts))


def _range(bias: Image) -> tuple[float, float]:
    """The 2nd and the 98th percentile inside the brain."""
    inside = bias.data[bias.data > 0]
    low, high = np.percentile(inside, [2, 98]) if inside.size else (1.0, 1.0)
    return float(low), float(high)


def _picture(bias: Image, box: Box, peak: NDArray[np.float64]) -> str:
    pixels = colour.grey(sample(bias, plane(AXIAL, peak, box)), colour.Window(_WHITE))
    height, width = pixels.shape[:2]
    return (
        f'<figure style="max-width:180px"><img src="{data_uri(pixels)}" '
        f'width="{width}" height="{height}" alt="bias field, axial"></figure>'
        f'<p class="notice">Bias field: middle grey is 1, white is {_WHITE:.0f}.</p>'
    )
