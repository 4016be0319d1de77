"""Does the method do what it says, step by step? On held-out healthy brains.

1. Tissue maps of one brain's contrasts agree: :mod:`dal_fast.evaluation.agreement`.
2. The pseudo-healthy image holds no information about the lesion. In each contrast a brain gets
   synthetic lesions; its twin is the same scan without them.

       kept         mean over the lesion of phi(scan) - phi(twin), by that of scan - twin: the share
                    of the lesion's contrast that the restored image keeps; 0 at best
       information  mutual information of a voxel's intensity and "is lesion", in the brain, by the
                    entropy of "is lesion": I(V; L) / H(L), intensities in 64 bins of equal number.
                    Of the scan, of phi, and of the twin's phi, which has no lesion: the information
                    in the lesion's place alone

   For every path from scan to phi that the weights hold: through the edges alone, or in closed
   form.
3. Contrast survives: the modality vector v of phi beside that of the scan. The shift is
   |v(phi) - v(scan)| by the mean distance between the contrasts' centres; ``own`` is the share of
   phi whose v is nearest to its own contrast's centre. For weights without E_M, v is the scan's
   tissue means, which are what R_D gets instead.

The paper claims all three and gives no numbers for them; the measures are ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from dal_fast.evaluation.agreement import SHOWN, paired_contrasts, placed, seed_of
from dal_fast.imaging.normalise import CEILING
from dal_fast.models import DAL, closed_form, parts_needed
from dal_fast.synthesis.brains import Brain
from dal_fast.synthesis.synthesiser import Recipe, Sample, Synthesiser

BINS = 64
_PATHS = ("film", "edges_closed_form", "closed_form")
_MOST_TRIES = 5


@dataclass(frozen=True)
class Leak:
    """One scan along one path; see above."""

    participant: str
    contrast: str
    path: str
    kept: float
    scan: float
    pseudo_healthy: float
    twin: float


@dataclass(frozen=True)
class Vectors:
    """v of one brain in one contrast, ``(length,)``, before and after restoration."""

    participant: str
    contrast: str
    before: Tensor
    after: Tensor


@dataclass(frozen=True)
class Shift:
    """How far vectors move; ``contrasts`` is the mean distance between the contrasts' centres."""

    mean: float
    largest: float
    contrasts: float
    own: float


def paths(model: DAL) -> dict[str, DAL]:
    """The same networks along every path that they can serve, by name; the model's own first."""
    names = sorted(_PATHS, key=lambda name: name != model.config.recoupler)
    models = {}
    for name in names:
        config = model.config.model_copy(update={"recoupler": name})
        if set(parts_needed(config)) - {"evidence"} <= set(model.parts):
            other = DAL(config, model.parts)
            other.load_state_dict(model.state_dict())
            models[name] = other.eval().to(next(model.parameters()).device)
    return models


def leaks(models: dict[str, DAL], brain: Brain, seed: int) -> Iterator[Leak]:
    """What phi keeps of lesions, one bright and one dark, in every contrast.

    Args:
        models: of :func:`paths`.
        brain: held-out, with a real scan.
        seed: of lesions and noise.
    """
    first = next(iter(models.values()))
    for contrast in SHOWN:
        for bright in (1.0, 0.0):
            sample = _with_lesion(first, brain, contrast, bright, seed)
            if sample is None:
                continue
            x, mask, lesion = sample.image, sample.mask, sample.lesion & sample.mask
            assert sample.healthy is not None  # asked for
            twin = sample.healthy * mask
            height = float((x.clamp_max(CEILING) - twin.clamp_max(CEILING))[lesion].mean())
            for path, model in models.items():
                with torch.inference_mode():
                    phi, other = (model(v, mask).pseudo_healthy for v in (x, twin))
                yield Leak(
                    brain.name, contrast, path, float((phi - other)[lesion].mean()) / height,
                    *(information(v[mask], lesion[mask]) for v in (x, phi, other)),
                )  # fmt: skip


def information(values: Tensor, lesion: Tensor) -> float:
    """``I(V; L) / H(L)`` of intensities ``(V,)`` and a bool of each, 0 to 1.

    Values in :data:`BINS` bins of equal number, ties together. The estimate of independent values
    is about ``(BINS - 1) / (2 V ln 2)`` bits too high.
    """
    ranks = torch.searchsorted(values.sort().values, values)
    bins = ranks * BINS // max(1, len(values))
    joint = torch.stack(
        [torch.bincount(bins[part], minlength=BINS) for part in (lesion, ~lesion)]
    ).double() / len(values)
    entropy = -torch.xlogy(joint.sum(1), joint.sum(1)).sum()
    expected = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    shared = torch.xlogy(joint, joint) - torch.xlogy(joint, expected)
    return float(shared.sum() / entropy) if float(entropy) else 0.0


def vectors(model: DAL, brain: Brain, seed: int) -> Iterator[Vectors]:
    """v of one brain's contrasts and of their restored images."""
    names, samples = paired_contrasts(model, brain, seed)
    for name, sample in zip(names, samples, strict=True):
        with torch.inference_mode():
            output = model(sample.image, sample.mask)
            before, after = (
                _vector(model, image, output.probabilities, sample.mask)
                for image in (sample.image.clamp_max(CEILING), output.pseudo_healthy)
            )
        yield Vectors(brain.name, name, before, after)


def shift(vectors: list[Vectors]) -> Shift:
    """How far v moves, in distances between contrasts."""
    names = list(dict.fromkeys(v.contrast for v in vectors))
    centres = torch.stack(
        [torch.stack([v.before for v in vectors if v.contrast == name]).mean(0) for name in names]
    )
    apart = float(torch.pdist(centres).mean())
    moved = torch.stack([(v.after - v.before).norm() for v in vectors]) / apart
    nearest = torch.cdist(torch.stack([v.after for v in vectors]), centres).argmin(1).tolist()
    own = sum(names[k] == v.contrast for k, v in zip(nearest, vectors, strict=True))
    own /= len(vectors)
    return Shift(float(moved.mean()), float(moved.max()), apart, own)


def principal_axes(vectors: list[Vectors]) -> tuple[Tensor, Tensor, float]:
    """``before`` and ``after (n, 2)`` on the first two principal axes of all, and their share."""
    both = torch.stack([v.before for v in vectors] + [v.after for v in vectors]).double()
    centred = both - both.mean(0)
    _, spread, axes = torch.linalg.svd(centred, full_matrices=False)
    flat = centred @ axes[:2].T
    share = float(spread[:2].square().sum() / spread.square().sum())
    return flat[: len(vectors)], flat[len(vectors) :], share


def _vector(model: DAL, image: Tensor, p: Tensor, mask: Tensor) -> Tensor:
    if model.config.modality == "encoder" and "modality" not in model.parts:
        return closed_form(image, p, mask).means[0]
    return model.modality_vector(image, p, mask)[0]


def _with_lesion(
    model: DAL, brain: Brain, contrast: str, bright: float, seed: int
) -> Sample | None:
    """A scan with lesions and its twin; ``None`` where they vanish in every try."""
    structures, scans = placed(brain, model)
    generator = Generator(structures.device).manual_seed(
        seed_of(f"{brain.name}/{contrast}/{bright}", seed)
    )
    recipe = replace(Recipe().only(contrast), lesions=1.0, bright=bright)
    method = contrast if contrast in scans else "recolour"
    for _ in range(_MOST_TRIES):
        sample = Synthesiser(generator, recipe, True).contrasts(structures, scans, [method])
        if bool((sample.lesion & sample.mask).any()):
            return sample
    return None
