"""From values to pixels: grey scans, tissue colours, edges, anomaly overlays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

# outside, CSF, grey matter, white matter
TISSUE_COLOURS = np.array([[0, 0, 0], [47, 111, 178], [126, 134, 148], [236, 231, 220]], np.uint8)
TISSUE_NAMES = ("CSF", "grey matter", "white matter")

# perceptually ordered, dark violet → red → orange → pale yellow; readable to the colour-blind
_STOPS = np.array(
    [[74, 12, 107], [137, 34, 106], [190, 55, 82], [228, 90, 49], [249, 142, 9], [249, 203, 53],
     [252, 255, 164]], np.float64,
)  # fmt: skip
_OPAQUE = 0.85  # of the overlay at its strongest


class Window(NamedTuple):
    """The values that are drawn white and black."""

    white: float
    black: float = 0.0


def window_of(inside: NDArray[Any]) -> Window:
    """From black to white for the intensities of a brain.

    White is the 99.5th percentile. Black is 0, or the 0.5th percentile where that is negative, as
    in a standardised scan.
    """
    if not inside.size:
        return Window(1.0)
    black, white = np.percentile(inside, [0.5, 99.5])
    return Window(float(white), min(0.0, float(black)))


def grey(values: NDArray[Any], window: Window) -> Pixels:
    """Grey levels: ``(H, W)``."""
    span = max(window.white - window.black, 1e-12)
    scaled = np.clip((np.nan_to_num(values) - window.black) / span, 0, 1)
    pixels: Pixels = (scaled * 255 + 0.5).astype(np.uint8)
    return pixels


def tissue(labels: NDArray[Any]) -> Pixels:
    """Tissue labels 0 to 3 in colour: ``(H, W, 3)``."""
    return TISSUE_COLOURS[labels.astype(np.int64)]


def heat(fraction: NDArray[Any]) -> NDArray[np.float64]:
    """The anomaly scale: 0 to 1 into RGB 0 to 255, ``(…, 3)``."""
    place = np.clip(fraction, 0, 1) * (len(_STOPS) - 1)
    return np.stack(
        [np.interp(place, np.arange(len(_STOPS)), _STOPS[:, c]) for c in range(3)], axis=-1
    )


def overlay(background: Pixels, values: NDArray[Any], threshold: float, top: float) -> Pixels:
    """Anomaly ``values`` over a grey ``background``: ``(H, W, 3)``.

    Nothing is drawn below half the threshold; from there to the threshold the colour fades in.
    """
    alpha = _OPAQUE * np.clip(2 * values / max(threshold, 1e-12) - 1, 0, 1)
    pixels = np.repeat(background[..., None], 3, axis=-1)
    drawn = alpha > 0
    share = alpha[drawn][:, None]
    mixed = (1 - share) * pixels[drawn] + share * heat(values[drawn] / max(top, 1e-12))
    pixels[drawn] = (mixed + 0.5).astype(np.uint8)
    return pixels


def scale_stops() -> str:
    """The anomaly scale as the stops of a CSS gradient."""
    last = len(_STOPS) - 1
    return ", ".join(
        f"rgb({r:.0f} {g:.0f} {b:.0f}) {100 * i / last:.1f}%" for i, (r, g, b) in enumerate(_STOPS)
    )
