"""Training images from label maps: any contrast, with exact tissue truth, on the device.

A *structure map* is an integer volume ``(tissue + 1) * 256 + label`` inside the brain and 0
outside, tissue 0 CSF, 1 GM, 2 WM: the label's own number only keeps structures apart, so maps of
different label protocols mix (:func:`encode_structures`).

A sample is made in one of three ways, all with truth from the map:

- :meth:`Synthesiser.paint`: each structure gets an intensity drawn around that of its tissue;
- :meth:`Synthesiser.remap`: a real scan's tissue means are exchanged for drawn ones and its
  texture is scaled (or turned) tissue by tissue, so that real anatomy below the labels survives;
- :meth:`Synthesiser.keep`: the real scan as it is.

Then lesions, partial volume, thick slices, bias field, noise, and an imperfect brain mask. All of
this is ours ("not specified in the paper"). It is plain torch rather than cornucopia: what is
needed here is separable and comes to a few small matrix products a sample (``data.fields``),
about 0.15 s for a whole brain at 2 mm on two CPU cores.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Generator, Tensor

from dal_fast.data import fields
from dal_fast.data.fields import chance, uniform
from dal_fast.data.lesions import LesionRecipe, add_lesions
from dal_fast.data.normalise import normalise

TISSUES = ("CSF", "GM", "WM")
CONTRASTS = ("T2w", "FLAIR", "T1w", "random")
_CODES = 4 * 256  # structure maps hold values below this

# darkest tissue, then by how much the next is brighter, then the brightest: [low, high) each
_RANGES = torch.tensor(
    [
        [[0.25, 0.45], [0.06, 0.30], [0.20, 0.90]],  # T2w:   WM < GM < CSF
        [[0.05, 0.30], [0.20, 0.45], [0.04, 0.25]],  # FLAIR: CSF < WM < GM
        [[0.10, 0.35], [0.15, 0.35], [0.12, 0.40]],  # T1w:   CSF < GM < WM
        [[0.05, 0.40], [0.08, 0.50], [0.08, 0.50]],  # random order
    ]
)
_ORDERS = torch.tensor([[2, 1, 0], [0, 2, 1], [0, 1, 2]])  # tissues from dark to bright
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
    """

    image: Tensor
    tissue: Tensor
    mask: Tensor
    lesion: Tensor


