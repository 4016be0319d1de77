"""The enhanced score of a batch, as :mod:`dal_fast.screening.calibration` makes it of one scan.

What there depends on a scan's contrast is looked up here by its number in small tables, and what
is decided there (the contrast, the sign that stands out) is a number that stays on the device.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dal_fast.models import fixed
from dal_fast.models.residuals import usual_spread
from dal_fast.screening import calibration as cal
from dal_fast.screening import contrast as guess
from dal_fast.screening import enhance
from dal_fast.screening.calibration import BRIGHT, COMBINED, DARK, STRUCTURE, Calibration
from dal_fast.screening.settings import CONTRASTS
from dal_fast.screening.usual_residual import SIDES, unpack

SIGNS = (BRIGHT, DARK)


class Tables(NamedTuple):
    """What healthy brains show and what is usual, by contrast, in the order of ``CONTRASTS``.

    Attributes:
        structure, combined: thresholds of g and of both signs' map, ``(3,)``.
        signs: thresholds of ``SIGNS``, ``(3, 2)``.
        peaks: mean and SD of the peak by sign, float64 ``(3, 2, 2)``.
        smoothed: of :mod:`dal_fast.screening.enhance`, bool ``(3,)``.
        share: what g adds to a map, ``(3,)``.
        usual: index into ``SIGNS``, int64 ``(3,)``.
        benefit: of the doubt, for that sign, float64 ``(3,)``.
        places: atlases of u_s by sign, and of u_g, ``(3, 3, *SIDES)``; where none was measured,
            what changes nothing.
    """

    structure: Tensor
    combined: Tensor
    signs: Tensor
    peaks: Tensor
    smoothed: Tensor
    share: Tensor
    usual: Tensor
    benefit: Tensor
    places: Tensor

    @classmethod
    def of(cls, calibration: Calibration, device: torch.device | str) -> Tables:
        """Uploaded once."""
        threshold = calibration.threshold
        peaks = [
            [calibration.peaks.get(c, {}).get(sign, cal._USUAL_PEAK) for sign in SIGNS]
            for c in CONTRASTS
        ]
        return cls(
            torch.tensor([threshold(c, STRUCTURE) for c in CONTRASTS]),
            torch.tensor([threshold(c, COMBINED) for c in CONTRASTS]),
            torch.tensor([[threshold(c, sign) for sign in SIGNS] for c in CONTRASTS]),
            torch.tensor(peaks, dtype=torch.float64),
            torch.tensor([enhance.SMOOTHED[c] for c in CONTRASTS]),
            torch.tensor([cal.STRUCTURE_SHARE[c] for c in CONTRASTS]),
            torch.tensor([SIGNS.index(cal.USUAL[c]) for c in CONTRASTS]),
            torch.tensor([cal.BENEFIT[c] for c in CONTRASTS], dtype=torch.float64),
            torch.stack([_places(calibration.usual.get(c, {})) for c in CONTRASTS]),
        ).to(device)

    def to(self, device: torch.device | str) -> Tables:
        return Tables(*(table.to(device) for table in self))


def _places(packed: dict[str, str]) -> Tensor:
    """The atlases of one contrast, ``(3, *SIDES)``: of ``SIGNS``, and of the structure."""
    nothing = {BRIGHT: 1 - enhance.LEAST_USUAL, DARK: 1 - enhance.LEAST_USUAL, STRUCTURE: 0.0}
    return torch.stack(
        [
            unpack(packed[name]) if name in packed else torch.full(SIDES, value)
            for name, value in nothing.items()
        ]
    )


class Evidence(NamedTuple):
    """What a map is made from, of N scans, as :class:`dal_fast.screening.calibration.Evidence`."""

    x: Tensor
    phi: Tensor
    p: Tensor
    mask: Tensor
    fluid: Tensor
    abnormal: Tensor | None


class Scored(NamedTuple):
    """Maps and what was chosen for them.

    Attributes:
        anomaly: ``(N, 1, D, H, W)``, not smoothed.
        contrast, looks_like: indices into ``CONTRASTS``, int64 ``(N,)``.
        sign: that is shown, index into ``SIGNS``, int64 ``(N,)``.
    """

    anomaly: Tensor
    contrast: Tensor
    looks_like: Tensor
    sign: Tensor


def score(evidence: Evidence, tables: Tables, known: Tensor, name: str) -> Scored:
    """Score every scan.

    Args:
        evidence: of them.
        tables: of the model.
        known: their contrasts, indices into ``CONTRASTS``; negative where unknown.
        name: of ``ENHANCED``.
    """
    e = evidence
    looks_like = guess_contrasts(evidence)
    contrast = torch.where(known < 0, looks_like, known)
    structure = enhance.structural_difference(e.x, e.phi, e.fluid, e.mask)
    structure = structure / _each(tables.structure[contrast])
    spread = usual_spread(e.x, e.phi, e.p, e.mask)
    smoothed = _each(tables.smoothed[contrast])
    shown = SIGNS if name == COMBINED else (name,)
    thresholds = tables.signs[contrast]
    usual = fixed.laid_out_each(tables.places[contrast], e.mask[:, 0])
    of_structure = usual[:, 2:] / _each(tables.structure[contrast])
    excess = _each(tables.share[contrast]) * (structure - of_structure).clamp_min(0)
    maps, peaks = [], []
    for one in shown:
        column = SIGNS.index(one)
        place = usual[:, column : column + 1]
        value = 1.0 if one == BRIGHT else -1.0
        enhanced = enhance.enhanced(
            e.x, e.phi, e.fluid, e.mask, spread, structure, value, smoothed, e.abnormal, place
        )
        enhanced = enhanced / _each(thresholds[:, column])
        peaks.append(_peaks(enhanced.flatten(1), e.mask.flatten(1)))
        maps.append(enhanced + excess)
    if len(shown) == 1:
        both, sign = maps[0], torch.full_like(contrast, SIGNS.index(shown[0]))
    else:
        weights, sign = _weights(torch.stack(peaks, dim=1), tables, contrast)
        bright, dark = (m * _each(w) for m, w in zip(maps, weights.unbind(1), strict=True))
        both = torch.maximum(bright, dark)
    both = cal.with_surroundings(both, e.mask)
    return Scored(both / _each(tables.combined[contrast]), contrast, looks_like, sign)


def _peaks(maps: Tensor, mask: Tensor) -> Tensor:
    """:func:`dal_fast.screening.calibration.peak_of` of every scan, float64 ``(N,)``."""
    highest = fixed.top_mean(maps, mask, cal.PEAK_SHARE).clamp_min(cal.LEAST_PEAK)
    mean_square = maps.double().square().sum(1) / mask.sum(1).clamp_min(1)
    common = mean_square.sqrt().clamp_min(cal.LEAST_PEAK)
    return highest.log() - cal.COMMON_SHARE * common.log()


def _weights(peaks: Tensor, tables: Tables, contrast: Tensor) -> tuple[Tensor, Tensor]:
    """What each sign's map counts, float32 ``(N, 2)``, and the sign that is shown.

    Args:
        peaks: float64 ``(N, 2)``.
        tables: of the model.
        contrast: indices into ``CONTRASTS``.
    """
    mean, deviation = tables.peaks[contrast].unbind(-1)
    z = (peaks - mean) / deviation.clamp_min(cal.LEAST_SPREAD)
    usual = tables.usual[contrast][:, None]
    benefit = tables.benefit[contrast][:, None]
    doubt = (benefit + z.gather(1, usual) - z.gather(1, 1 - usual)) / 2
    both = torch.cat([doubt.clamp_max(0), (-doubt).clamp_max(0)], dim=1).exp()  # usual, other
    is_dark = usual == SIGNS.index(DARK)
    weights = torch.where(is_dark, both.flip(1), both)
    sign = torch.where(both[:, :1] >= both[:, 1:], usual, 1 - usual)
    return weights.to(torch.float32), sign[:, 0]


def guess_contrasts(e: Evidence) -> Tensor:
    """:func:`dal_fast.screening.contrast.guess_contrast` of every scan."""
    x, phi = e.x, e.phi
    mask, phi = e.mask.flatten(1)[:, None], phi.flatten(1)[:, None]
    tissue = e.p[:, 1:].flatten(2)
    certain = (tissue > guess._CERTAIN) & mask
    weight = tissue * mask
    mixed = (phi * weight).sum(2) / weight.sum(2).clamp_min(1e-6)
    middle = fixed.masked_median(phi.expand_as(tissue), certain)
    grey, white = torch.where(certain.sum(2) >= guess._ENOUGH, middle, mixed).unbind(1)
    wet = (e.fluid > guess._CERTAIN).flatten(1) & mask[:, 0]
    count = wet.sum(1)
    rising = x.flatten(1).masked_fill(~wet, torch.inf).sort(dim=1).values
    rank = (guess._FLUID_QUANTILE * (count - 1).double()).long()
    brightest = fixed.ranked(rising, rank) > torch.maximum(grey, white)
    t2w = (count >= guess._ENOUGH) & brightest
    t1w = white - grey > guess._T1_SHARE * white
    by_matter = torch.where(t1w, CONTRASTS.index("T1w"), CONTRASTS.index("FLAIR"))
    return torch.where(t2w, CONTRASTS.index("T2w"), by_matter)


def _each(values: Tensor) -> Tensor:
    """``(N,)`` for volumes ``(N, 1, D, H, W)``."""
    return values.view(-1, 1, 1, 1, 1)
