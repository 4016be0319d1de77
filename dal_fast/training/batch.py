"""What a training step hands to the networks: tensors by name, and nothing else.

Lightning Fabric moves, casts and scatters tensors in dictionaries, and it refuses frozen
dataclasses. Random numbers that a loss needs are drawn beforehand and travel in the batch, so that
the forward pass is a function of its batch alone.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from torch import Tensor

from dal_fast.imaging.normalise import CEILING
from dal_fast.synthesis.sample import Sample


class Batch(TypedDict):
    """The samples of one step and the random numbers of its losses.

    Attributes:
        seen: the scan as E_A may see it, ``(N, 1, D, H, W)`` in [0, 2].
        image, tissue, mask, lesion, healthy: as in :class:`dal_fast.synthesis.sample.Sample`, but
            that intensities are cut off at 1; ``healthy`` is ``image`` where no healthy image was
            asked for.
        edges_kept, edges_added: bool ``(N, 1, D, H, W)``, see
            :mod:`dal_fast.training.corruption`.
        code_noise: ``(N, *code_shape)``, standard normal; the noise of a variational code.
        prior_code: ``(N, *code_shape)``, standard normal; the codes that a GAN makes scans from.
        mixing: ``(N, 1, 1, 1, 1)`` in [0, 1); where between a real and a made scan the critic's
            slope is taken.
    """

    seen: Tensor
    image: Tensor
    tissue: Tensor
    mask: Tensor
    lesion: Tensor
    healthy: Tensor
    edges_kept: NotRequired[Tensor]
    edges_added: NotRequired[Tensor]
    code_noise: NotRequired[Tensor]
    prior_code: NotRequired[Tensor]
    mixing: NotRequired[Tensor]


def batch_of(sample: Sample) -> Batch:
    """The tensors of a sample."""
    image = sample.image.clamp_max(CEILING)
    return {
        "seen": sample.image,
        "image": image,
        "tissue": sample.tissue,
        "mask": sample.mask,
        "lesion": sample.lesion,
        "healthy": image if sample.healthy is None else sample.healthy.clamp_max(CEILING),
    }
