"""A third generator, for validation alone: lesions of given masks, painted into other brains.

Masks that experts drew on patients have shapes, sizes and places that no generator thought of. Only
their intensities are drawn. Not specified in the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import nibabel
import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from dal_fast.errors import Code, InputError
from dal_fast.imaging.morphology import bounding_box
from dal_fast.synthesis import fields
from dal_fast.synthesis.acquisition import BrainMask
from dal_fast.synthesis.anatomy import AnatomyStep
from dal_fast.synthesis.fields import chance
from dal_fast.synthesis.recipe import Shares
from dal_fast.synthesis.sample import Draft, Step
from dal_fast.synthesis.shapes import Region, covered
from dal_fast.synthesis.shifted import ShiftedRecipe
from dal_fast.synthesis.textures import blend
from dal_fast.synthesis.varied_lesions import AddVariedLesions, canvas_of

MNI_BRAIN_MM = ((-72.0, 72.0), (-107.0, 74.0), (-72.0, 82.0))
"""Where the brain of MNI152 begins and ends along each axis (right, anterior, superior)."""
_BLUR = 0.6  # voxels, of the masks' borders


def read_masks(folder: Path) -> list[Tensor]:
    """Lesion masks in MNI152 space, cut to the brain's box.

    Args:
        folder: holds ``*_lesion.nii.gz``.

    Returns:
        uint8 ``(D, H, W)`` each, 0 and 1; axes right, anterior, superior.

    Raises:
        InputError: ``no-data``.
    """
    paths = sorted(folder.glob("*_lesion.nii.gz"))
    if not paths:
        raise InputError(Code.NO_DATA, f"{folder} holds no lesion mask *_lesion.nii.gz")
    return [_read(path) for path in paths]


@dataclass(frozen=True)
class AddMaskLesions:
    """One of the masks in every sample, scaled to the brain's box.

    Attributes:
        masks: see :func:`read_masks`.
        probability: of each sample.
        bright: probability that a lesion is brighter; by default it depends on the contrast.
        part: tissue of the lesions, of :data:`dal_fast.synthesis.laws.LESIONS`, for half of them.
    """

    masks: Sequence[Tensor]
    probability: float = 1.0
    bright: float | None = None
    part: str = "plaque"

    def __call__(self, draft: Draft, generator: Generator) -> None:
        tissue = draft.tissue
        chosen = chance(len(tissue), self.probability, generator)
        painter = AddVariedLesions(1.0, bright=self.bright)
        for n in chosen.nonzero().flatten().tolist():
            pick = torch.randint(len(self.masks), (), generator=generator, device=generator.device)
            region = self._placed(self.masks[int(pick)], tissue[n], generator)
            canvas = canvas_of(draft, n, tissue[n], draft.images[n, :1])
            weight = region.cover.sum().clamp_min(1e-3)
            here = float((canvas.images[0][region.box] * region.cover).sum() / weight)
            law = self.part if bool(chance(1, 0.5, generator)) else ""
            contrast = int(draft.contrast[n])
            delta = painter.difference(here, law, contrast, canvas, generator)
            blend(canvas, region, delta, "additive", generator)
            draft.lesion[n, 0] = covered([region], tissue[n])

    def _placed(self, mask: Tensor, tissue: Tensor, generator: Generator) -> Region:
        """The mask in a brain's box, mirrored in half of the samples; outside of fluid."""
        first, second, third = bounding_box(tissue >= 0)
        box = (first, second, third)
        if bool(chance(1, 0.5, generator)):
            mask = mask.flip(0)
        size = [side.stop - side.start for side in box]
        at = F.interpolate(mask.to(tissue.device).float()[None, None], size=size, mode="area")
        cover = (at[0, 0] * (tissue[box] >= 1))[None, None]
        cover = fields.blur(cover, torch.full((1, 3), _BLUR, device=tissue.device))[0, 0]
        return Region(box, cover / cover.max().clamp_min(1e-3))


@dataclass(frozen=True)
class MaskRecipe:
    """Given masks in brains that :class:`~dal_fast.synthesis.shifted.ShiftedRecipe` disturbs.

    Attributes:
        masks: see :func:`read_masks`.
        lesions: probability of each sample.
        bright: probability that a lesion is brighter; by default it depends on the contrast.
        scan: everything but the lesions.
    """

    masks: Sequence[Tensor]
    lesions: float = 1.0
    bright: float | None = None
    scan: ShiftedRecipe = field(default_factory=ShiftedRecipe)

    @property
    def contrasts(self) -> Shares:
        """Relative shares of ``CONTRASTS``."""
        return self.scan.contrasts

    @property
    def spread(self) -> float:
        """Of structures around their tissue."""
        return self.scan.spread

    def anatomy_steps(self) -> list[AnatomyStep]:
        """The steps that shape the brain, in their order."""
        return self.scan.anatomy_steps()

    def mask_step(self) -> BrainMask:
        """The step that draws the brain mask."""
        return self.scan.mask_step()

    def scan_steps(self) -> list[Step]:
        """The steps that change the image, in their order."""
        decoys, _, *rest = self.scan.scan_steps()
        return [decoys, AddMaskLesions(self.masks, self.lesions, self.bright), *rest]

    def only(self, contrast: str) -> MaskRecipe:
        """This recipe for one contrast, of ``CONTRASTS``."""
        return replace(self, scan=self.scan.only(contrast))

    def with_lesions(self, probability: float) -> MaskRecipe:
        """This recipe with lesions in a share of the samples."""
        return replace(self, lesions=probability)


def _read(path: Path) -> Tensor:
    try:
        image = nibabel.as_closest_canonical(nibabel.load(path))  # type: ignore[no-untyped-call]
        data = np.asarray(image.dataobj) > 0
    except (OSError, ValueError, EOFError, nibabel.filebasedimages.ImageFileError) as error:
        raise InputError(Code.NO_DATA, f"{path} is not readable: {error}") from None
    zooms, origin = np.diag(image.affine)[:3], image.affine[:3, 3]
    sides = []
    for axis, (low, high) in enumerate(MNI_BRAIN_MM):
        first, last = (round((mm - origin[axis]) / zooms[axis]) for mm in (low, high))
        sides.append(slice(max(first, 0), min(last + 1, data.shape[axis])))
    return torch.from_numpy(data[tuple(sides)].astype(np.uint8))
