"""Lesion shapes: of the volume that was asked for, with borders that are no label's."""

import math

import pytest
import torch
from brains import structures
from distributions import deviation_from_uniform

from dal_fast.ops import components3d
from dal_fast.synthesis import shapes
from dal_fast.synthesis.lesion_kinds import Place
from dal_fast.synthesis.shapes import covered, log_uniform, solid_shape
from dal_fast.synthesis.textures import MODE_SHARES, MODES, correlated_noise, draw_mode

BRAIN = structures((48, 56, 48))[0, 0].long() // 256 - 1


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_volumes_are_log_uniform():
    g = _generator()
    place = Place(BRAIN, torch.zeros(4), (0.02, 150.0))
    volumes = [place.draw_volume(0.0, g) * 0.008 for _ in range(600)]
    at = [math.log(v / 0.02) / math.log(150 / 0.02) for v in volumes]
    assert min(at) < 0.02
    assert max(at) > 0.98
    assert deviation_from_uniform(at) < 1.63  # 1 % level
    assert deviation_from_uniform([v / 150 for v in volumes]) > 5  # it would notice


@pytest.mark.parametrize("volume", [3, 30, 300, 3000])
def test_a_shape_has_its_volume(volume):
    sizes = []
    for seed in range(8):
        region = solid_shape((24, 28, 24), volume, BRAIN >= -1, _generator(seed))
        sizes.append(int(covered([region], BRAIN).sum()))
    assert volume / 2 <= sorted(sizes)[4] <= 2 * volume
    assert len(set(sizes)) > 1 or volume == 3


def test_no_border_coincides_with_a_labels():
    """The cover changes smoothly where white matter ends, although the lesion ends there."""
    white = BRAIN == 2
    steps, beyond = [], 0.0
    for seed in range(12):
        region = solid_shape((24, 28, 12), 400, white, _generator(seed))
        cover = torch.zeros(BRAIN.shape)
        cover[region.box] = region.cover
        for axis in range(3):
            border = white.roll(1, axis) != white
            steps.append(float((cover.roll(1, axis) - cover).abs()[border].max()))
        beyond = max(beyond, float(cover[~white].max()))
    assert max(steps) < 0.7  # 1 for a border that is the label's
    assert beyond > 0.2


@pytest.mark.parametrize("score", shapes.SCORES)
def test_shapes_differ_and_are_not_balls(score):
    g, box = _generator(), shapes.box_around((24, 28, 24), 16, BRAIN.shape)
    ball = shapes.length(shapes.offsets(box, (24, 28, 24), torch.device("cpu")))
    overlaps = []
    for _ in range(6):
        inside = shapes.cut(score(box, (24, 28, 24), 800, g), BRAIN[box] >= -1, 800)
        same = inside & shapes.cut(-ball, BRAIN[box] >= -1, 800)
        overlaps.append(int(same.sum()) / 800)
    assert min(overlaps) < 0.75
    assert max(overlaps) - min(overlaps) > 0.05


def test_a_displacement_without_divergence():
    field = shapes.divergence_free((20, 22, 24), _generator())
    assert field.std() == pytest.approx(1.0, abs=1e-3)
    parts = [torch.gradient(field[a], dim=a)[0] for a in range(3)]
    inner = (slice(2, -2),) * 3
    assert sum(parts)[inner].abs().max() < 1e-4
    assert max(float(p[inner].abs().max()) for p in parts) > 0.1


def test_small_lesions_share_a_volume():
    centres = torch.tensor([[12.0, 28, 24], [24, 14, 24], [36, 28, 24], [24, 28, 12]])
    axes = torch.eye(3)[[0, 1, 2, 0]]
    regions = shapes.small_shapes(centres, 240, BRAIN >= -1, _generator(), axes)
    mask = covered(regions, BRAIN)
    assert 120 < int(mask.sum()) < 480
    assert int(components3d(mask[None, None]).max()) == 4


def test_noise_is_correlated_and_never_white():
    g = _generator()
    for sigma in (0.5, 1.0, 2.0):
        noise = correlated_noise((24, 24, 24), sigma, g)
        assert noise.std() == pytest.approx(1.0, abs=0.01)
        assert float((noise[1:] * noise[:-1]).mean()) > 0.25


def test_modes_come_in_their_shares():
    g = _generator()
    drawn = [draw_mode(g) for _ in range(2000)]
    for mode, share in zip(MODES, MODE_SHARES, strict=True):
        spread = math.sqrt(share * (1 - share) / 2000)
        assert drawn.count(mode) / 2000 == pytest.approx(share, abs=4 * spread)


def test_log_uniform_stays_inside():
    g = _generator()
    assert all(0.5 <= log_uniform(0.5, 2.0, g) <= 2.0 for _ in range(100))
