"""What a lesion of given proton density, T1 and T2 looks like beside the tissues of a scan.

Textbook signal equations of spin echo and inversion recovery say how bright tissues and lesion are
under a drawn sequence. A piecewise linear map takes the three tissues' signals to the intensities
that the scan has, and the lesion's with them. Values at about 3 T, of reviews; not specified in the
paper.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from dal_fast.synthesis.fields import uniform

TISSUES = ((1.0, 4000.0, 2000.0), (0.82, 1400.0, 90.0), (0.70, 850.0, 70.0))
"""Proton density, T1 and T2 (ms) of CSF, GM and WM."""
LESIONS = {
    "core": (0.97, 2800.0, 350.0),
    "solid": (0.87, 1600.0, 115.0),
    "rim": (0.84, 1150.0, 95.0),
    "oedema": (0.88, 1500.0, 140.0),
    "infarct": (0.87, 1500.0, 130.0),
    "cavity": (0.98, 3200.0, 600.0),
    "plaque": (0.85, 1400.0, 130.0),
    "hyperintensity": (0.80, 1250.0, 110.0),
    "haematoma": (0.85, 550.0, 60.0),
}
"""The same of parts of lesions."""
_JITTER = 0.15  # of every value, relative
_CEILING = 1.5  # of the brightest tissue
# TR, TE and TI in ms, [low, high) each; TI 0 is a spin echo
_SEQUENCES = {
    0: ((3000.0, 6000.0), (80.0, 120.0), (0.0, 0.0)),  # T2w
    1: ((8000.0, 11000.0), (90.0, 140.0), (2200.0, 2700.0)),  # FLAIR
    2: ((400.0, 800.0), (8.0, 20.0), (0.0, 0.0)),  # T1w
}


def lesion_level(part: str, contrast: int, means: Tensor, generator: Generator) -> float | None:
    """Intensity of a part of a lesion in a scan; None for a contrast without a sequence.

    Args:
        part: of ``LESIONS``.
        contrast: index into :data:`dal_fast.synthesis.contrast.CONTRASTS`.
        means: intensity of CSF, GM and WM in the scan, ``(3,)``.
        generator: of the sequence, and of how far the lesion departs from its textbook values.
    """
    if contrast not in _SEQUENCES:
        return None
    ranges = torch.tensor(_SEQUENCES[contrast])
    tr, te, ti = uniform((3,), ranges[:, 0], ranges[:, 1], _on_cpu(generator)).tolist()
    values = torch.tensor([*TISSUES, LESIONS[part]])
    jitter = 1 + _JITTER * uniform((4, 3), -1.0, 1.0, _on_cpu(generator))
    signals = signal(values * jitter, tr, te, ti)
    level = _map(signals, means.cpu())
    return min(max(level, 0.0), _CEILING * float(means.max()))


def signal(values: Tensor, tr: float, te: float, ti: float) -> Tensor:
    """Of tissues ``(n, 3)``, proton density, T1 and T2, by spin echo or inversion recovery."""
    density, t1, t2 = values.unbind(1)
    recovered = 1 - torch.exp(-tr / t1)
    if ti:
        recovered = (1 - 2 * torch.exp(-ti / t1) + torch.exp(-tr / t1)).abs()
    return density * recovered * torch.exp(-te / t2)


def _map(signals: Tensor, means: Tensor) -> float:
    """The last signal, by the piecewise linear map that takes the first three to the means."""
    order = signals[:3].argsort()
    x, y = signals[:3][order].tolist(), means[order].tolist()
    at = float(signals[3])
    piece = 0 if at < x[1] else 1
    width = max(x[piece + 1] - x[piece], 1e-3)
    return y[piece] + (y[piece + 1] - y[piece]) * (at - x[piece]) / width


def _on_cpu(generator: Generator) -> Generator:
    """A generator for the CPU whose numbers follow from this one's."""
    if generator.device.type == "cpu":
        return generator
    seed = torch.randint(2**62, (), generator=generator, device=generator.device)
    return Generator().manual_seed(int(seed))
