"""The head on residual evidence: what it sees, and that nothing else changes by it."""

import pytest
import torch
from brains import structures, t1w

from dal_fast.models import DAL, DALConfig, fixed, load_weights, save_weights
from dal_fast.models.residual_head import CHANNELS, residual_evidence

SMALL = {"tissue_widths": (4, 8, 8), "residual_head_widths": (4, 8)}
BRIGHT, DARK, OTHER = 2, 3, slice(7, 9)  # channels


def _model(**changes):
    torch.manual_seed(0)
    return DAL(DALConfig(**{**SMALL, **changes})).eval()


def _scan(space=(20, 24, 20)):
    maps = structures(space)
    return t1w(maps) * 0.6, maps > 0


def _evidence(x, phi, mask):
    p = torch.zeros(1, 3, *x.shape[2:])
    p[:, 1] = 1.0
    return residual_evidence(x, phi, p * mask, p[:, :1], mask)


@torch.inference_mode()
def test_without_the_head_there_is_no_evidence_and_the_same_image():
    x, mask = _scan()
    bare, model = _model(residual_head_widths=()), _model()
    assert "residual_head" not in bare.parts
    for name in bare.parts:
        bare.part(name).load_state_dict(model.part(name).state_dict())
    bare_output, output = bare(x, mask), model(x, mask)
    assert bare_output.evidence is None
    assert output.evidence is not None
    assert torch.equal(bare_output.pseudo_healthy, output.pseudo_healthy)


@torch.inference_mode()
def test_a_fresh_head_takes_nearly_everything_for_normal():
    x, mask = _scan()
    evidence = _model()(x, mask).evidence
    assert evidence[mask].median() < 0.2
    assert (evidence[~mask] == 0).all()


def test_what_is_brighter_or_darker_than_phi_shows_in_its_own_channel():
    _, mask = _scan()
    noise = 0.02 * torch.randn(mask.shape, generator=torch.Generator().manual_seed(0))
    x = (0.5 + noise) * mask
    x[..., 8:11, 10:13, 8:11] = 0.9
    x[..., 8:11, 5:8, 8:11] = 0.1
    seen = _evidence(x, 0.5 * mask, mask)
    assert seen.shape[1] == CHANNELS
    assert torch.allclose(seen[0, BRIGHT, 9, 11, 9], torch.tensor(2.0))  # cut off at 8 spreads
    assert seen[0, BRIGHT, 9, 6, 9] == 0
    assert torch.allclose(seen[0, DARK, 9, 6, 9], torch.tensor(2.0))
    assert seen[0, DARK, 9, 11, 9] == 0
    assert (seen[:, :, ~mask[0, 0]] == 0).all()


def test_a_boundary_that_is_off_by_a_voxel_is_not_seen_as_bright_or_dark():
    _, mask = _scan()
    x, phi = 0.3 * mask.float(), 0.3 * mask.float()
    x[:, :, 10:] = 0.6 * mask[:, :, 10:]
    phi[:, :, 11:] = 0.6 * mask[:, :, 11:]
    seen = _evidence(x, phi, mask)
    assert (seen[:, [BRIGHT, DARK]] == 0).all()


def test_the_other_hemisphere_lies_mirrored_in_the_extent_of_the_brain():
    x, mask = torch.zeros(1, 1, 12, 3, 3), torch.zeros(1, 1, 12, 3, 3, dtype=torch.bool)
    mask[:, :, 2:9] = True
    x[:, :, 3] = 1
    flipped = fixed.mirrored(x, mask[:, 0])
    assert (flipped[:, :, 7] == 1).all()
    assert flipped.sum() == x.sum()
    assert torch.equal(_evidence(x, 0 * x, mask)[:, OTHER][:, :1], 2 * flipped)


def test_a_batch_sees_what_each_of_its_scans_sees():
    model = _model()
    x, mask = _scan()
    x, mask = torch.cat([x, 0.7 * x]), torch.cat([mask, mask.roll(1, dims=3)])
    x = x * mask
    p = torch.rand(2, 3, *x.shape[2:]).softmax(dim=1) * mask
    both = residual_evidence(x, 0.9 * x, p, p[:, :1], mask)
    for n in range(2):
        one = slice(n, n + 1)
        alone = residual_evidence(x[one], 0.9 * x[one], p[one], p[one, :1], mask[one])
        assert torch.equal(both[one], alone)
    assert model.stride == 4


def test_the_stride_is_a_multiple_of_the_heads():
    assert _model(residual_head_widths=(4, 4, 8, 8)).stride == 16


@pytest.mark.parametrize("widths", [(), (4, 8)], ids=["without", "with"])
def test_a_weight_file_keeps_the_head(tmp_path, widths):
    model = _model(residual_head_widths=widths)
    save_weights(tmp_path / "w.safetensors", model, {}, parts=model.parts)
    assert load_weights(tmp_path / "w.safetensors").parts == model.parts
