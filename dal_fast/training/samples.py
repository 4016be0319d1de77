"""The samples of a training step: a function of the seed and the step's number alone.

Nothing is remembered between steps. A training that was killed therefore goes on as if nothing had
happened, and processes that share a step make the very samples that one process would make.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator

from dal_fast.synthesis.brains import Brain, fit
from dal_fast.synthesis.recipe import Recipe
from dal_fast.synthesis.sample import Sample, join
from dal_fast.synthesis.synthesiser import Synthesiser
from dal_fast.training.config import SampleConfig

_CUT = (4, 8)  # voxels of a brain's margin (four on either side) that are cut off


@dataclass(frozen=True)
class Samples:
    """Draws the batches of a training.

    Args:
        scans: brains with real scans.
        maps: brains that are label maps alone.
        config: shares.
        seed: of the training.
        space_for: sides of the volume that the model sees of a brain with these sides.
        healthy: samples come with their images without lesions.
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
        self, step: int, difficulty: float, device: torch.device, rank: int = 0, world: int = 1
    ) -> Sample:
        """Groups of ``config.contrasts`` samples of one brain.

        Args:
            step: of the training.
            difficulty: 0 to 1, see :meth:`dal_fast.synthesis.synthesiser.Recipe.at_difficulty`.
            device: to draw on.
            rank, world: this process makes brains ``rank``, ``rank + world``, ... of the step.
        """
        chooser = random.Random(f"{self.seed}/{step}")
        brains = [self._choose(chooser) for _ in range(self.config.brains)]
        methods = [self._methods(chooser, brain) for brain in brains]
        seeds = [chooser.getrandbits(62) for _ in brains]
        space = self._space(chooser, brains)
        recipe = replace(Recipe(), lesions=self.config.lesions).at_difficulty(difficulty)
        if self.contrast:
            recipe = recipe.only(self.contrast)
        samples = []
        for number, brain in list(enumerate(brains))[rank::world]:
            generator = Generator(device).manual_seed(seeds[number])
            synthesiser = Synthesiser(generator, recipe, self.healthy)
            structures = fit(brain.structures, space).to(device)
            scans = {c: fit(scan, space).to(device).float() for c, scan in brain.scans.items()}
            samples.append(synthesiser.contrasts(structures, scans, methods[number]))
        return join(samples)

    def step_generator(self, step: int, device: torch.device, rank: int) -> Generator:
        """Of the random numbers that this process's losses need in a step."""
        chooser = random.Random(f"{self.seed}/{step}/{rank}/edges")
        return Generator(device).manual_seed(chooser.getrandbits(62))

    def _choose(self, chooser: random.Random) -> Brain:
        maps = self.maps and (not self.scans or chooser.random() < self.config.maps)
        return chooser.choice(self.maps if maps else self.scans)

    def _methods(self, chooser: random.Random, brain: Brain) -> list[str]:
        """For every contrast: paint, remap, recolour, or the name of a scan, each at most once."""
        if not brain.scans:
            return ["paint"] * self.config.contrasts
        config, left = self.config, [c for c in brain.scans if self.contrast in (None, c)]
        names = ["paint", "remap", "recolour", "keep"]
        shares = [config.painted, config.remapped, config.recoloured, config.kept]
        methods = []
        for _ in range(config.contrasts):
            usable = shares if left else [*shares[:3], 0.0]
            if not sum(usable):  # only real scans were wanted, and there are no more
                usable = [0.0, 1.0, 0.0, 0.0]
            (name,) = chooser.choices(names, usable)
            methods.append(left.pop(chooser.randrange(len(left))) if name == "keep" else name)
        return methods

    def _space(self, chooser: random.Random, brains: list[Brain]) -> tuple[int, ...]:
        """What the model sees of the brains and some of their margin."""
        sides = [max(b.structures.shape[axis] for b in brains) for axis in (2, 3, 4)]
        cut = chooser.randint(*_CUT)
        return self.space_for([side - cut for side in sides])
