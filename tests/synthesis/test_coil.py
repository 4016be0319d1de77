"""The field of a real scan is taken off before its contrast is exchanged."""

import pytest
import torch
from brains import structures, t1w

from dal_fast.synthesis.coil import without_coil

SPACE = (48, 56, 48)


def _field(strength):
    u, v, w = torch.meshgrid(*(torch.linspace(-1, 1, side) for side in SPACE), indexing="ij")
    return (strength * (u - 0.8 * v * w + 0.5 * w**3))[None, None].exp()


def _scan(maps, seed=0):
    noise = torch.randn(maps.shape, generator=torch.Generator().manual_seed(seed))
    return (t1w(maps) + 0.01 * noise).clamp_min(0) * (maps > 0)


@pytest.mark.parametrize("strength", [0.1, 0.4])
def test_a_smooth_field_is_found_and_tissues_keep_their_contrast(strength):
    maps, field = structures(SPACE), _field(strength)
    even = without_coil(_scan(maps) * field, maps)
    for tissue, level in ((2, 0.55), (3, 0.85)):
        inside = even[maps // 256 == tissue]
        assert inside.std() / inside.mean() < 0.03
        assert float(inside.mean()) == pytest.approx(level, rel=0.05)


def test_a_scan_without_a_field_stays_as_it_is():
    maps = structures(SPACE)
    scan = _scan(maps)
    assert (without_coil(scan, maps) - scan).abs().max() < 0.01


def test_a_lesion_is_no_field():
    maps, field = structures(SPACE), _field(0.2)
    scan = _scan(maps)
    lesion = torch.zeros_like(maps, dtype=torch.bool)
    lesion[..., 16:22, 20:26, 20:26] = True
    even = without_coil(torch.where(lesion, 0.1, scan) * field, maps)
    healthy = (maps // 256 == 3) & ~lesion
    assert even[healthy].std() / even[healthy].mean() < 0.03


def test_scans_of_a_batch_do_not_see_each_other():
    maps = structures(SPACE)
    both = torch.cat([_scan(maps) * _field(0.3), _scan(maps, 1)])
    alone = without_coil(both[:1], maps)
    assert torch.allclose(without_coil(both, maps.expand(2, -1, -1, -1, -1))[:1], alone, atol=1e-6)


def test_too_little_tissue_tells_nothing():
    maps = torch.zeros_like(structures(SPACE))
    maps[..., 20:24, 20:24, 20:24] = 2 * 256 + 7
    scan = _scan(maps) * _field(0.3)
    assert torch.equal(without_coil(scan, maps), scan)
    assert torch.equal(without_coil(torch.zeros_like(scan), maps), torch.zeros_like(scan))
