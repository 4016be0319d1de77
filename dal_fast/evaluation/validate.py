"""Detectors side by side on a validation set: ours by every score, and what learned nothing.

    dal-fast validate SET [SET ...] --weights default --out results

Every map of a case is smoothed alike and compared with the lesions on the scan's own grid.
Per case: average precision and best Dice (:class:`dal_fast.ops.VoxelMetrics`). With thresholds
that one voxel in a thousand exceeds in the healthy cases of the same contrast (every second
subject): Dice, lesions found by size, and the false-positive rate of the other healthy subjects.
Per contrast: AUROC of axial slices by their highest value. Several sets are several draws.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev

import torch
from torch import Tensor

from dal_fast.evaluation.baselines import FLOORS, floors
from dal_fast.evaluation.calibration import healthy_quantile
from dal_fast.evaluation.cases import ValidationCase
from dal_fast.evaluation.statistics import auroc_of
from dal_fast.evaluation.tables import write_table
from dal_fast.imaging.nifti import read_volume
from dal_fast.ops import VoxelMetrics, components3d
from dal_fast.screening.model_input import load_case
from dal_fast.screening.postprocess import smooth
from dal_fast.screening.screener import Screener

SIZE_LIMITS_ML = (0.1, 1.0, 10.0)  # lesions below, between, and above
_NAN = math.nan


@dataclass(frozen=True)
class Row:
    """One detector on one case; what cannot be said is NaN.

    Attributes:
        draw: name of the set.
        case, contrast, sign, size, lesion_ml: as in ``cases.tsv``.
        method: a score of ours, or a floor.
        average_precision, best_dice: of the voxels inside the brain.
        dice: at the threshold from the healthy cases.
        false_positive_rate: share of the healthy voxels above it.
        lesions, found: 26-connected lesions, and those with a voxel above it.
    """

    draw: str
    case: str
    contrast: str
    sign: str
    size: str
    lesion_ml: float
    method: str
    average_precision: float = _NAN
    best_dice: float = _NAN
    dice: float = _NAN
    false_positive_rate: float = _NAN
    lesions: int = 0
    found: int = 0

    @property
    def synthetic(self) -> bool:
        """Whether lesions of a known sign were painted into it."""
        return self.sign not in ("healthy", "real")


@dataclass
class Validation:
    """Rows of one set, with what needs more than a case.

    Attributes:
        rows: a row a case and method.
        slices: (contrast, method) to highest values of axial slices, and whether they hold lesion.
        by_size: (contrast, method, size class) to lesions and those found.
        thresholds: (contrast, method) to the value that one healthy voxel in a thousand exceeds.
    """

    rows: list[Row] = field(default_factory=list)
    slices: dict[tuple[str, str], list[tuple[float, bool]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    by_size: dict[tuple[str, str, str], list[int]] = field(
        default_factory=lambda: defaultdict(lambda: [0, 0])
    )
    thresholds: dict[tuple[str, str], float] = field(default_factory=dict)

    def slice_auroc(self, contrast: str, method: str) -> float:
        """AUROC of axial slices that cross the brain; the positive class is "holds lesion"."""
        seen = self.slices[contrast, method]
        return auroc_of([score for score, _ in seen], [sick for _, sick in seen])


def validate(
    cases: list[ValidationCase],
    screener: Screener,
    draw: str,
    *,
    atlas: bool = True,
    methods: Collection[str] | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Validation:
    """Run every method over a set, the healthy cases first.

    Args:
        cases: of the set.
        screener: its runtime and median are used; every score is computed.
        draw: name of the set.
        atlas: also the floors that register an atlas.
        methods: names of the scores to compare, without floors; default all, and the floors.
        advance: called after every case.
    """
    result = Validation()
    chosen = set(sorted({case.subject for case in cases})[::2])
    calibrating = [c for c in cases if c.sign == "healthy" and c.subject in chosen]
    exceeded: dict[tuple[str, str], list[float]] = defaultdict(list)
    for case in calibrating:
        maps, brain, _ = _maps(case, screener, atlas, methods)
        for method, score in maps.items():
            exceeded[case.contrast, method].append(healthy_quantile(score[brain]))
        advance()
    result.thresholds = {key: fmean(values) for key, values in exceeded.items()}
    for case in (c for c in cases if c not in calibrating):
        maps, brain, lesion = _maps(case, screener, atlas, methods)
        for method, score in maps.items():
            result.rows.append(_row(result, case, draw, method, score, brain, lesion))
        advance()
    return result


def _maps(
    case: ValidationCase, screener: Screener, atlas: bool, methods: Collection[str] | None
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Smoothed maps on the scan's grid, brain, lesion; volumes ``(1, 1, I, J, K)``."""
    loaded = load_case(case.scan, case.brain or None)
    restored = screener.restore(loaded)
    pair = restored.pair
    scored = pair.scored(screener.healthy)
    raw = {"auto": scored.anomaly}
    raw |= {name: pair.named(name) for name in pair.names if methods is None or name in methods}
    if methods is None:
        image = restored.grid.to_model(loaded.volume.data)
        raw |= floors(image, pair.x, pair.view, restored.grid.affine, atlas)
    brain = torch.from_numpy(loaded.mask.data)[None, None]
    median, maps = screener.median_for(scored), {}
    for name, score in raw.items():
        on_scan = restored.grid.to_scan(smooth(score, pair.view, median))
        maps[name] = torch.from_numpy(on_scan)[None, None] * brain
    if not case.lesion:
        return maps, brain, torch.zeros_like(brain)
    lesion = torch.from_numpy(read_volume(case.lesion).data > 0)[None, None]
    return maps, brain, lesion & brain


