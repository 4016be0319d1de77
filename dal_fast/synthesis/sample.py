"""The result of a synthesis, a :class:`Sample`, and the :class:`Draft` that its steps change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import fields as fields_of

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class Sample:
    """A batch for training.

    Attributes:
        image: ``(N, 1, D, H, W)`` float32 in [0, 2], median of the brain 0.5, zero outside the
            mask: normalised by the function that the screener uses.
        tissue: ``(N, D, H, W)`` int64, the healthy truth: 0 CSF, 1 GM, 2 WM.
        mask: bool ``(N, 1, D, H, W)``, as a skull stripper might have drawn it.
        lesion: bool ``(N, 1, D, H, W)``.
        healthy: ``image`` without its lesions, in the same unit, where it was asked for.
        decoy: bool ``(N, 1, D, H, W)``: what may look abnormal and is healthy.
    """

    image: Tensor
    tissue: Tensor
    mask: Tensor
    lesion: Tensor
    healthy: Tensor | None = None
    decoy: Tensor | None = None


@dataclass
class Draft:
    """A batch of scans in the making, which the steps of a recipe change one after the other.

    Attributes:
        structures: structure map, int16 ``(N, 1, D, H, W)``, see :func:`encode_structures`.
        contrast: index into :data:`dal_fast.synthesis.contrast.CONTRASTS`, int64 ``(N,)``.
        means: intensity of CSF, GM and WM, ``(N, 3)``.
        images: ``(N, C, D, H, W)``, in the unit of ``means``: the scan, and, where it was asked
            for, the same scan without lesions.
        mask: the brain mask that comes with the scan, bool ``(N, 1, D, H, W)``.
        lesion: bool ``(N, 1, D, H, W)``.
        decoy: bool ``(N, 1, D, H, W)``: what may look abnormal and is healthy.
        mass: centre and radius of a mass effect, ``(N, 4)``, voxels; radius 0 for none.
        donor: images that lesions may take texture from, ``(N, 1, D, H, W)``; without them, the
            image's own other hemisphere.
    """

    structures: Tensor
    contrast: Tensor
    means: Tensor
    images: Tensor
    mask: Tensor
    lesion: Tensor
    decoy: Tensor
    mass: Tensor
    donor: Tensor | None = None

    @property
    def tissue(self) -> Tensor:
        """``(N, D, H, W)`` int64: 0 CSF, 1 GM, 2 WM, -1 outside the brain."""
        return tissue_of(self.structures)[:, 0]


Step = Callable[[Draft, Generator], None]
"""Changes a draft in place; all its random numbers come from the generator."""


def tissue_of(structures: Tensor) -> Tensor:
    """Tissue of a structure map: 0 CSF, 1 GM, 2 WM, -1 outside the brain; int64."""
    return structures.long() // 256 - 1


def encode_structures(
    labels: Tensor, tissue_of: Mapping[int, int], other_side: Mapping[int, int] | None = None
) -> Tensor:
    """The structure map of a label map.

    A structure map is ``(tissue + 1) * 256 + label`` inside the brain and 0 outside, tissue 0 CSF,
    1 GM, 2 WM. The label's own number only keeps structures apart, so that maps of different label
    protocols mix.

    Args:
        labels: integer volume; labels 0 to 255 are used.
        tissue_of: label to tissue. Labels that it lacks are outside the brain.
        other_side: label to that of the same structure on the other side, for one of the two:
            both get that number, because in a healthy brain both look alike.
    """
    same = other_side or {}
    table = torch.zeros(256, dtype=torch.int16)
    for label, tissue in tissue_of.items():
        if 0 <= label < 256:
            table[label] = (tissue + 1) * 256 + same.get(label, label)
    inside = (labels >= 0) & (labels < 256)
    return torch.where(inside, table[labels.clamp(0, 255).long()], 0)


def join(samples: Sequence[Sample]) -> Sample:
    """One batch of several; volumes of one size."""
    parts = {f.name: [getattr(s, f.name) for s in samples] for f in fields_of(Sample)}
    return Sample(**{k: torch.cat(part) for k, part in parts.items() if part[0] is not None})
