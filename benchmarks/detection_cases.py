"""The cases of :mod:`benchmarks.detection`: each is drawn, screened and forgotten.

Held-out brains, with lesions of both signs and three ranges of volume by each generator of
:mod:`dal_fast.evaluation.validation_samples`, in T1w (real) and T2w- and FLAIR-like contrast; and
the same brains without lesions and with decoys. Beside the default score stand the plain
detectors, which learned nothing: ``intensity`` and ``dark_intensity``
(:mod:`dal_fast.evaluation.baselines`), and ``two_sided``, the distance from the brain's median;
each without smoothing and under medians of 3³ and 5³.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor

from benchmarks.acquisition import screened, voxel_metrics
from benchmarks.rows import Detector, append_rows
from dal_fast.evaluation.baselines import baseline_maps
from dal_fast.evaluation.case_metrics import components_overlapped, size_class
from dal_fast.evaluation.validation_samples import (
    DECOY,
    GENERATORS,
    HEALTHY,
    SIGNS,
    VOXEL_ML,
    Plan,
    draw,
)
from dal_fast.ops import remove_small
from dal_fast.screening.calibration import BRIGHT, DARK
from dal_fast.screening.postprocess import MEDIAN_SIZES, MIN_REGION_ML, smooth
from dal_fast.synthesis.brains import SCANS, Brain

SIZES = ("medium", "big", "huge")
"""Drawn by the generators that draw a size; as many cases of given masks are drawn."""
SCORE_OF = {"bright": BRIGHT, "dark": DARK}
FLOORS = ("intensity", "dark_intensity", "two_sided")
LEAST_VOXELS = math.ceil(MIN_REGION_ML / VOXEL_ML)


@dataclass(frozen=True)
class Row:
    """One case.

    Attributes:
        weights: SHA-256 of the weight file.
        case: unique name.
        generator, subject, seed, contrast, sign: how it was drawn.
        ml: volume of its lesions in the field of view.
        above: share of the voxels outside of lesions above the threshold, percent.
        false_regions: marked regions of 0.1 mL and more that touch no lesion.
        shown: sign of the map, ``"bright"``, ``"dark"`` or ``"both"``.
        auto: average precision of the default score; NaN without a lesion, as all that follow.
        told: the same, with the sign known.
        floors: average precision of each of ``FLOORS`` under each median, ``"intensity 3"``.
        dice: of the marked regions.
        lesions: by :func:`~dal_fast.evaluation.case_metrics.size_class`, number of lesions, and of
            those that a marked region overlaps.
        decoys: AUROC of the decoys against the rest of the brain; NaN without decoys.
    """

    weights: str
    case: str
    generator: str
    subject: str
    seed: int
    contrast: str
    sign: str
    ml: float
    above: float
    false_regions: int
    shown: str
    auto: float = math.nan
    told: float = math.nan
    floors: dict[str, float] = field(default_factory=dict)
    dice: float = math.nan
    lesions: dict[str, list[int]] = field(default_factory=dict)
    decoys: float = math.nan


@dataclass(frozen=True)
class Job:
    """A case to draw: of the brain of this number, with this seed."""

    brain: int
    seed: int
    plan: Plan

    def name(self, subject: str) -> str:
        """Unique name of the case."""
        p = self.plan
        return f"{subject}_{p.generator}-{p.contrast}-{p.sign}-{p.number}_seed-{self.seed}"


def plans(generator: str, subject: int) -> list[Plan]:
    """All cases of a generator for the subject of this number."""
    kinds = [(HEALTHY, ""), *((sign, size) for sign in SIGNS for size in SIZES)]
    if generator == "masks":  # healthy, they are those of ``shifted``; sizes are the masks' own
        kinds = [(sign, "") for sign in SIGNS for _ in SIZES]
    if generator == "shifted":
        kinds.append((DECOY, ""))
    cases = [(contrast, *kind) for contrast in SCANS for kind in kinds]
    first = len(cases) * subject
    return [Plan(generator, *case, first + n) for n, case in enumerate(cases)]


def jobs(brains: int, seeds: Sequence[int]) -> list[Job]:
    """Every case, seed by seed."""
    return [
        Job(brain, seed, plan)
        for seed in seeds
        for brain in range(brains)
        for generator in GENERATORS
        for plan in plans(generator, brain)
    ]


def measure(detector: Detector, brain: Brain, job: Job, masks: Sequence[Tensor]) -> Row:
    """Draw one case, screen it, and forget it."""
    plan = job.plan
    sample = draw(brain, plan, masks, job.seed)
    out, view = screened(sample, detector.model)
    found = out.anomaly_map(detector.calibration, contrast=plan.contrast)
    above, lesion = found.data >= 1, sample.lesion & view
    marked = remove_small(above & view, LEAST_VOXELS)
    healthy = view & ~sample.lesion
    measures: dict[str, float | dict[str, float] | dict[str, list[int]]] = {}
    if plan.sign == DECOY and sample.decoy is not None and bool((sample.decoy & view).any()):
        measures["decoys"] = voxel_metrics(found.data, sample.decoy, view).auroc()
    if plan.sign in SIGNS and bool(lesion.any()):
        told = out.anomaly_map(detector.calibration, SCORE_OF[plan.sign], plan.contrast)
        measures = {
            "auto": voxel_metrics(found.data, lesion, view).average_precision(),
            "told": voxel_metrics(told.data, lesion, view).average_precision(),
            "floors": dict(_floors(sample.image, lesion, view)),
            "dice": 2 * int((marked & lesion).sum()) / int(marked.sum() + lesion.sum()),
            "lesions": _lesions(lesion, marked),
        }
    return Row(
        weights=detector.digest,
        case=job.name(brain.name),
        generator=plan.generator,
        subject=brain.name,
        seed=job.seed,
        contrast=plan.contrast,
        sign=plan.sign,
        ml=round(int(lesion.sum()) * VOXEL_ML, 3),
        above=100 * float((above & healthy).sum() / healthy.sum()),
        false_regions=int((~components_overlapped(marked, sample.lesion)[1]).sum()),
        shown=found.sign,
        **measures,  # type: ignore[arg-type]
    )


def _floors(image: Tensor, lesion: Tensor, view: Tensor) -> Iterator[tuple[str, float]]:
    maps = baseline_maps(image, image, view, np.eye(4), atlas=False)
    maps["two_sided"] = (maps["intensity"] - 1).abs() * view
    for name in FLOORS:
        for median in MEDIAN_SIZES:
            smoothed = smooth(maps[name], view, median)
            yield f"{name} {median}", voxel_metrics(smoothed, lesion, view).average_precision()


def _lesions(lesion: Tensor, marked: Tensor) -> dict[str, list[int]]:
    counts: dict[str, list[int]] = {}
    sizes, found = components_overlapped(lesion, marked)
    for voxels, hit in zip(sizes.tolist(), found.tolist(), strict=True):
        both = counts.setdefault(size_class(voxels * VOXEL_ML), [0, 0])
        both[0] += 1
        both[1] += hit
    return counts


def run(
    out: Path,
    detector: Detector,
    brains: Sequence[Brain],
    masks: Sequence[Tensor],
    todo: Sequence[Job],
    share: tuple[int, int] = (0, 1),
) -> None:
    """Measure the cases of ``todo``, or a share of them, that the folder does not hold.

    Raises:
        InputError: ``value`` for rows of other weights.
    """
    cases = {
        job.name(brains[job.brain].name): partial(measure, detector, brains[job.brain], job, masks)
        for job in todo
    }
    append_rows(out, Row, detector.digest, cases, share)