def encode_structures(labels: Tensor, tissue_of: dict[int, int]) -> Tensor:
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
    """

    def __init__(self, generator: Generator, recipe: Recipe | None = None) -> None:
        self.generator = generator
        self.recipe = recipe or Recipe()

    def paint(self, structures: Tensor) -> Sample:
        """From a structure map ``(N, 1, D, H, W)`` alone."""
        structures, _ = self._deform(structures, None)
        kind = self._draw_kinds(len(structures))
        means = self._draw_means(kind)
        image = _look_up(self._draw_structures(means), structures)
        mask = self._draw_mask(structures)
        rim = mask & (structures == 0)  # a generous mask holds fluid, or nothing
        n = len(structures)
        fluid = means[:, :1] * uniform((n, 1), 0.0, 1.0, self.generator)
        image = torch.where(rim, fluid.view(n, 1, 1, 1, 1), image)
        return self._finish(image, structures, mask, means, kind)

    def remap(self, scan: Tensor, structures: Tensor) -> Sample:
        """From a real ``scan (N, 1, D, H, W)`` whose tissue contrast is exchanged.

        ``x' = m'[s] + g_k (x - m[s])`` with structures' drawn means m', the scan's own means m
        (both blurred by half a voxel) and a gain g_k per tissue, negative where the contrast
        turns, so that partial volume turns with it.
        """
        structures, scan = self._deform(structures, scan)
        g, n = self.generator, len(structures)
        kind = self._draw_kinds(n)
        means = self._draw_means(kind)
        own = tissue_means(scan, structures)
        gain = _contrast_gain(own, means) * uniform((n, 3), 0.5, 1.2, g)
        tables = torch.stack(
            [self._draw_structures(means), _per_tissue(own), _per_tissue(gain)], dim=1
        )
        maps = fields.blur(
            torch.cat([_look_up(t, structures) for t in tables.unbind(1)], dim=1),
            torch.full((n, 3), 0.5, device=g.device),
        )
        new, old, gains = maps.chunk(3, dim=1)
        image = (new + gains * (scan - old)).clamp_min(0)
        return self._finish(image, structures, self._draw_mask(structures), means, kind)

    def keep(self, scan: Tensor, structures: Tensor) -> Sample:
        """The real T1-weighted ``scan (N, 1, D, H, W)`` itself, deformed and degraded."""
        structures, scan = self._deform(structures, scan)
        kind = torch.full((len(scan),), CONTRASTS.index("T1w"), device=self.generator.device)
        means = tissue_means(scan, structures)
        mask = self._draw_mask(structures)
        return self._finish(scan, structures, mask, means, kind)

    # -- draws --------------------------------------------------------------------------------

    def _draw_kinds(self, n: int) -> Tensor:
        weights = torch.tensor(self.recipe.contrasts, device=self.generator.device)
        return torch.multinomial(weights, n, replacement=True, generator=self.generator)

    def _draw_means(self, kind: Tensor) -> Tensor:
        """``(N, 3)`` intensities of CSF, GM and WM."""
        g, n = self.generator, len(kind)
        ranges = _RANGES.to(g.device)[kind]
        sorted_means = uniform((n, 3), ranges[..., 0], ranges[..., 1], g).cumsum(dim=1)
        shuffled = torch.rand((n, 3), generator=g, device=g.device).argsort(dim=1)
        known = _ORDERS.to(g.device)[kind.clamp_max(2)]
        order = torch.where((kind == 3)[:, None], shuffled, known)
        return torch.zeros_like(sorted_means).scatter_(1, order, sorted_means)

    def _draw_structures(self, means: Tensor) -> Tensor:
        """``(N, codes)`` intensity of every structure; 0 outside the brain."""
        g = self.generator
        contrast = means.amax(1, keepdim=True) - means.amin(1, keepdim=True)
        spread = self.recipe.spread * uniform((len(means), 1), 0.0, 1.0, g) * contrast
        table = _per_tissue(means)
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
        image = image.clone()
        lesion = add_lesions(image, tissue, means, brighten, g, r.lesion)

        image = fields.blur(image, uniform((n, 1), *r.blur, g).expand(n, 3))
        thick = uniform((n,), *r.thickness, g)
        axis = torch.randint(3, (n,), generator=g, device=g.device)
        axis = torch.where(chance(n, r.thick_slices, g), axis, -1)
        chosen = torch.arange(3, device=g.device) == axis[:, None]
        thickness = torch.where(chosen, thick[:, None], 1)
        slices = [fields.slice_matrix(space[a], thickness[:, a]) for a in range(3)]
        image = fields.apply_separable(image, slices)

        bias = uniform((n, 1, 1, 1, 1), *r.bias, g) * fields.smooth_field(n, 1, space, 4, g)
        image = image * torch.exp(bias)
        sigma = uniform((n, 1, 1, 1, 1), *r.noise, g) * means.mean(1).view(n, 1, 1, 1, 1)
        image = image + sigma * torch.randn(image.shape, generator=g, device=g.device)
        image = torch.cat([normalise(image[i : i + 1], mask[i : i + 1])[0] for i in range(n)])
        return Sample(image, tissue.clamp_min(0), mask, lesion & mask)


def tissue_means(scan: Tensor, structures: Tensor) -> Tensor:
    """``(N, 3)`` mean of ``scan`` in CSF, GM and WM; 0 for a tissue that is absent."""
    tissue = structures.long() // 256 - 1
    means = []
    for k in range(3):
        inside = (tissue == k).to(scan.dtype)
        means.append((scan * inside).sum((1, 2, 3, 4)) / inside.sum((1, 2, 3, 4)).clamp_min(1))
    return torch.stack(means, dim=1)


def _contrast_gain(own: Tensor, new: Tensor) -> Tensor:
    """``(N, 3)``: new over own contrast, GM to CSF for CSF, WM to GM for both of them."""

    def ratio(high: int, low: int) -> Tensor:
        difference = own[:, high] - own[:, low]
        safe = torch.where(difference.abs() < 1e-3, 1e-3, difference)
        return ((new[:, high] - new[:, low]) / safe).clamp(-3, 3)

    return torch.stack([ratio(1, 0), ratio(2, 1), ratio(2, 1)], dim=1)


def _per_tissue(values: Tensor) -> Tensor:
    """``(N, 3)`` to a ``(N, codes)`` table: every structure has its tissue's value."""
    outside = torch.zeros_like(values[:, :1])
    return torch.cat([outside, values], dim=1).repeat_interleave(256, dim=1)


def _look_up(table: Tensor, structures: Tensor) -> Tensor:
    """``table (N, codes)`` at the structures ``(N, 1, D, H, W)`` of the same sample."""
    return table.gather(1, structures.flatten(1).long()).view(structures.shape)
