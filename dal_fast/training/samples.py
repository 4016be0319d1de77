"""What a step learns from: a function of seed and step alone.

Nothing is remembered between steps, so a training that was killed goes on as if nothing had
happened, and processes that share a step make the very samples that one process would.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator

from dal_fast.synthesis.brains import Brain, fit
from dal_fast.synthesis.synthesiser import Recipe, Sample, Synthesiser, join
from dal_fast.training.config import SampleConfig

_CUT = (4, 8)  # voxels of a brain's margin, four on either side, that may be lost


@dataclass(frozen=True)
class Samples:
    """Draws the batches of a training.

    Args:
        scans: brains with real scans.
        maps: brains that are label maps alone.
        config: shares.
        seed: of the training.
        space_for: sides of the volume that the model sees of a brain with these sides.
        healthy: samples come with their twins without lesions.
        contrast: of every sample; default any.
    """

    scans: list[Brain]
    maps: list[Brain]
    config: SampleConfig
    seed: int
    space_for: Callable[[Sequence[int]], tuple[int, ...]]
    healthy: bool = False
    contrast: str | None = None

    def batch(
        self, step: int, hardness: float, device: torch.device, rank: int = 0, world: int = 1
    ) -> Sample:
        """Groups of ``config.contrasts`` samples of one brain.

        Args:
            step: of the training.
            hardness: 0 to 1, see :meth:`dal_fast.synthesis.synthesiser.Recipe.eased`.
            device: to draw on.
            rank, world: this process makes brains ``rank``, ``rank + world``, ... of the step.
        """
        chooser = random.Random(f"{self.seed}/{step}")
        brains = [self._choose(chooser) for _ in range(self.config.brains)]
        ways = [self._ways(chooser, brain) for brain in brains]
        seeds = [chooser.getrandbits(62) for _ in brains]
        space = self._space(chooser, brains)
        recipe = replace(Recipe(), lesions=self.config.lesions).eased(hardness)
        if self.contrast:
            recipe = recipe.only(self.contrast)
        made = []
        for own, brain in list(enumerate(brains))[rank::world]:
            generator = Generator(device).manual_seed(seeds[own])
            synthesiser = Synthesiser(generator, recipe, self.healthy)
            structures = fit(brain.structures, space).to(device)
            scans = {c: fit(scan, space).to(device).float() for c, scan in brain.scans.items()}
            made.append(synthesiser.contrasts(structures, scans, ways[own]))
        return join(made)

    def corruption(self, step: int, device: torch.device, rank: int) -> Generator:
        """Of the edges of this process's samples."""
        chooser = random.Random(f"{self.seed}/{step}/{rank}/edges")
        return Generator(device).manual_seed(chooser.getrandbits(62))

    def _choose(self, chooser: random.Random) -> Brain:
        maps = self.maps and (not self.scans or chooser.random() < self.config.maps)
        return chooser.choice(self.maps if maps else self.scans)

    def _ways(self, chooser: random.Random, brain: Brain) -> list[str]:
        """For every contrast: paint, remap, recolour, or the name of a scan, each at most once."""
        if not brain.scans:
            return ["paint"] * self.config.contrasts
        config, left = self.config, [c for c in brain.scans if self.contrast in (None, c)]
        names = ["paint", "remap", "recolour", "keep"]
        shares = [config.painted, config.remapped, config.recoloured, config.kept]
        ways = []
        for _ in range(config.contrasts):
            usable = shares if left else [*shares[:3], 0.0]
            if not sum(usable):  # only real scans were wanted, and there are no more
                usable = [0.0, 1.0, 0.0, 0.0]
            (way,) = chooser.choices(names, usable)
            ways.append(left.pop(chooser.randrange(len(left))) if way == "keep" else way)
        return ways

    def _space(self, chooser: random.Random, brains: list[Brain]) -> tuple[int, ...]:
        """What the model sees of the brains and some of their margin."""
        sides = [max(b.structures.shape[axis] for b in brains) for axis in (2, 3, 4)]
        cut = chooser.randint(*_CUT)
        return self.space_for([side - cut for side in sides])
