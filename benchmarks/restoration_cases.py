"""The cases of :mod:`benchmarks.restoration`: each is drawn with what is true of it.

Held-out brains, T1w real, T2w- and FLAIR-like made from it, disturbed and painted by the generator
:mod:`dal_fast.synthesis.shifted`, on which nothing is trained. Every case has a twin: the very same
scan without its lesions, or without its decoys. A case with lesions is drawn without a coil's field
and with one of a log-SD of .4; anatomy, lesions and noise are the same.

A real scan has a field of its own, which nobody knows: for the truth it is taken what the closed
form fits to the twin without the coil's field when it is given the label map's tissue.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Generator, Tensor
from torch.nn.functional import one_hot

from benchmarks.acquisition import screened, voxel_metrics
from benchmarks.rows import Detector
from dal_fast.evaluation.agreement import placed, seed_of
from dal_fast.evaluation.validation_samples import DECOY, DECOYS, SIGNS, VOXEL_ML
from dal_fast.imaging.normalise import CEILING
from dal_fast.models import AnyModel, AnyOutput, DALOutput, closed_form
from dal_fast.synthesis.brains import SCANS, Brain
from dal_fast.synthesis.decoys import AddDecoys
from dal_fast.synthesis.sample import Draft, Sample, Step
from dal_fast.synthesis.shifted import CoilField, ShiftedRecipe
from dal_fast.synthesis.synthesiser import Synthesiser

VOLUMES_ML = {"10 to 60 mL": (10.0, 60.0), "60 to 200 mL": (60.0, 200.0)}
FIELDS = (0.0, 0.4)
"""Standard deviations of the log field."""


@dataclass(frozen=True)
class Row:
    """One scan and its twin.

    Attributes:
        weights: SHA-256 of the weight file.
        case: unique name.
        subject, seed, contrast, sign, size, log_sd: how it was drawn.
        ml: volume of its lesions in the field of view, or of its decoys.
        percent: the same, of the field of view.
        height: mean over the lesion of scan - twin, in the normalised unit; NaN without lesions, as
            all that follow but ``guess``, ``decoys`` and ``decoys_twin``.
        moved: mean over the lesion of phi(scan) - phi(twin).
        off, off_twin: mean over the lesion of |log b - log b_true|, whose mean over the rest of the
            brain is 0, of the scan and of the twin; NaN where no field is estimated.
        shift, shift_twin: the same with its sign.
        precision: average precision of the default score.
        above, above_twin: share of the voxels outside of lesions above the threshold, and of all
            voxels of the twin, percent.
        guess, guess_twin: what contrast the intensities suggest.
        decoys, decoys_twin: AUROC of the decoys' voxels against the rest of the brain, with the
            decoys and without; NaN in a case with lesions.
    """

    weights: str
    case: str
    subject: str
    seed: int
    contrast: str
    sign: str
    size: str
    log_sd: float
    ml: float
    percent: float
    guess: str
    guess_twin: str
    height: float = math.nan
    moved: float = math.nan
    off: float = math.nan
    off_twin: float = math.nan
    shift: float = math.nan
    shift_twin: float = math.nan
    precision: float = math.nan
    above: float = math.nan
    above_twin: float = math.nan
    decoys: float = math.nan
    decoys_twin: float = math.nan


@dataclass(frozen=True)
class Job:
    """A case to draw, of the brain of this number.

    Attributes:
        size: a key of ``VOLUMES_ML``; the number of a draw of decoys.
        log_sd: of the coil's field; another one changes nothing else.
    """

    brain: int
    seed: int
    contrast: str
    sign: str
    size: str
    log_sd: float

    def name(self, subject: str) -> str:
        """Unique name of the case."""
        return f"{self.key(subject)}_field-{self.log_sd}_seed-{self.seed}"

    def key(self, subject: str) -> str:
        """Of all that is drawn alike whatever the field."""
        return f"{subject}_{self.contrast}-{self.sign}-{self.size}"


def jobs(brains: int, seeds: Sequence[int]) -> list[Job]:
    """Every case, seed by seed."""
    kinds = [(sign, size, log_sd) for sign in SIGNS for size in VOLUMES_ML for log_sd in FIELDS]
    kinds += [(DECOY, str(number), log_sd) for number, log_sd in enumerate(FIELDS)]
    return [
        Job(brain, seed, contrast, *kind)
        for seed in seeds
        for brain in range(brains)
        for contrast in SCANS
        for kind in kinds
    ]


@dataclass(frozen=True)
class KnownField:
    """A coil's field, which is kept, ``(N, 1, D, H, W)``."""

    step: CoilField
    kept: list[Tensor]

    def __call__(self, draft: Draft, generator: Generator) -> None:
        flat = replace(draft, images=torch.ones_like(draft.images[:, :1]))
        self.step(flat, generator)
        self.kept.append(flat.images)
        draft.images = draft.images * flat.images


@dataclass(frozen=True)
class InScanAlone:
    """Decoys that the healthy image does not get."""

    step: AddDecoys

    def __call__(self, draft: Draft, generator: Generator) -> None:
        scan = replace(draft, images=draft.images[:, :1].clone())
        self.step(scan, generator)
        draft.images = torch.cat([scan.images, draft.images[:, 1:]], dim=1)


