"""The losses of autoencoders and of f-AnoGAN, by name, each a number a sample.

Samples are healthy scans x of one contrast, on the volume that the model sees; V is its number of
voxels, z a code, E, G and D encoder, decoder and critic, f the critic's features.

==============  ==================================================================  ==============
``l2``          mean over the volume of (phi - x)^2                                 Luo 2023
``kl``          KL divergence of the code from N(0, 1), in nats, by V: l2 + 2 s^2   Kingma 2014
                kl is the bound for noise of spread s, but for a constant
``critic``      D(G(z)) - D(x) + 10 (|grad D(y)| - 1)^2, y between x and G(z)       Gulrajani 2017
``generator``   -D(G(z))                                                            Arjovsky 2017
``features``    mean of (f(G(E(x))) - f(x))^2; with l2, f-AnoGAN's izi_f            Schlegl 2019
==============  ==================================================================  ==============
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Generator, Tensor

from dal_fast.models import Autoencoder
from dal_fast.models.autoencoder import drawn
from dal_fast.synthesis.synthesiser import Sample

PENALTY = 10.0  # of the critic's slope, Gulrajani's lambda
_VOLUME = (1, 2, 3, 4)


class ReconstructionPass:
    """One batch on its way through an autoencoder or a GAN; each part is computed once, if asked.

    Args:
        model: whose networks are asked.
        sample: healthy scans, on the model's volume.
        generator: of the codes that are drawn.
        learning: networks that get gradients.
    """

    def __init__(
        self, model: Autoencoder, sample: Sample, generator: Generator, learning: tuple[str, ...]
    ) -> None:
        self.model, self.generator, self.learning = model, generator, learning
        self.x = (sample.image * sample.mask).contiguous(memory_format=torch.channels_last_3d)

    def loss(self, name: str) -> Tensor:
        """``(N,)``, of ``RECONSTRUCTION_LOSSES``."""
        return RECONSTRUCTION_LOSSES[name](self)

    @cached_property
    def coded(self) -> tuple[Tensor, Tensor | None]:
        return self.model.code(self.x)

    @cached_property
    def phi(self) -> Tensor:
        """Of E's code; a variational one is drawn."""
        return self.model.decode(drawn(*self.coded, self.generator))

    @cached_property
    def made(self) -> Tensor:
        """What G makes of drawn codes; held while D learns."""
        shape = (len(self.x), *self.model.code_shape)
        code = torch.randn(shape, generator=self.generator, device=self.x.device)
        with torch.set_grad_enabled("decoder" in self.learning):
            return self.model.decode(code)

    def judged(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """D and its features."""
        score, features = self.model.part("critic")(x)
        return score, features

    def between(self) -> Tensor:
        """A place between x and G(z) for every sample."""
        share = torch.rand(
            (len(self.x), 1, 1, 1, 1), generator=self.generator, device=self.x.device
        )
        return (self.x + share * (self.made.detach() - self.x)).requires_grad_()


def _l2(p: ReconstructionPass) -> Tensor:
    return (p.phi.float() - p.x).square().mean(_VOLUME)


def _kl(p: ReconstructionPass) -> Tensor:
    mean, log_variance = p.coded
    assert log_variance is not None  # the configuration was checked
    nats = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).flatten(1).sum(1)
    return nats / p.x[0].numel()


def _critic(p: ReconstructionPass) -> Tensor:
    real, made = p.judged(p.x)[0], p.judged(p.made.detach())[0]
    y = p.between()
    (slope,) = torch.autograd.grad(p.judged(y)[0].sum(), y, create_graph=True)
    penalty = (slope.flatten(1).norm(dim=1) - 1).square()
    return made - real + PENALTY * penalty


def _generator(p: ReconstructionPass) -> Tensor:
    return -p.judged(p.made)[0]


def _features(p: ReconstructionPass) -> Tensor:
    with torch.no_grad():
        real = p.judged(p.x)[1]
    return (p.judged(p.phi)[1].float() - real).square().mean(1)


RECONSTRUCTION_LOSSES: dict[str, Callable[[ReconstructionPass], Tensor]] = {
    "l2": _l2,
    "kl": _kl,
    "critic": _critic,
    "generator": _generator,
    "features": _features,
}
