"""The lesions of the varied generator: kinds, modes and contrasts, drawn for every sample.

Not specified in the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from dal_fast.synthesis.contrast import BRIGHT_LESIONS
from dal_fast.synthesis.fields import chance, uniform
from dal_fast.synthesis.laws import lesion_level
from dal_fast.synthesis.lesion_kinds import KINDS, Kind, Part, Place, tumour
from dal_fast.synthesis.sample import Draft
from dal_fast.synthesis.shapes import Region, covered, log_uniform
from dal_fast.synthesis.textures import Canvas, blend, draw_mode, selected

_AT_MASS = 0.8  # probability that a brain with a mass effect has its tumour there


@dataclass(frozen=True)
class AddVariedLesions:
    """Lesions of any kind, size and contrast.

    The lesion mask is where the parts of a lesion together cover more than half of a voxel,
    however faint the lesion is.

    Attributes:
        probability: of each sample.
        volume: range of a lesion's volume, mL of the 2 mm grid; log-uniform.
        most: largest number of small lesions.
        lawful: share of lesions whose intensity follows from their proton density, T1 and T2 and
            the drawn sequence. The others differ from the tissue underneath by a log-uniform
            amount, from one standard deviation of healthy tissue to the full tissue contrast.
        bright: probability that a lesion is brighter than the tissue around it; by default it
            depends on the contrast. Lawful lesions take no notice.
        kinds: functions that place lesions, and how often each is drawn.
    """

    probability: float
    volume: tuple[float, float] = (0.02, 150.0)
    most: int = 40
    lawful: float = 0.5
    bright: float | None = None
    kinds: Sequence[tuple[Kind, float]] = KINDS

    def __call__(self, draft: Draft, generator: Generator) -> None:
        tissue = draft.tissue
        chosen = chance(len(tissue), self.probability, generator)
        for n in chosen.nonzero().flatten().tolist():
            place = Place(tissue[n], draft.mass[n], self.volume, self.most)
            parts = self._kind(draft.mass[n], generator)(place, generator)
            canvas = canvas_of(draft, n, tissue[n], draft.images[n, :1])
            regions = self._paint(canvas, parts, int(draft.contrast[n]), generator)
            draft.lesion[n, 0] = covered(regions, tissue[n])

    def _kind(self, mass: Tensor, generator: Generator) -> Kind:
        if float(mass[3]) > 0 and bool(chance(1, _AT_MASS, generator)):
            return tumour
        shares = torch.tensor([share for _, share in self.kinds], device=generator.device)
        return self.kinds[int(torch.multinomial(shares, 1, generator=generator))][0]

    def _paint(
        self, canvas: Canvas, parts: Sequence[Part], contrast: int, generator: Generator
    ) -> list[Region]:
        """All parts of one sample; the same name, the same difference. Tells what was changed."""
        mode = draw_mode(generator)
        lawful = bool(chance(1, self.lawful, generator))
        differences: dict[str, float] = {}
        regions = []
        for region, name in parts:
            if name not in differences:
                here = float((canvas.images[0][region.box] * region.cover).sum())
                here /= max(float(region.cover.sum()), 1e-3)
                differences[name] = self.difference(
                    here, name if lawful else "", contrast, canvas, generator
                )
            painted = selected(region, canvas, generator) if mode == "selective" else region
            blend(canvas, painted, differences[name], mode, generator)
            regions.append(painted)
        return regions

    def difference(
        self, here: float, law: str, contrast: int, canvas: Canvas, generator: Generator
    ) -> float:
        """Of a part from the tissue underneath.

        Args:
            here: mean intensity of the tissue underneath.
            law: tissue whose signal the part has; "" for a random difference.
            contrast: index into :data:`dal_fast.synthesis.contrast.CONTRASTS`.
            canvas: the sample.
            generator: of all random numbers.
        """
        sd = canvas.healthy_sd
        if law:
            level = lesion_level(law, contrast, canvas.means, generator)
            if level is not None and abs(level - here) >= sd:
                return level - here
        size = log_uniform(sd, max(canvas.contrast, 1.5 * sd), generator)
        bright = float(BRIGHT_LESIONS[contrast]) if self.bright is None else self.bright
        sign = 1.0 if float(uniform((), 0.0, 1.0, generator)) < bright else -1.0
        return sign * size


def canvas_of(draft: Draft, n: int, tissue: Tensor, images: Tensor) -> Canvas:
    """The n-th sample of a draft.

    Args:
        draft: the batch.
        n: index of the sample.
        tissue: of the sample, ``(D, H, W)``.
        images: what is painted into, ``(C, D, H, W)``, a view of the draft's.
    """
    donor = draft.images[n, 0].flip(0).clone() if draft.donor is None else draft.donor[n, 0]
    return Canvas(images, tissue, draft.means[n], donor)