@dataclass(frozen=True)
class KnownRecipe(ShiftedRecipe):
    """The generator ``shifted``, which tells its fields; without lesions, twins have no decoys.

    Attributes:
        drawn: fields, one of every batch.
    """

    drawn: list[Tensor] = field(default_factory=list)

    def scan_steps(self) -> list[Step]:
        """The steps that change the image, in their order."""
        return [self._known(step) for step in super().scan_steps()]

    def _known(self, step: Step) -> Step:
        if isinstance(step, CoilField):
            return KnownField(step, self.drawn)
        if isinstance(step, AddDecoys) and not self.lesions:
            return InScanAlone(step)
        return step


def draw(model: AnyModel, brain: Brain, job: Job) -> tuple[Sample, Sample, Tensor]:
    """A case, its twin, and the true field ``(1, 1, D, H, W)``."""
    recipe = KnownRecipe(bias=(job.log_sd, job.log_sd))
    if job.sign == DECOY:
        recipe = replace(recipe, lesions=0.0, decoys=DECOYS)
    else:
        recipe = replace(recipe, volume=VOLUMES_ML[job.size], bright=SIGNS[job.sign])
    structures, scans = placed(brain, model)
    generator = Generator(structures.device)
    generator.manual_seed(seed_of(f"{job.key(brain.name)}/restoration", job.seed))
    method = job.contrast if job.contrast in scans else "remap"
    synthesiser = Synthesiser(generator, recipe.only(job.contrast), healthy=True)
    sample = synthesiser.contrasts(structures, scans, [method])
    assert sample.healthy is not None  # asked for
    twin, coil = replace(sample, image=sample.healthy * sample.mask), recipe.drawn[-1]
    return sample, twin, coil * own_field(replace(twin, image=twin.image / coil))


def own_field(sample: Sample) -> Tensor:
    """The field of a healthy scan whose tissue is known, ``(1, 1, D, H, W)``."""
    shares = one_hot(sample.tissue, 3).movedim(-1, 1) * sample.mask
    return closed_form(sample.image, shares.float(), sample.mask).bias


def measure(detector: Detector, brain: Brain, job: Job) -> Row:
    """Draw one case, screen it and its twin, and forget them."""
    sample, twin, truth = draw(detector.model, brain, job)
    (out, view), (other, view_twin) = (screened(s, detector.model) for s in (sample, twin))
    found, found_twin = (
        o.anomaly_map(detector.calibration, contrast=job.contrast) for o in (out, other)
    )
    view = view & view_twin
    painted = sample.decoy if job.sign == DECOY else sample.lesion
    assert painted is not None  # every synthesis tells where its decoys are
    marked = painted & view
    measures: dict[str, float] = {}
    if job.sign == DECOY and bool(marked.any()):
        measures = {
            "decoys": voxel_metrics(found.data, marked, view).auroc(),
            "decoys_twin": voxel_metrics(found_twin.data, marked, view).auroc(),
        }
    elif bool(marked.any()):
        scans, predictions = (sample.image, twin.image), (out.prediction, other.prediction)
        rest = view & ~marked
        measures = {
            **kept(*scans, *predictions, marked),
            **fields_off(*predictions, truth, marked, rest),
            "precision": voxel_metrics(found.data, marked, view).average_precision(),
            "above": _above(found.data, rest),
            "above_twin": _above(found_twin.data, view),
        }
    return Row(
        weights=detector.digest,
        case=job.name(brain.name),
        subject=brain.name,
        seed=job.seed,
        contrast=job.contrast,
        sign=job.sign,
        size=job.size,
        log_sd=job.log_sd,
        ml=round(int(marked.sum()) * VOXEL_ML, 3),
        percent=100 * float(marked.sum() / view.sum()),
        guess=found.looks_like,
        guess_twin=found_twin.looks_like,
        **measures,
    )


def kept(
    scan: Tensor, twin: Tensor, of_scan: AnyOutput, of_twin: AnyOutput, lesion: Tensor
) -> dict[str, float]:
    """A lesion's height, and by how much it moves phi; as in :mod:`dal_fast.evaluation.checks`."""
    height = scan.clamp_max(CEILING) - twin.clamp_max(CEILING)
    moved = of_scan.pseudo_healthy - of_twin.pseudo_healthy
    return {"height": float(height[lesion].mean()), "moved": float(moved[lesion].mean())}


def fields_off(
    of_scan: AnyOutput, of_twin: AnyOutput, truth: Tensor, lesion: Tensor, rest: Tensor
) -> dict[str, float]:
    """How far the fields of scan and twin are from the truth; nothing where none is estimated."""
    found = {}
    for name, output in (("", of_scan), ("_twin", of_twin)):
        if isinstance(output, DALOutput) and output.bias is not None:
            error = torch.where(lesion | rest, output.bias, 1.0).log() - truth.log()
            inside = error[lesion] - error[rest].mean()
            found[f"off{name}"] = float(inside.abs().mean())
            found[f"shift{name}"] = float(inside.mean())
    return found


def _above(data: Tensor, where: Tensor) -> float:
    return 100 * float((data[where] >= 1).float().mean())
