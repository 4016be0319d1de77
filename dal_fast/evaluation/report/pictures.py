"""A small picture of an evaluated scan: its lesion, and each detector's map."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dal_fast.evaluation.ground_truth import GroundTruth
from dal_fast.report import colour, png
from dal_fast.report.planes import AXIAL, Plane, plane, sample, world_box
from dal_fast.screening.result import Image

_LESION = np.array([127, 214, 255], np.uint8)
_GAP = 4  # pixels
_THINNED = 7  # every which voxel the grey levels are taken from


def case_picture(
    truth: GroundTruth, maps: dict[str, Tensor], thresholds: dict[str, float]
) -> bytes:
    """A PNG: the axial slice with most lesion (without one, with most of the first map).

    From left to right the scan with the lesion's outline, then the scan under each detector's map,
    which is drawn from half of its threshold on and strongest at three times.

    Args:
        truth: scan and lesion.
        maps: as compared, by detector.
        thresholds: by detector.
    """
    brain = _image(truth.brain, truth)
    chosen = truth.lesion if bool(truth.lesion.any()) else next(iter(maps.values()))
    weight = chosen.float().sum([axis for axis in (2, 3, 4) if axis != truth.axial]).flatten()
    index = np.array(chosen.shape[:1:-1], np.float64) / 2  # I, J, K
    index[4 - truth.axial] = float(weight.argmax())
    at = brain.world(index[None])[0]
    here = plane(AXIAL, at, world_box(brain))
    inside = truth.scan.numpy()[truth.brain.numpy()][::_THINNED]
    grey = colour.grey(sample(_image(truth.scan, truth), here), colour.window_of(inside))
    panels = [_outlined(grey, _image(truth.lesion, truth), here)]
    for name, score in maps.items():
        values = sample(_image(score, truth), here)
        threshold = thresholds[name]
        panels.append(colour.overlay(grey, values, threshold, 3 * threshold))
    gap = np.full((grey.shape[0], _GAP, 3), 128, np.uint8)
    joined = [piece for panel in panels for piece in (panel, gap)][:-1]
    return png.encode(np.concatenate(joined, axis=1))


def _image(volume: Tensor, truth: GroundTruth) -> Image:
    return Image(volume[0, 0].numpy().T, truth.affine)


def _outlined(grey: NDArray[np.uint8], lesion: Image, here: Plane) -> NDArray[np.uint8]:
    """The grey picture in colour, with the outermost pixels of the lesion drawn over it."""
    inside = sample(Image(lesion.data.astype(np.float32), lesion.affine), here) >= 0.5
    outline = inside.copy()
    outline[1:-1, 1:-1] &= ~(
        inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    )
    pixels = np.repeat(grey[..., None], 3, axis=-1)
    pixels[outline] = _LESION
    return pixels
