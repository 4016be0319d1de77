"""What healthy structures show in a T2w or FLAIR beyond the means of three tissues.

Iron darkens pallidum, substantia nigra and red nucleus, less so putamen, caudate and thalamus; the
corticospinal tract in the posterior limb of the internal capsule is bright, and so is white matter
of the occipital lobe; the cortex around the central sulcus is dark, that of the limbic system
bright. All of it is on both sides, and in most adults. The ranges hold what real scans of four
T2w and three FLAIR protocols show. Ours, not specified in the paper.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from dal_fast.imaging.normalise import BRAIN_LEVEL
from dal_fast.synthesis.contrast import CONTRASTS

CODES = 1024  # of structures, see dal_fast.synthesis.sample.encode_structures
_LABELS = 256  # of a protocol; each is of one tissue
_TELLING = ((2 * 256 + 100,), (2 * 256 + 3,))
"""Codes that tell a protocol, DLMUSE's and FreeSurfer's: grey matter in no other one."""
_WHITE_OF_LOBES = (tuple(range(81, 89)), ())
"""Parts of one tissue that no border divides."""
_ALIKE = 0.3
"""How much these differ from each other, of what other structures do."""


class _Usual(NamedTuple):
    """Structures of either protocol, and by how much they are brighter than their tissue.

    Both sides are named, because a data set's table may not tell that they are one structure. The
    offset's range is that of a brain whose median is BRAIN_LEVEL.
    """

    dlmuse: tuple[int, ...]
    freesurfer: tuple[int, ...]
    t2w: tuple[float, float]
    flair: tuple[float, float]


# amygdala, hippocampus, cingulate gyri, insula, entorhinal area, parahippocampal gyrus, subcallosal
# area
_LIMBIC = (
    31, 32, 47, 48, 100, 101, 102, 103, 116, 117, 138, 139, 166, 167, 170, 171, 172, 173, 186, 187,
)  # fmt: skip
_CENTRAL = (148, 149, 150, 151, 176, 177, 182, 183)  # pre- and postcentral gyri
_USUAL = (
    _Usual(_LIMBIC, (17, 18, 53, 54), (0.0, 0.05), (0.0, 0.13)),
    _Usual((55, 56), (13, 52), (-0.30, -0.12), (-0.15, -0.05)),  # pallidum
    _Usual((57, 58), (12, 51), (-0.12, 0.0), (-0.04, 0.02)),  # putamen
    _Usual((36, 37), (11, 50), (-0.08, 0.0), (-0.02, 0.02)),  # caudate
    _Usual((59, 60), (10, 49), (-0.12, 0.0), (-0.06, 0.0)),  # thalamus
    _Usual(
        (61, 62), (28, 60), (-0.08, 0.0), (-0.08, 0.0)
    ),  # ventral diencephalon: nigra, red nucleus
    _Usual((93, 94), (), (-0.02, 0.12), (0.0, 0.07)),  # posterior limb of the internal capsule
    _Usual((83, 84), (), (0.0, 0.05), (0.0, 0.04)),  # white matter of the occipital lobe
    _Usual((35,), (16,), (0.0, 0.08), (-0.03, 0.03)),  # brain stem
    _Usual((95,), (251, 252, 253, 254, 255), (0.0, 0.05), (-0.04, 0.0)),  # corpus callosum
    _Usual(_CENTRAL, (), (-0.08, 0.0), (-0.04, 0.0)),
)


def _belonging(rows: list[tuple[int, ...]]) -> Tensor:
    """1 where a label belongs to a row, ``(rows, labels)``."""
    found = torch.zeros(len(rows), _LABELS)
    for number, labels in enumerate(rows):
        found[number, list(labels)] = 1
    return found


_OF_LABEL = torch.stack(
    [_belonging([row.dlmuse for row in _USUAL]), _belonging([row.freesurfer for row in _USUAL])]
)
"""By protocol, ``(protocols, rows, labels)``."""
_UNDIVIDED = _belonging(list(_WHITE_OF_LOBES))
"""By protocol, ``(protocols, labels)``."""


def usual_offsets(
    structures: Tensor, contrast: Tensor, means: Tensor, generator: Generator
) -> Tensor:
    """By how much structures are brighter than their tissue: each by one draw for each scan.

    Args:
        structures: ``(N, 1, D, H, W)``; of another protocol than DLMUSE's and FreeSurfer's, they
            have no offset.
        contrast: ``(N,)``, of ``CONTRASTS``; other ones than T2w and FLAIR have none.
        means: intensity of CSF, GM and WM, ``(N, 3)``.
        generator: its state decides, and is left as it is.

    Returns:
        ``(N, codes)``, to be added to a table for :func:`dal_fast.synthesis.contrast.look_up`.
    """
    device = means.device
    ranges = torch.zeros(len(CONTRASTS), len(_USUAL), 2, device=device)
    ranges[CONTRASTS.index("T2w")] = torch.tensor([row.t2w for row in _USUAL])
    ranges[CONTRASTS.index("FLAIR")] = torch.tensor([row.flair for row in _USUAL])
    low, high = ranges[contrast].unbind(-1)
    if not bool((high - low).any()):
        return means.new_zeros(len(means), CODES)
    shape = (len(means), len(_USUAL))
    drawn = torch.rand(shape, generator=_beside(generator), device=generator.device).to(means)
    level = means[:, 1:].mean(1, keepdim=True)  # about the median of a brain
    offsets = (low + (high - low) * drawn) * level / BRAIN_LEVEL
    tables = torch.einsum("ng,pgl->npl", offsets, _OF_LABEL.to(device))
    return torch.einsum("np,npl->nl", _protocols(structures), tables).repeat(1, CODES // _LABELS)


def differences(structures: Tensor) -> Tensor:
    """How far structures differ from their tissue by chance, ``(N, codes)``, of 1.

    Args:
        structures: ``(N, 1, D, H, W)``.
    """
    alike = _UNDIVIDED.to(structures.device)
    share = 1 - (1 - _ALIKE) * _protocols(structures) @ alike
    return share.repeat(1, CODES // _LABELS)


def _protocols(structures: Tensor) -> Tensor:
    """1 for the protocol that a map's labels tell, ``(N, protocols)``."""
    codes = structures.flatten(1).long()
    present = torch.zeros(len(codes), CODES, device=codes.device).scatter_(1, codes, 1.0)
    return torch.stack([present[:, list(codes)].amin(1) for codes in _TELLING], dim=1)


def _beside(generator: Generator) -> Generator:
    """Another generator, whose numbers follow from this one's state; it stays where it is."""
    device = generator.device
    copy = Generator(device)
    copy.set_state(generator.get_state())
    seed = torch.randint(2**62, (), generator=copy, device=device)
    return Generator(device).manual_seed(int(seed))
