"""Training images from label maps: any contrast, with exact tissue truth, on the device.

A *structure map* is an integer volume ``(tissue + 1) * 256 + label`` inside the brain and 0
outside, tissue 0 CSF, 1 GM, 2 WM: the label's own number only keeps structures apart, so maps of
different label protocols mix (:func:`encode_structures`).

A contrast is made in one of four ways, all with truth from the map:

- ``paint``: each structure gets an intensity drawn around that of its tissue;
- ``remap``: a real scan's tissue means are exchanged for drawn ones and its texture is scaled (or
  turned) tissue by tissue, so that real anatomy below the labels survives;
- ``recolour``: a real scan's intensities are bent, piecewise linearly, so that its tissue means
  become drawn ones: every border stays where the scanner saw it, whatever the labels say;
- ``keep``: the real scan as it is.

:meth:`Synthesiser.contrasts` makes several of them of one brain: the same anatomy to the voxel.
Then lesions, partial volume, thick slices, bias field, noise, and an imperfect brain mask. All of
this is ours ("not specified in the paper"). It is plain torch rather than cornucopia: what is
needed here is separable and comes to a few small matrix products a sample (``data.fields``),
about 0.15 s for a whole brain at 2 mm on two CPU cores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from dataclasses import fields as fields_of

import torch
from torch import Generator, Tensor

from dal_fast.imaging.normalise import normalise
from dal_fast.synthesis import fields
from dal_fast.synthesis.contrast import (
    CONTRASTS,
    bend,
    contrast_gain,
    draw_means,
    look_up,
    per_tissue,
    tissue_means,
)
from dal_fast.synthesis.fields import chance, uniform
from dal_fast.synthesis.lesions import LesionRecipe, add_lesions

_BRIGHT_LESIONS = torch.tensor([0.9, 0.9, 0.2, 0.6])  # probability that a lesion is bright


@dataclass(frozen=True)
class Recipe:
    """How often, and how far, a sample departs from its map. Lengths in voxels."""

    contrasts: tuple[float, float, float, float] = (0.35, 0.30, 0.20, 0.15)  # of CONTRASTS
    lesions: float = 0.8
    bright: float | None = None  # of lesions, share brighter than around; None: by contrast
    swelling: float = 0.4  # a region, often a ventricle, enlarged
    mass_effect: float = 0.3  # a place anywhere in the brain pushes its surroundings away
    spread: float = 0.10  # structures around their tissue, in units of tissue contrast
    thick_slices: float = 0.2
    thickness: tuple[float, float] = (1.5, 3.0)
    blur: tuple[float, float] = (0.0, 0.6)
    bias: tuple[float, float] = (0.0, 0.15)  # standard deviation of the log field
    noise: tuple[float, float] = (0.0, 0.05)  # of the brain's median
    mask_error: float = 0.4
    lesion: LesionRecipe = field(default_factory=LesionRecipe)

    def only(self, contrast: str) -> Recipe:
        """This recipe for one contrast, of ``CONTRASTS``."""
        t2w, flair, t1w, unclear = (float(name == contrast) for name in CONTRASTS)
        return replace(self, contrasts=(t2w, flair, t1w, unclear))

    def eased(self, hardness: float) -> Recipe:
        """This recipe at ``hardness`` 1; at 0 clear contrasts alone, hardly disturbed.

        Nothing random in contrast, no lesion, swelling, mass effect, thick slice or mask error; a
        fifth of the spread, blur, bias and noise. In between, everything grows in proportion.
        """
        mild = 0.2 + 0.8 * hardness
        t2w, flair, t1w, unclear = self.contrasts
        return replace(
            self,
            contrasts=(t2w, flair, t1w, unclear * hardness),
            lesions=self.lesions * hardness,
            swelling=self.swelling * hardness,
            mass_effect=self.mass_effect * hardness,
            spread=self.spread * mild,
            thick_slices=self.thick_slices * hardness,
            blur=(self.blur[0], self.blur[1] * mild),
            bias=(self.bias[0], self.bias[1] * mild),
            noise=(self.noise[0], self.noise[1] * mild),
            mask_error=self.mask_error * hardness,
        )


@dataclass(frozen=True)
class Sample:
    """A batch for training.

    Attributes:
        image: ``(N, 1, D, H, W)`` float32 in [0, 1], median of the brain 0.5, zero outside the
            mask: normalised by the function that the screener uses.
        tissue: ``(N, D, H, W)`` int64, the healthy truth: 0 CSF, 1 GM, 2 WM.
        mask: bool ``(N, 1, D, H, W)``, as a skull stripper might have drawn it.
        lesion: bool ``(N, 1, D, H, W)``.
        healthy: ``image`` without its lesions, in the same unit, where it was asked for.
    """

    image: Tensor
    tissue: Tensor
    mask: Tensor
    lesion: Tensor
    healthy: Tensor | None = None


def join(samples: Sequence[Sample]) -> Sample:
    """One batch of several; volumes of one size."""
    parts = {f.name: [getattr(s, f.name) for s in samples] for f in fields_of(Sample)}
    return Sample(**{k: torch.cat(part) for k, part in parts.items() if part[0] is not None})


def encode_structures(labels: Tensor, tissue_of: Mapping[int, int]) -> Tensor:
    """Structure map of a label map; labels that ``tissue_of`` lacks are outside the brain.

    Args:
        labels: integer volume, labels 0 to 255 are used.
        tissue_of: label to tissue, 0 CSF, 1 GM, 2 WM.
    """
    table = torch.zeros(256, dtype=torch.int16)
    for label, tissue in tissue_of.items():
        table[label] = (tissue + 1) * 256 + label
    inside = (labels >= 0) & (labels < 256)
    return torch.where(inside, table[labels.clamp(0, 255).long()], 0)


class Synthesiser:
    """Draws samples by ``recipe``; every random number comes from ``generator``.

    The same generator state, inputs and device give the same sample.

    Args:
        generator: on the device of the inputs.
        recipe: the ranges.
        healthy: give every sample its twin without lesions.
    """

    def __init__(
        self, generator: Generator, recipe: Recipe | None = None, healthy: bool = False
    ) -> None:
        self.generator = generator
        self.recipe = recipe or Recipe()
        self.healthy = healthy

    def paint(self, structures: Tensor) -> Sample:
        """From structure maps ``(N, 1, D, H, W)`` alone."""
        structures, _ = self._deform(structures, None)
        return self._sample("paint", self._draw_kinds(len(structures)), structures, None)

    def remap(self, scan: Tensor, structures: Tensor) -> Sample:
        """From real scans ``(N, 1, D, H, W)`` whose tissue contrast is exchanged."""
        structures, scan = self._deform(structures, scan)
        return self._sample("remap", self._draw_kinds(len(scan)), structures, scan)

    def recolour(self, scan: Tensor, structures: Tensor) -> Sample:
        """From real scans ``(N, 1, D, H, W)`` whose intensities are bent."""
        structures, scan = self._deform(structures, scan)
        return self._sample("recolour", self._draw_kinds(len(scan)), structures, scan)

    def keep(self, scan: Tensor, structures: Tensor, contrast: str = "T1w") -> Sample:
        """The real scans ``(N, 1, D, H, W)`` of one contrast, deformed and degraded."""
        structures, scan = self._deform(structures, scan)
        kind = torch.full((len(scan),), CONTRASTS.index(contrast), device=scan.device)
        return self._sample("keep", kind, structures, scan)

    def contrasts(
        self, structures: Tensor, scans: Mapping[str, Tensor], ways: Sequence[str]
    ) -> Sample:
        """Several contrasts of one brain, which is deformed once, in one batch.

        Lesions, degradations and mask errors are drawn for each anew.

        Args:
            structures: ``(1, 1, D, H, W)``.
            scans: real ones by contrast, of that shape; may be empty where all ways are "paint".
            ways: "paint", "remap" or "recolour" (of the first scan), or the name of a scan, which
                is kept. Drawn contrasts differ from each other and from kept ones.
        """
        names = list(scans)
        structures, moved = self._deform(
            structures, torch.cat([scans[n] for n in names], dim=1) if names else None
        )
        taken = [CONTRASTS.index(way) for way in ways if way in names]
        samples = []
        for way in ways:
            scan = moved[:, names.index(way) if way in names else 0][:, None] if names else None
            if way in names:
                kind = torch.tensor([CONTRASTS.index(way)], device=structures.device)
            else:
                kind = self._draw_kinds(1, taken)
                taken.append(int(kind))
            samples.append(self._sample(way, kind, structures, scan))
        return join(samples)

    # -- ways ---------------------------------------------------------------------------------

    def _sample(self, way: str, kind: Tensor, structures: Tensor, scan: Tensor | None) -> Sample:
        """One contrast a brain; any other way than the three that draw one keeps the scan."""
        if way == "paint":
            means = draw_means(kind, self.generator)
            image, mask = self._painted(structures, means)
        else:
            assert scan is not None
            mask = self._draw_mask(structures)
            means = draw_means(kind, self.generator)
            if way == "remap":
                image = self._remapped(scan, structures, means)
            elif way == "recolour":
                image = self._recoloured(scan, structures, means)
            else:
                image, means = scan, tissue_means(scan, structures)
        return self._finish(image, structures, mask, means, kind)

    def _painted(self, structures: Tensor, means: Tensor) -> tuple[Tensor, Tensor]:
        image = look_up(self._draw_structures(means), structures)
        mask = self._draw_mask(structures)
        rim = mask & (structures == 0)  # a generous mask holds fluid, or nothing
        n = len(structures)
        fluid = means[:, :1] * uniform((n, 1), 0.0, 1.0, self.generator)
        return torch.where(rim, fluid.view(n, 1, 1, 1, 1), image), mask

    def _remapped(self, scan: Tensor, structures: Tensor, means: Tensor) -> Tensor:
        """``x' = m'[s] + g_k (x - m[s])``.

        With structures' drawn means m', the scan's own means m (both blurred by half a voxel) and
        a gain g_k per tissue, negative where the contrast turns, so that partial volume turns with
        it.
        """
        g, n = self.generator, len(structures)
        own = tissue_means(scan, structures)
        gain = contrast_gain(own, means) * uniform((n, 3), 0.5, 1.2, g)
        tables = (self._draw_structures(means), per_tissue(own), per_tissue(gain))
        new, old, gains = self._softly(tables, structures).chunk(3, dim=1)
        return (new + gains * (scan - old)).clamp_min(0)

    def _recoloured(self, scan: Tensor, structures: Tensor, means: Tensor) -> Tensor:
        """``x' = f(x) + d[s]``: f bends m into m', d is how structures differ within a tissue."""
        table = self._draw_structures(means)
        differences = self._softly((table - per_tissue(means),), structures)
        bent = bend(scan, tissue_means(scan, structures), means)
        return (bent + differences).clamp_min(0)

    def _softly(self, tables: Sequence[Tensor], structures: Tensor) -> Tensor:
        """Tables at the structures, ``(N, len(tables), D, H, W)``, blurred by half a voxel."""
        maps = torch.cat([look_up(table, structures) for table in tables], dim=1)
        return fields.blur(maps, torch.full((len(maps), 3), 0.5, device=maps.device))

    # -- draws --------------------------------------------------------------------------------

    def _draw_kinds(self, n: int, taken: Sequence[int] = ()) -> Tensor:
        """``(n,)`` of ``CONTRASTS``, none of those ``taken`` while others are left."""
        weights = torch.tensor(self.recipe.contrasts)
        rest = weights.clone()
        rest[list(taken)] = 0
        weights = (rest if rest.any() else weights).to(self.generator.device)
        return torch.multinomial(weights, n, replacement=True, generator=self.generator)

    def _draw_structures(self, means: Tensor) -> Tensor:
        """``(N, codes)`` intensity of every structure; 0 outside the brain."""
        g = self.generator
        contrast = means.amax(1, keepdim=True) - means.amin(1, keepdim=True)
        spread = self.recipe.spread * uniform((len(means), 1), 0.0, 1.0, g) * contrast
        table = per_tissue(means)
        table = table + spread * torch.randn(table.shape, generator=g, device=g.device)
        table[:, :256] = 0
        return table.clamp_min(0)

    def _draw_mask(self, structures: Tensor) -> Tensor:
        """The brain, now and then a little too tight or too generous, unevenly."""
        g, n = self.generator, len(structures)
        inside = (structures > 0).float()
        soft = fields.blur(inside, torch.full((n, 3), 1.2, device=g.device))
        shift = uniform((n, 1, 1, 1, 1), -0.25, 0.4, g)  # erosion is the commoner mistake
        uneven = 0.12 * fields.smooth_field(n, 1, structures.shape[2:], 8, g)
        wrong = chance(n, self.recipe.mask_error, g).view(n, 1, 1, 1, 1)
        border = (0.5 + shift + uneven).clamp(0.1, 0.92)
        return torch.where(wrong, soft > border, inside > 0)

    # -- steps --------------------------------------------------------------------------------

    def _deform(self, structures: Tensor, scan: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mirror half of the samples; then affine, elastic, larger ventricles and mass effect."""
        g, n, space = self.generator, len(structures), structures.shape[2:]
        mirror = chance(n, 0.5, g).view(n, 1, 1, 1, 1)
        structures = torch.where(mirror, structures.flip(2), structures).float()
        origin = fields.deformation(n, space, g)
        for share, at in (
            (self.recipe.swelling, self._ventricle),
            (self.recipe.mass_effect, self._anywhere),
        ):
            strength = uniform((n,), 0.15, 0.65, g) * chance(n, share, g)
            radius = uniform((n,), 5.0, 14.0, g)
            centre = torch.stack([at(s[0]) for s in structures])
            origin = fields.swell(origin, centre, radius, strength)
        if scan is None:
            warped = fields.warp(structures, origin, nearest=True).short()
            return warped, warped
        scan = torch.where(mirror, scan.flip(2), scan)
        return fields.warp(structures, origin, nearest=True).short(), fields.warp(scan, origin)

    def _ventricle(self, structures: Tensor) -> Tensor:
        """A CSF voxel in the middle third of the brain (a ventricle as a rule)."""
        thirds = tuple(slice(s // 3, s - s // 3) for s in structures.shape)
        corner = torch.tensor([t.start for t in thirds], device=structures.device)
        return corner + self._one_of(structures[thirds].long() // 256 == 1)

    def _anywhere(self, structures: Tensor) -> Tensor:
        """A voxel of the brain."""
        return self._one_of(structures > 0)

    def _one_of(self, where: Tensor) -> Tensor:
        """Indices ``(3,)`` of a voxel drawn from a mask; the corner if it is empty."""
        voxels = where.nonzero()
        if len(voxels) == 0:
            return torch.zeros(3, device=where.device)
        pick = torch.randint(len(voxels), (), generator=self.generator,
                             device=self.generator.device)  # fmt: skip
        return voxels[pick].float()

    def _finish(
        self,
        image: Tensor,
        structures: Tensor,
        mask: Tensor,
        means: Tensor,
        kind: Tensor,
    ) -> Sample:
        """Lesions, then what a scanner does: resolution, bias field, noise; mask; normalise."""
        g, r, n, space = self.generator, self.recipe, len(image), image.shape[2:]
        tissue = structures[:, 0].long() // 256 - 1
        brighten = _BRIGHT_LESIONS.to(g.device)[kind]
        if r.bright is not None:
            brighten = torch.full_like(brighten, r.bright)
        brighten = torch.where(chance(n, r.lesions, g), brighten, -1.0)
        sick = image.clone()
        lesion = add_lesions(sick, tissue, means, brighten, g, r.lesion)
        both = torch.cat([sick, image], dim=1) if self.healthy else sick

        both = fields.blur(both, uniform((n, 1), *r.blur, g).expand(n, 3))
        thick = uniform((n,), *r.thickness, g)
        axis = torch.randint(3, (n,), generator=g, device=g.device)
        axis = torch.where(chance(n, r.thick_slices, g), axis, -1)
        chosen = torch.arange(3, device=g.device) == axis[:, None]
        thickness = torch.where(chosen, thick[:, None], 1)
        slices = [fields.slice_matrix(space[a], thickness[:, a]) for a in range(3)]
        both = fields.apply_separable(both, slices)

        bias = uniform((n, 1, 1, 1, 1), *r.bias, g) * fields.smooth_field(n, 1, space, 4, g)
        both = both * torch.exp(bias)
        sigma = uniform((n, 1, 1, 1, 1), *r.noise, g) * means.mean(1).view(n, 1, 1, 1, 1)
        both = both + sigma * torch.randn(image.shape, generator=g, device=g.device)
        image, healthy = _normalised(both, mask)
        return Sample(image, tissue.clamp_min(0), mask, lesion & mask, healthy)


def _normalised(both: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
    """Scans ``(N, 1 or 2, D, H, W)``, and their healthy twins by the same scale."""
    scans, twins = [], []
    for n in range(len(both)):
        scan, view, way = normalise(both[n : n + 1, :1], mask[n : n + 1])
        scans.append(scan)
        twins.append(way.scan_to_image(both[n : n + 1, 1:]) * view)
    return torch.cat(scans), torch.cat(twins) if both.shape[1] > 1 else None
