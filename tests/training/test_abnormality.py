"""The target of the head on residual evidence, and its loss."""

import torch

from dal_fast.training.abnormality import abnormality_loss, soft_target

SPACE = (1, 1, 16, 16, 16)


def _scan(change):
    """A noisy brain of one tissue whose middle a lesion changed by ``change`` noise spreads."""
    healthy = 0.5 + 0.05 * torch.randn(SPACE, generator=torch.Generator().manual_seed(0))
    lesion = torch.zeros(SPACE, dtype=torch.bool)
    lesion[..., 5:11, 5:11, 5:11] = True
    p = torch.zeros(1, 3, *SPACE[2:])
    p[:, 1] = 1
    x = healthy + change * 0.05 * lesion
    return soft_target(x, healthy, torch.full(SPACE, 0.5), p, lesion, lesion | True), lesion


def test_a_lesion_is_asked_for_as_far_as_it_can_be_seen():
    previous = -1.0
    for change, least, most in (
        (0.0, 0.0, 0.0),
        (0.5, 0.08, 0.16),
        (2.0, 0.8, 0.93),
        (-6.0, 0.99, 1),
    ):
        target, lesion = _scan(change)
        inside = float(target[lesion].mean())
        assert least <= inside <= most
        assert inside > previous
        assert (target[~lesion] == 0).all()
        previous = inside


def test_texture_that_crosses_zero_leaves_no_hole():
    healthy = torch.full(SPACE, 0.5)
    lesion = torch.ones(SPACE, dtype=torch.bool)
    p = torch.zeros(1, 3, *SPACE[2:])
    p[:, 1] = 1
    waves = 0.3 * torch.sin(torch.arange(16.0))[:, None, None].expand(SPACE)
    target = soft_target(healthy + waves, healthy, healthy + waves, p, lesion, lesion)
    assert target.min() > 0.9


def test_the_loss_is_a_number_a_sample_least_for_the_target_and_blind_outside_the_mask():
    target, lesion = _scan(4.0)
    mask = torch.ones_like(lesion)
    mask[..., :2] = False
    right, wrong = 20 * target - 10, 10 - 20 * target
    batch = torch.cat([right, wrong])
    values = abnormality_loss(batch, target.expand_as(batch), mask.expand_as(batch))
    assert values.shape == (2,)
    assert values[0] < 0.1 < 1 < values[1]
    dirty = torch.where(mask, right, 50.0)
    assert torch.equal(abnormality_loss(dirty, target, mask), abnormality_loss(right, target, mask))


def test_a_scan_without_a_lesion_costs_cross_entropy_alone():
    mask = torch.ones(SPACE, dtype=torch.bool)
    logits, target = torch.full(SPACE, -2.0), torch.zeros(SPACE)
    expected = torch.nn.functional.softplus(torch.tensor(-2.0))
    assert torch.allclose(abnormality_loss(logits, target, mask), expected)
