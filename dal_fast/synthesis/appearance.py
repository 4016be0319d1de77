"""The steps of a synthesis that give a brain its contrast: intensities from structures and scans.

Means are those of :func:`dal_fast.synthesis.contrast.draw_means`. None of this is specified in the
paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from dal_fast.synthesis import fields
from dal_fast.synthesis.contrast import bend, contrast_gain, look_up, per_tissue, tissue_means
from dal_fast.synthesis.fields import uniform

_GAIN = (0.5, 1.2)  # of the texture below the labels, relative to the contrast that is drawn
_MOST = 2.0  # standard deviations of a structure from its tissue


class Look(NamedTuple):
    """How bright tissues and structures are in a contrast.

    Attributes:
        means: intensity of CSF, GM and WM, ``(N, 3)``.
        spread: largest standard deviation of structures around their tissue, ``(N, codes)``, in
            units of the largest difference of two tissues. At 0.1, thalamus and cortex differ by a
            tenth of the scan's contrast.
        offsets: of structures from their tissue, ``(N, codes)``, which are not by chance; see
            :func:`dal_fast.synthesis.usual.usual_offsets`.
    """

    means: Tensor
    spread: Tensor
    offsets: Tensor


def draw_structures(look: Look, generator: Generator) -> Tensor:
    """Intensity of every structure, drawn around that of its tissue.

    Args:
        look: of the contrast.
        generator: of all random numbers.

    Returns:
        ``(N, codes)``, a table for :func:`dal_fast.synthesis.contrast.look_up`; 0 outside the
        brain.
    """
    means = look.means
    contrast = means.amax(1, keepdim=True) - means.amin(1, keepdim=True)
    sd = look.spread * uniform((len(means), 1), 0.0, 1.0, generator) * contrast
    table = per_tissue(means) + look.offsets
    drawn = torch.randn(table.shape, generator=generator, device=generator.device)
    table = table + sd * drawn.clamp(-_MOST, _MOST)
    table[:, :256] = 0
    return table.clamp_min(0)


def paint(structures: Tensor, look: Look, generator: Generator) -> Tensor:
    """Every structure in one intensity, from the label map alone.

    Args:
        structures: ``(N, 1, D, H, W)``.
        look, generator: see :func:`draw_structures`.
    """
    return look_up(draw_structures(look, generator), structures)


def fill_rim(
    image: Tensor, structures: Tensor, mask: Tensor, means: Tensor, generator: Generator
) -> Tensor:
    """Where a generous mask reaches beyond the brain, it holds fluid of any dilution, or nothing.

    Args:
        image, structures, mask: ``(N, 1, D, H, W)``.
        means: intensity of CSF, GM and WM, ``(N, 3)``.
        generator: of all random numbers.
    """
    n, rim = len(image), mask & (structures == 0)
    fluid = means[:, :1] * uniform((n, 1), 0.0, 1.0, generator)
    return torch.where(rim, fluid.view(n, 1, 1, 1, 1), image)


def remap(scan: Tensor, structures: Tensor, look: Look, generator: Generator) -> Tensor:
    """A real scan whose tissue means are exchanged: ``x' = m'[s] + g_k (x - m[s])``.

    With structures' drawn means m', the scan's own means m (both blurred by half a voxel) and a
    gain g_k for each tissue, negative where the contrast turns, so that partial volume turns with
    it. Real anatomy below the labels survives.

    Args:
        scan, structures: ``(N, 1, D, H, W)``.
        look, generator: see :func:`draw_structures`.
    """
    before = tissue_means(scan, structures)
    gain = contrast_gain(before, look.means) * uniform((len(scan), 3), *_GAIN, generator)
    tables = (draw_structures(look, generator), per_tissue(before), per_tissue(gain))
    new, old, gains = _blurred(tables, structures).chunk(3, dim=1)
    return (new + gains * (scan - old)).clamp_min(0)


def recolour(scan: Tensor, structures: Tensor, look: Look, generator: Generator) -> Tensor:
    """A real scan whose intensities are bent: ``x' = f(x) + d[s]``.

    f is piecewise linear and takes the scan's tissue means to the drawn ones; d is how structures
    differ within a tissue. Every border stays where the scanner saw it, whatever the labels say.

    Args:
        scan, structures: ``(N, 1, D, H, W)``.
        look, generator: see :func:`draw_structures`.
    """
    table = draw_structures(look, generator)
    differences = _blurred((table - per_tissue(look.means),), structures)
    bent = bend(scan, tissue_means(scan, structures), look.means)
    return (bent + differences).clamp_min(0)


def _blurred(tables: Sequence[Tensor], structures: Tensor) -> Tensor:
    """Tables at the structures, ``(N, len(tables), D, H, W)``, blurred by half a voxel."""
    maps = torch.cat([look_up(table, structures) for table in tables], dim=1)
    return fields.blur(maps, torch.full((len(maps), 3), 0.5, device=maps.device))
