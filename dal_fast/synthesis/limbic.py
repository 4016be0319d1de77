"""The limbic system is brighter than other grey matter in a FLAIR, and a little in a T2w.

Cingulate and subcallosal cortex, insula, amygdala, hippocampus and the cortex around it are so in
healthy brains. A contrast that is made from the means of three tissues lacks it.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from dal_fast.imaging.normalise import BRAIN_LEVEL
from dal_fast.synthesis.contrast import CONTRASTS

_CODES = 1024  # of structures, see dal_fast.synthesis.sample.encode_structures
_GREY = 2 * 256
# labels that tell a protocol, which are grey matter in no other one; its limbic structures
_PROTOCOLS = (
    # DLMUSE: cingulate gyri; amygdala, hippocampus, cingulate gyri, insula, entorhinal area,
    # parahippocampal gyrus and subcallosal area, right and left
    (
        (100, 101),
        (31, 32, 47, 48, 100, 101, 138, 139, 166, 167, 102, 103, 172, 173, 116, 117, 170, 171,
         186, 187),
    ),
    # FreeSurfer: cerebral cortex, whose gyri these maps do not tell apart; hippocampus, amygdala
    ((3, 42), (17, 18, 53, 54)),
)  # fmt: skip
_BRIGHTEST = {"T2w": 0.05, "FLAIR": 0.1}  # where the brain's median is BRAIN_LEVEL


def limbic_offsets(
    structures: Tensor, contrast: Tensor, means: Tensor, generator: Generator
) -> Tensor:
    """By how much limbic structures are brighter than their tissue: one offset for each scan.

    It is drawn from 0 to .1 in a FLAIR and to .05 in a T2w, where the brain's median is .5, and is
    0 in other contrasts.

    Args:
        structures: ``(N, 1, D, H, W)``; of another protocol than DLMUSE's and FreeSurfer's, they
            have no offset.
        contrast: ``(N,)``, of ``CONTRASTS``.
        means: intensity of CSF, GM and WM, ``(N, 3)``.
        generator: its state decides, and is left as it is.

    Returns:
        ``(N, codes)``, to be added to a table for :func:`dal_fast.synthesis.contrast.look_up`.
    """
    most = torch.tensor([_BRIGHTEST.get(name, 0.0) for name in CONTRASTS], device=means.device)
    highest = most[contrast]
    if not bool(highest.any()):
        return means.new_zeros(len(means), _CODES)
    drawn = torch.rand(len(means), generator=_beside(generator), device=generator.device)
    level = means[:, 1:].mean(1)  # about the median of a brain
    offset = drawn.to(means) * highest * level / BRAIN_LEVEL
    return offset[:, None] * _limbic(structures)


def _limbic(structures: Tensor) -> Tensor:
    """1 for the codes of limbic structures, ``(N, codes)``, by the protocol of each map."""
    codes = structures.flatten(1).long()
    present = torch.zeros(len(codes), _CODES, device=codes.device).scatter_(1, codes, 1.0)
    found = torch.zeros_like(present)
    for telling, limbic in _PROTOCOLS:
        told = present[:, [_GREY + label for label in telling]].amin(1, keepdim=True)
        found[:, [_GREY + label for label in limbic]] += told
    return found.clamp_max(1)


def _beside(generator: Generator) -> Generator:
    """Another generator, whose numbers follow from this one's state; it stays where it is."""
    device = generator.device
    copy = Generator(device)
    copy.set_state(generator.get_state())
    seed = torch.randint(2**62, (), generator=copy, device=device)
    return Generator(device).manual_seed(int(seed))
