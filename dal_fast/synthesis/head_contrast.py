"""Mean intensity and texture of every class of a head map, for a drawn contrast.

Most draws follow T1w, T2w, FLAIR or proton density, loosely; the others are free. Fat is
bright or suppressed, contrast agent brightens vessels, mucosa and dura. Not in the paper.
"""

from __future__ import annotations

import math
from random import Random

import torch
from torch import Tensor

from dal_fast.synthesis.head_maps import CLASSES, COUNT, DEPTHS_MM, PATCHES, SOFT

_FLUIDS = ("ventricle", "sulcal_fluid", "outer_fluid")
_GREYS = ("grey", "cerebellar_grey", "thalamus", "striatum", "hippocampus")
_WHITES = ("white", "cerebellar_white", "stem", "pallidum", "cord", "optic_nerve")
_BRAIN = {*_FLUIDS, *_GREYS, *_WHITES}
_LIKE = {
    #        fluid grey  white fat  muscle skin bone marrow eye mucosa vessel dura
    "T1w": (0.18, 0.55, 0.80, 1.15, 0.42, 0.65, 0.06, 0.80, 0.20, 0.50, 0.45, 0.45),
    "T2w": (1.00, 0.50, 0.32, 0.75, 0.18, 0.45, 0.05, 0.50, 0.95, 0.80, 0.25, 0.30),
    "FLAIR": (0.10, 0.62, 0.45, 0.80, 0.35, 0.50, 0.05, 0.50, 0.12, 0.75, 0.25, 0.50),
    "PD": (0.80, 0.75, 0.62, 0.85, 0.50, 0.60, 0.08, 0.55, 0.80, 0.80, 0.30, 0.45),
}
_SHARES = {"T1w": 0.26, "T2w": 0.22, "FLAIR": 0.20, "PD": 0.04, "ordered": 0.16, "free": 0.12}
_SUPPRESSED = 0.4  # share of heads whose fat is dark
_AGENT = 0.15  # share of heads with a contrast agent
_DARKEST, _BRIGHTEST = 0.0, 1.6


def draw_contrast(rng: Random) -> tuple[Tensor, Tensor, list[str]]:
    """Mean and standard deviation of the intensity of each class, float32 ``(COUNT,)`` both.

    White matter of a usual contrast is about 0.3 to 0.8. The last are words for what was drawn.
    """
    kind = rng.choices(list(_SHARES), list(_SHARES.values()))[0]
    traits = [kind]
    values = _like(_LIKE[kind], rng, traits) if kind in _LIKE else _free(rng, kind == "ordered")
    if rng.random() < _AGENT:
        traits.append("contrast agent")
        for name in ("artery", "vein", "mucosa", "dura"):
            values[name] = max(values[name], rng.uniform(0.6, 1.5))
    texture = rng.uniform(0.01, 0.06)
    rough = rng.uniform(0.02, 0.25)
    means = [values[name] for name in CLASSES] + _soft(values, rng)
    spreads = [texture * (1.0 if name in _BRAIN else 2.0) for name in CLASSES]
    spreads += [rough * mean for mean in means[SOFT:]]
    for name in ("mucosa", "marrow", "bone", "skin"):
        number = CLASSES.index(name)
        spreads[number] = rough * means[number]
    spreads[0] = 0.0
    assert len(means) == COUNT
    clipped = torch.tensor(means).clamp(_DARKEST, _BRIGHTEST)
    return clipped, torch.tensor(spreads), traits


def _around(value: float, rng: Random, spread: float = 0.18) -> float:
    return value * math.exp(rng.gauss(0, spread)) + rng.gauss(0, 0.03)


def _like(row: tuple[float, ...], rng: Random, traits: list[str]) -> dict[str, float]:
    """Classes of a contrast that looks like a usual one."""
    fluid, grey, white, fat, muscle, skin, bone, marrow, eye, mucosa, vessel, dura = (
        _around(value, rng) for value in row
    )
    if rng.random() < _SUPPRESSED:
        traits.append("fat-suppressed")
        fat, marrow = fat * rng.uniform(0.1, 0.4), marrow * rng.uniform(0.1, 0.5)
    values = dict.fromkeys(_FLUIDS, fluid)
    values |= {name: _around(grey, rng, 0.06) for name in _GREYS}
    values |= {name: _around(white, rng, 0.06) for name in _WHITES}
    values |= {"outer_fluid": _around(fluid, rng, 0.1), "eye": eye, "eye_muscle": muscle}
    values |= {"bone": bone, "marrow": marrow, "skin": skin, "mucosa": mucosa, "dura": dura}
    values |= {"artery": _around(vessel, rng, 0.8), "vein": _around(vessel, rng, 0.6)}
    values |= {"fat": fat, "muscle": muscle, "air": 0.0}
    if rng.random() < 0.3:  # fluid is not seen to differ from the dura around it
        values["dura"] = values["outer_fluid"]
    return values


def _free(rng: Random, ordered: bool) -> dict[str, float]:
    """Classes of any contrast; the tissues of the brain alike within their group, or not at all.

    Args:
        rng: of all random numbers.
        ordered: grey and white matter differ little, and bone is dark, as in most sequences.
    """
    others = [name for name in CLASSES if name not in _BRAIN]
    values = {name: rng.uniform(0.0, 1.3) for name in [*others, "fat", "muscle"]}
    fluid, grey, white = (rng.uniform(0.05, 1.1) for _ in range(3))
    if ordered:
        grey = max(0.1, white * rng.uniform(0.6, 1.6))
        values["bone"] = rng.uniform(0.0, 0.2)
    loose = rng.choice((0.04, 0.1, 0.5))
    for names, level in ((_FLUIDS, fluid), (_GREYS, grey), (_WHITES, white)):
        values |= {name: abs(_around(level, rng, loose)) for name in names}
    values["air"] = 0.0
    return values


def _soft(values: dict[str, float], rng: Random) -> list[float]:
    """Means of soft tissue by depth and patch: fat under the skin, and muscle, mixed at random."""
    thickness = rng.uniform(0.0, 14.0)
    mixed = rng.choice((0.0, 0.15, 0.4))
    loose = rng.uniform(0.05, 0.4)
    means = []
    for depth in (*DEPTHS_MM, math.inf):
        for _ in range(PATCHES):
            fat = (depth <= thickness) != (rng.random() < mixed)
            means.append(abs(_around(values["fat" if fat else "muscle"], rng, loose)))
    return means
