"""The last steps of a synthesis: what scanner and skull stripper do to an image.

None of this is specified in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from dal_fast.imaging.normalise import normalise
from dal_fast.synthesis import fields
from dal_fast.synthesis.fields import chance, uniform
from dal_fast.synthesis.sample import Draft, Sample


@dataclass(frozen=True)
class BrainMask:
    """The brain, in some samples a little too tight or too generous, unevenly.

    Attributes:
        error: probability of a mask that errs.
        shift: range of the error's mean, as the height at which the blurred brain is cut, from
            its middle; positive is erosion, the commoner mistake of skull strippers.
        uneven: standard deviation of the error over the surface, in the same unit.
    """

    error: float
    shift: tuple[float, float] = (-0.25, 0.4)
    uneven: float = 0.12

    def __call__(self, structures: Tensor, generator: Generator) -> Tensor:
        """bool ``(N, 1, D, H, W)``, of structure maps of that shape."""
        n = len(structures)
        inside = (structures > 0).float()
        soft = fields.blur(inside, torch.full((n, 3), 1.2, device=generator.device))
        shift = uniform((n, 1, 1, 1, 1), *self.shift, generator)
        uneven = self.uneven * fields.smooth_field(n, 1, structures.shape[2:], 8, generator)
        wrong = chance(n, self.error, generator).view(n, 1, 1, 1, 1)
        border = (0.5 + shift + uneven).clamp(0.1, 0.92)
        return torch.where(wrong, soft > border, inside > 0)


@dataclass(frozen=True)
class Blur:
    """The scanner's resolution: a Gaussian blur, alike along all axes.

    Attributes:
        sigma: range of its standard deviation, voxels.
    """

    sigma: tuple[float, float]

    def __call__(self, draft: Draft, generator: Generator) -> None:
        n = len(draft.images)
        sigma = uniform((n, 1), *self.sigma, generator).expand(n, 3)
        draft.images = fields.blur(draft.images, sigma)


@dataclass(frozen=True)
class ThickSlices:
    """Slices thicker than the grid along one axis, interpolated back to it.

    Attributes:
        probability: of each sample.
        thickness: range, voxels.
    """

    probability: float
    thickness: tuple[float, float]

    def __call__(self, draft: Draft, generator: Generator) -> None:
        n, space, device = len(draft.images), draft.images.shape[2:], generator.device
        thick = uniform((n,), *self.thickness, generator)
        axis = torch.randint(3, (n,), generator=generator, device=device)
        axis = torch.where(chance(n, self.probability, generator), axis, -1)
        chosen = torch.arange(3, device=device) == axis[:, None]
        thickness = torch.where(chosen, thick[:, None], 1)
        slices = [fields.slice_matrix(space[a], thickness[:, a]) for a in range(3)]
        draft.images = fields.apply_separable(draft.images, slices)


@dataclass(frozen=True)
class BiasField:
    """The receive coils' uneven sensitivity: a smooth field that multiplies the image.

    Attributes:
        log_sd: range of the standard deviation of the field's logarithm. Corrected scans have
            about 0.05, raw scans at 3 T up to 0.4.
        nodes: control points along each axis, at least 4, the smoothest.
    """

    log_sd: tuple[float, float]
    nodes: int = 4

    def __call__(self, draft: Draft, generator: Generator) -> None:
        n, space = len(draft.images), draft.images.shape[2:]
        sd = uniform((n, 1, 1, 1, 1), *self.log_sd, generator)
        bias = sd * fields.smooth_field(n, 1, space, self.nodes, generator)
        draft.images = draft.images * torch.exp(bias)


@dataclass(frozen=True)
class Noise:
    """White noise.

    Attributes:
        sd: range of its standard deviation, relative to the mean intensity of the tissues.
    """

    sd: tuple[float, float]

    def __call__(self, draft: Draft, generator: Generator) -> None:
        n, shape = len(draft.images), draft.images[:, :1].shape
        level = draft.means.mean(1).view(n, 1, 1, 1, 1)
        sigma = uniform((n, 1, 1, 1, 1), *self.sd, generator) * level
        noise = torch.randn(shape, generator=generator, device=generator.device)
        draft.images = draft.images + sigma * noise


def finish(draft: Draft) -> Sample:
    """The sample of a draft: inside its mask, normalised as the screener normalises a scan.

    The healthy image has its scan's scale.
    """
    scans, healthy = [], []
    for n in range(len(draft.images)):
        images, mask = draft.images[n : n + 1], draft.mask[n : n + 1]
        scan, field_of_view, normalisation = normalise(images[:, :1], mask)
        scans.append(scan)
        healthy.append(normalisation.scan_to_image(images[:, 1:]) * field_of_view)
    return Sample(
        torch.cat(scans),
        draft.tissue.clamp_min(0),
        draft.mask,
        draft.lesion & draft.mask,
        torch.cat(healthy) if draft.images.shape[1] > 1 else None,
    )
