"""The losses of autoencoders and of f-AnoGAN, by name; each returns one value for every sample.

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
from dal_fast.training.batch import Batch

PENALTY = 10.0
"""Weight of the critic's slope, Gulrajani's lambda."""
_VOLUME = (1, 2, 3, 4)


class AutoencoderOutputs:
    """What the networks make of a batch; each output is computed when a loss first asks for it.

    Args:
        model: whose networks are used.
        batch: healthy scans, on the model's volume, with the noise of :func:`add_noise`.
        learning: networks that get gradients.
    """

    def __init__(self, model: Autoencoder, batch: Batch, learning: tuple[str, ...]) -> None:
        self.model, self.batch, self.learning = model, batch, learning
        brain = batch["image"] * batch["mask"]
        self.scan = brain.contiguous(memory_format=torch.channels_last_3d)

    @cached_property
    def code(self) -> tuple[Tensor, Tensor | None]:
        """Mean and, of a variational code, log variance."""
        return self.model.code(self.scan)

    @cached_property
    def pseudo_healthy(self) -> Tensor:
        """Phi, decoded from E's code; a variational one is drawn."""
        code, log_variance = self.code
        if log_variance is not None:
            code = code + (0.5 * log_variance).exp() * self.batch["code_noise"]
        return self.model.decode(code)

    @cached_property
    def generated(self) -> Tensor:
        """What G makes of drawn codes; without a gradient while D learns."""
        with torch.set_grad_enabled("decoder" in self.learning):
            return self.model.decode(self.batch["prior_code"])

    @cached_property
    def between(self) -> Tensor:
        """A place between x and G(z) for every sample; a leaf that requires a gradient."""
        mixed = self.scan + self.batch["mixing"] * (self.generated.detach() - self.scan)
        return mixed.requires_grad_()

    def critic(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """D's score ``(N,)`` of volumes, and its features."""
        score, features = self.model.part("critic")(x)
        return score, features


def add_noise(batch: Batch, model: Autoencoder, generator: Generator) -> Batch:
    """The batch with the random numbers that the model's losses need."""
    shape, device = (len(batch["image"]), *model.code_shape), batch["image"].device
    if model.config.code == "variational":
        batch["code_noise"] = torch.randn(shape, generator=generator, device=device)
    elif model.config.code == "adversarial":
        batch["prior_code"] = torch.randn(shape, generator=generator, device=device)
        batch["mixing"] = torch.rand((shape[0], 1, 1, 1, 1), generator=generator, device=device)
    return batch


def _l2(batch: Batch, outputs: AutoencoderOutputs) -> Tensor:
    return (outputs.pseudo_healthy.float() - outputs.scan).square().mean(_VOLUME)


def _kl(batch: Batch, outputs: AutoencoderOutputs) -> Tensor:
    mean, log_variance = outputs.code
    assert log_variance is not None  # the configuration was checked
    nats = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).flatten(1).sum(1)
    return nats / outputs.scan[0].numel()


def _critic(batch: Batch, outputs: AutoencoderOutputs) -> Tensor:
    real = outputs.critic(outputs.scan)[0]
    generated = outputs.critic(outputs.generated.detach())[0]
    score = outputs.critic(outputs.between)[0].sum()
    (slope,) = torch.autograd.grad(score, outputs.between, create_graph=True)
    penalty = (slope.flatten(1).norm(dim=1) - 1).square()
    return generated - real + PENALTY * penalty


def _generator(batch: Batch, outputs: AutoencoderOutputs) -> Tensor:
    return -outputs.critic(outputs.generated)[0]


def _features(batch: Batch, outputs: AutoencoderOutputs) -> Tensor:
    with torch.no_grad():
        real = outputs.critic(outputs.scan)[1]
    return (outputs.critic(outputs.pseudo_healthy)[1].float() - real).square().mean(1)


RECONSTRUCTION_LOSSES: dict[str, Callable[[Batch, AutoencoderOutputs], Tensor]] = {
    "l2": _l2,
    "kl": _kl,
    "critic": _critic,
    "generator": _generator,
    "features": _features,
}
"""By the name that a recipe uses."""
