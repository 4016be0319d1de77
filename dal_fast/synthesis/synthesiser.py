"""Training images from label maps: any contrast, with exact tissue truth, on the device.

A contrast is made in one of four ways, all with truth from the structure map
(:func:`dal_fast.synthesis.sample.encode_structures`):

- ``paint``: each structure gets an intensity drawn around that of its tissue;
- ``remap``: a real scan's tissue means are exchanged for drawn ones and its texture is scaled (or
  turned) tissue by tissue, so that real anatomy below the labels survives;
- ``recolour``: a real scan's intensities are bent, piecewise linearly, so that its tissue means
  become drawn ones: every border stays where the scanner saw it, whatever the labels say;
- the real scan as it is.

In the first three, structures of a T2w or FLAIR differ from their tissue as they usually do
(:mod:`dal_fast.synthesis.usual`); the second and third start from the scan without its coil's field
(:mod:`dal_fast.synthesis.coil`).

The brain is deformed before, by :mod:`dal_fast.synthesis.anatomy`; lesions, partial volume, thick
slices, bias field and noise follow, by the steps of a recipe (:mod:`dal_fast.synthesis.recipe`).
All of this is ours ("not specified in the paper"). It is plain torch rather than cornucopia: what
is needed here is separable and comes to a few small matrix products a sample
(:mod:`dal_fast.synthesis.fields`), about 0.15 s for a whole brain at 2 mm on two CPU cores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Generator, Tensor

from dal_fast.synthesis.acquisition import finish
from dal_fast.synthesis.anatomy import Deformed, deform
from dal_fast.synthesis.appearance import Look, fill_rim, paint, recolour, remap
from dal_fast.synthesis.coil import without_coil
from dal_fast.synthesis.contrast import CONTRASTS, draw_means, tissue_means
from dal_fast.synthesis.recipe import AnyRecipe, Recipe
from dal_fast.synthesis.sample import Draft, Sample, join
from dal_fast.synthesis.usual import differences, usual_offsets

__all__ = ["Recipe", "Sample", "Synthesiser"]


class Synthesiser:
    """Draws samples by a recipe; every random number comes from the generator.

    The same generator state, inputs and device give the same sample.

    Args:
        generator: on the device of the inputs.
        recipe: the ranges.
        healthy: also give every sample's image without its lesions.
    """

    def __init__(
        self, generator: Generator, recipe: AnyRecipe | None = None, healthy: bool = False
    ) -> None:
        self.generator = generator
        self.recipe: AnyRecipe = recipe or Recipe()
        self.healthy = healthy

    def paint(self, structures: Tensor) -> Sample:
        """From structure maps ``(N, 1, D, H, W)`` alone."""
        brain = self._deform(structures, None)
        return self._sample("paint", self._draw_contrasts(len(structures)), brain)

    def remap(self, scan: Tensor, structures: Tensor) -> Sample:
        """From real scans ``(N, 1, D, H, W)`` whose tissue contrast is exchanged."""
        brain = self._deform(structures, scan)
        return self._sample("remap", self._draw_contrasts(len(scan)), brain)

    def recolour(self, scan: Tensor, structures: Tensor) -> Sample:
        """From real scans ``(N, 1, D, H, W)`` whose intensities are bent."""
        brain = self._deform(structures, scan)
        return self._sample("recolour", self._draw_contrasts(len(scan)), brain)

    def keep(self, scan: Tensor, structures: Tensor, contrast: str = "T1w") -> Sample:
        """The real scans ``(N, 1, D, H, W)`` of one contrast, deformed and degraded."""
        brain = self._deform(structures, scan)
        kind = torch.full((len(scan),), CONTRASTS.index(contrast), device=scan.device)
        return self._sample(contrast, kind, brain)

    def contrasts(
        self,
        structures: Tensor,
        scans: Mapping[str, Tensor],
        methods: Sequence[str],
        donor: Tensor | None = None,
    ) -> Sample:
        """Several contrasts of one brain, which is deformed once, in one batch.

        The samples show the same anatomy to the voxel; lesions, degradations and mask errors are
        drawn anew for each.

        Args:
            structures: ``(1, 1, D, H, W)``.
            scans: real ones by contrast, of that shape; may be empty where all methods are
                "paint".
            methods: "paint", "remap" or "recolour" (of the first scan), or the name of a scan,
                which is kept. Drawn contrasts differ from each other and from kept ones.
            donor: a scan of another brain, ``(1, 1, D, H, W)``, that lesions may take texture
                from.
        """
        names = list(scans)
        brain = self._deform(
            structures, torch.cat([scans[n] for n in names], dim=1) if names else None
        )
        taken = [CONTRASTS.index(method) for method in methods if method in names]
        samples = []
        for method in methods:
            one = brain
            if brain.scan is not None:
                channel = names.index(method) if method in names else 0
                one = replace(brain, scan=brain.scan[:, channel][:, None])
            if method in names:
                contrast = torch.tensor([CONTRASTS.index(method)], device=structures.device)
            else:
                contrast = self._draw_contrasts(1, taken)
                taken.append(int(contrast))
            samples.append(self._sample(method, contrast, one, donor))
        return join(samples)

    def _deform(self, structures: Tensor, scan: Tensor | None) -> Deformed:
        return deform(structures, scan, self.recipe.anatomy_steps(), self.generator)

    def _draw_contrasts(self, n: int, taken: Sequence[int] = ()) -> Tensor:
        """``(n,)`` of ``CONTRASTS``, none of those ``taken`` while others are left."""
        weights = torch.tensor(self.recipe.contrasts)
        rest = weights.clone()
        rest[list(taken)] = 0
        weights = (rest if rest.any() else weights).to(self.generator.device)
        return torch.multinomial(weights, n, replacement=True, generator=self.generator)

    def _sample(
        self, method: str, contrast: Tensor, brain: Deformed, donor: Tensor | None = None
    ) -> Sample:
        """Samples of contrasts ``(N,)``; a method that draws no contrast keeps the scan."""
        image, means, mask = self._image(method, contrast, brain)
        draft = Draft(
            structures=brain.structures,
            contrast=contrast,
            means=means,
            images=image.repeat(1, 1 + self.healthy, 1, 1, 1),
            mask=mask,
            lesion=torch.zeros_like(mask),
            decoy=torch.zeros_like(mask),
            mass=brain.mass,
            donor=donor,
        )
        for step in self.recipe.scan_steps():
            step(draft, self.generator)
        return finish(draft)

    def _image(
        self, method: str, contrast: Tensor, brain: Deformed
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Intensities ``(N, 1, D, H, W)``, the tissues' means and the brain mask."""
        g, structures, scan = self.generator, brain.structures, brain.scan
        if method == "paint":
            means = draw_means(contrast, g)
            image = paint(structures, self._look(structures, contrast, means), g)
            mask = self.recipe.mask_step()(structures, g)
            return fill_rim(image, structures, mask, means, g), means, mask
        assert scan is not None
        mask = self.recipe.mask_step()(structures, g)
        means = draw_means(contrast, g)
        if method not in ("remap", "recolour"):
            return scan, tissue_means(scan, structures), mask
        change = remap if method == "remap" else recolour
        look = self._look(structures, contrast, means)
        return change(without_coil(scan, structures), structures, look, g), means, mask

    def _look(self, structures: Tensor, contrast: Tensor, means: Tensor) -> Look:
        """How a contrast shows the brains' structures."""
        offsets = usual_offsets(structures, contrast, means, self.generator)
        return Look(means, self.recipe.spread * differences(structures), offsets)