def _row(
    result: Validation,
    case: ValidationCase,
    draw: str,
    method: str,
    score: Tensor,
    brain: Tensor,
    lesion: Tensor,
) -> Row:
    """One method's row; slices and lesions go to ``result``."""
    about = (draw, case.case, case.contrast, case.sign, case.size, case.lesion_ml, method)
    for z in brain.any(3).any(2)[0, 0].nonzero().flatten().tolist():
        sick = bool(lesion[..., z].any())
        result.slices[case.contrast, method].append((float(score[..., z].max()), sick))
    threshold = result.thresholds.get((case.contrast, method), _NAN)
    above = (score > threshold) & brain
    rate = float((above & ~lesion).sum() / (brain & ~lesion).sum())
    rate = rate if threshold == threshold else _NAN
    if not bool(lesion.any()):
        return Row(*about, false_positive_rate=rate)
    metrics = VoxelMetrics()
    metrics.update(score, lesion, brain)
    dice = 2 * float((above & lesion).sum()) / float(above.sum() + lesion.sum())
    lesions, found = _lesions(result, case, method, lesion, above)
    return Row(
        *about, metrics.average_precision(), metrics.best_dice().value,
        dice if threshold == threshold else _NAN, rate, lesions, found,
    )  # fmt: skip


def _lesions(
    result: Validation, case: ValidationCase, method: str, lesion: Tensor, above: Tensor
) -> tuple[int, int]:
    labels = components3d(lesion, 26)
    count = int(labels.max())
    sizes = torch.bincount(labels[lesion], minlength=count + 1)[1:]
    hits = torch.bincount(labels[lesion & above], minlength=count + 1)[1:] > 0
    ml = case.lesion_ml / max(1, int(sizes.sum()))
    for size, hit in zip(sizes.tolist(), hits.tolist(), strict=True):
        counts = result.by_size[case.contrast, method, size_class(size * ml)]
        counts[0] += 1
        counts[1] += hit
    return count, int(hits.sum())


def size_class(ml: float) -> str:
    """``"< 0.1 mL"``, ``"0.1 to 1 mL"``, ... by ``SIZE_LIMITS_ML``."""
    low, middle, high = SIZE_LIMITS_ML
    if ml < low:
        return f"< {low:g} mL"
    if ml >= high:
        return f">= {high:g} mL"
    return f"{low:g} to {middle:g} mL" if ml < middle else f"{middle:g} to {high:g} mL"


@dataclass(frozen=True)
class Comparison:
    """One stratum (contrast and sign): a method against the best floor, paired by case.

    ``difference`` is the mean over cases and ``spread`` its standard deviation; ``draws`` holds
    the mean difference of every set.
    """

    contrast: str
    sign: str
    n: int
    means: dict[str, float]
    method: str
    floor: str
    difference: float
    spread: float
    draws: dict[str, float]


def compare(rows: list[Row], method: str = "auto") -> Iterator[Comparison]:
    """Average precision by contrast and sign; the floor is the best of that stratum."""
    strata: dict[tuple[str, str], dict[str, dict[tuple[str, str], float]]] = {}
    for row in rows:
        if not math.isnan(row.average_precision):
            methods = strata.setdefault((row.contrast, row.sign), defaultdict(dict))
            methods[row.method][row.draw, row.case] = row.average_precision
    for (contrast, sign), methods in sorted(strata.items()):
        means = {name: fmean(values.values()) for name, values in methods.items()}
        floor = max((name for name in FLOORS if name in means), key=means.__getitem__)
        gains = {k: value - methods[floor][k] for k, value in methods[method].items()}
        draws: dict[str, list[float]] = defaultdict(list)
        for (draw, _), gain in gains.items():
            draws[draw].append(gain)
        spread = stdev(gains.values()) if len(gains) > 1 else _NAN
        yield Comparison(
            contrast, sign, len(gains), means, method, floor, fmean(gains.values()), spread,
            {draw: fmean(values) for draw, values in draws.items()},
        )  # fmt: skip


def write_rows(path: Path, rows: list[Row]) -> None:
    """All rows as CSV."""
    write_table(path, Row, rows, ",")
