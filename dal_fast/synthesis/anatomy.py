"""The first steps of a synthesis: another shape for the brain of a label map.

Every step changes where the voxels of the deformed volume come from; structures and scans are
interpolated once, at the end. None of this is specified in the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from dal_fast.synthesis import fields
from dal_fast.synthesis.fields import chance, uniform
from dal_fast.synthesis.sample import tissue_of


@dataclass
class Anatomy:
    """Brains on their way to another shape.

    Attributes:
        structures: structure map as float32, ``(N, 1, D, H, W)``.
        scan: real scans of the brains, ``(N, C, D, H, W)``, or None.
        origin: where every voxel of the deformed volume comes from, ``(N, 3, D, H, W)``, voxels.
    """

    structures: Tensor
    scan: Tensor | None
    origin: Tensor

    def warped(self) -> tuple[Tensor, Tensor | None]:
        """Structure map, int16, and scan in their new shape."""
        structures = fields.warp(self.structures, self.origin, nearest=True).short()
        return structures, None if self.scan is None else fields.warp(self.scan, self.origin)


AnatomyStep = Callable[[Anatomy, Generator], None]
"""Changes an anatomy in place; all its random numbers come from the generator."""


def deform(
    structures: Tensor, scan: Tensor | None, steps: Sequence[AnatomyStep], generator: Generator
) -> tuple[Tensor, Tensor | None]:
    """Structure map and scan after the steps; the inputs are left as they are."""
    anatomy = Anatomy(structures.float(), scan, fields.identity(len(structures), structures))
    for step in steps:
        step(anatomy, generator)
    return anatomy.warped()


@dataclass(frozen=True)
class Mirror:
    """Left and right are exchanged.

    Attributes:
        probability: of each sample. Half of them, as a healthy brain is as likely as its mirror
            image.
    """

    probability: float = 0.5

    def __call__(self, anatomy: Anatomy, generator: Generator) -> None:
        n = len(anatomy.structures)
        mirrored = chance(n, self.probability, generator).view(n, 1, 1, 1, 1)
        anatomy.structures = torch.where(mirrored, anatomy.structures.flip(2), anatomy.structures)
        if anatomy.scan is not None:
            anatomy.scan = torch.where(mirrored, anatomy.scan.flip(2), anatomy.scan)


@dataclass(frozen=True)
class Deform:
    """The head is turned and scaled, and the brain is bent elastically.

    Attributes:
        rotation: largest angle about each axis, radians. Heads lie askew in a scanner by up to
            about 0.2.
        scaling: largest relative change of length of each axis.
        elastic: largest standard deviation of the elastic displacement, voxels. More than a
            quarter of ``spacing`` would fold the brain.
        spacing: of the control points of the elastic displacement, voxels.
    """

    rotation: float = 0.2
    scaling: float = 0.12
    elastic: float = 1.5
    spacing: float = 14.0

    def __call__(self, anatomy: Anatomy, generator: Generator) -> None:
        n, space = len(anatomy.structures), anatomy.structures.shape[2:]
        anatomy.origin = fields.deformation(
            n, space, generator, self.rotation, self.scaling, self.elastic, self.spacing
        )


@dataclass(frozen=True)
class Enlarge:
    """A region grows and pushes its surroundings away.

    Around a ventricle, as in atrophy and hydrocephalus; anywhere, as around a mass.

    Attributes:
        probability: of each sample.
        ventricle: around cerebrospinal fluid in the middle third of the brain, a ventricle as a
            rule, instead of anywhere in the brain.
        strength: range of the displacement at the centre, relative to the distance from it;
            below 1, where the brain would fold.
        radius: range of the standard deviation of the Gaussian falloff, voxels.
    """

    probability: float
    ventricle: bool = False
    strength: tuple[float, float] = (0.15, 0.65)
    radius: tuple[float, float] = (5.0, 14.0)

    def __call__(self, anatomy: Anatomy, generator: Generator) -> None:
        n = len(anatomy.structures)
        strength = uniform((n,), *self.strength, generator) * chance(n, self.probability, generator)
        radius = uniform((n,), *self.radius, generator)
        centres = [self._centre(structures, generator) for structures in anatomy.structures]
        anatomy.origin = fields.swell(anatomy.origin, torch.stack(centres), radius, strength)

    def _centre(self, structures: Tensor, generator: Generator) -> Tensor:
        """Of one brain ``(1, D, H, W)``; a voxel ``(3,)``."""
        brain = structures[0]
        if not self.ventricle:
            return random_voxel(brain > 0, generator)
        thirds = tuple(slice(side // 3, side - side // 3) for side in brain.shape)
        corner = torch.tensor([third.start for third in thirds], device=brain.device)
        return corner + random_voxel(tissue_of(brain[thirds]) == 0, generator)


def random_voxel(mask: Tensor, generator: Generator) -> Tensor:
    """Index ``(3,)``, float32, of a voxel drawn from a mask ``(D, H, W)``; 0 if it is empty."""
    voxels = mask.nonzero()
    if len(voxels) == 0:
        return torch.zeros(3, device=mask.device)
    pick = torch.randint(len(voxels), (), generator=generator, device=generator.device)
    return voxels[pick].float()
