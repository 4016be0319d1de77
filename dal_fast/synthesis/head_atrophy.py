"""Shrunken brains: a label map of a head whose brain has lost tissue to the fluid around it.

Few label maps are of old or ill people; of each a second one is made. The brain shrinks towards the
lowest point of its map, so that fluid fills what it leaves below the skull; sulci widen, and
ventricles grow. Not in the paper; the amounts are ours.
"""

from __future__ import annotations

import hashlib
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Generator

from dal_fast.extras import module_of_extra
from dal_fast.synthesis.fields import smooth_field

_FLUID, _OUTER = 24, 500  # labels: fluid around the brain; the first outside of the skull
_LOST = (2, 3, 8, 41, 42, 47)  # cortex and white matter of both halves, cerebellar cortex
_SHRUNK = (0.01, 0.05)  # share of every distance from the lowest point
_SULCI_MM = (0.5, 1.2)
_VENTRICLES_MM = (0.5, 4.0)
_HALVES = (((2,), (4,)), ((41,), (43,)))  # white matter beside a ventricle, and that ventricle
_PATCHES = 12  # control points of the field by which the loss varies


def atrophied(labels: NDArray[Any], name: str) -> NDArray[Any]:
    """A map with less brain and more fluid in the same head.

    Args:
        labels: ``(X, Y, Z)`` at 1 mm of FreeSurfer and, from 500 on, outside of the skull; axes
            right, anterior, superior.
        name: of the map; the same name loses the same.

    Raises:
        RuntimeUnavailable: ``extra-missing`` without SciPy.
    """
    ndimage = scipy_ndimage()
    seed = int.from_bytes(hashlib.sha256(f"{name} atrophied".encode()).digest()[:4])
    rng = Random(seed)
    result = _shrunk(labels, rng.uniform(*_SHRUNK))
    field = smooth_field(1, 1, labels.shape, _PATCHES, Generator().manual_seed(seed))[0, 0].numpy()
    away = ndimage.distance_transform_edt(result != _FLUID)
    lost = np.isin(result, _LOST) & (away <= rng.uniform(*_SULCI_MM) + 0.5 * field)
    reach = rng.uniform(*_VENTRICLES_MM)
    for white, ventricle in _HALVES:
        near = ndimage.distance_transform_edt(~np.isin(result, ventricle)) <= reach
        result[near & np.isin(result, white)] = ventricle[0]
    result[lost] = _FLUID
    return result


def scipy_ndimage() -> Any:
    """SciPy's module of images.

    Raises:
        RuntimeUnavailable: ``extra-missing``.
    """
    return module_of_extra(
        "scipy.ndimage",
        "preparing label maps of heads needs SciPy: pip install 'dal_fast[train]'",
    )


def _shrunk(labels: NDArray[Any], share: float) -> NDArray[Any]:
    """The brain drawn towards its lowest point; the rest of the head stays."""
    inner = (labels > 0) & (labels < _OUTER)
    places = np.argwhere(inner)
    low, high = places.min(0), places.max(0)
    anchor = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
    index = [
        np.clip(np.rint(a + (np.arange(n) - a) / (1 - share)), 0, n - 1).astype(int)
        for a, n in zip(anchor, labels.shape, strict=True)
    ]
    drawn = labels[np.ix_(*index)]
    kept = np.where((drawn > 0) & (drawn < _OUTER), drawn, _FLUID)
    result: NDArray[Any] = np.where(inner, kept, labels)
    return result
