"""Every loss by name: small for the truth, a number a sample, gradients where they belong."""

import pytest
import torch
from brains import probabilities, structures, t1w
from torch.nn import functional as F

from dal_fast.models import DAL, PARTS, DALConfig
from dal_fast.ops import ssim3d
from dal_fast.synthesis.sample import Sample
from dal_fast.training.batch import batch_of
from dal_fast.training.config import LOSS_NAMES
from dal_fast.training.corruption import draw_corruption
from dal_fast.training.losses import LOSSES, DALOutputs, l1_and_ssim, tissue_dice
from dal_fast.training.reconstruction import RECONSTRUCTION_LOSSES

CONFIG = DALConfig(
    tissue_widths=(4, 8),
    anatomy_widths=(4, 8),
    decoder_width=8,
    anatomy_channels=4,
    recoupler="film",
    residual_head_widths=(4, 8),
)
SPACE = (16, 20, 16)
# which networks a loss may move, at the most
MOVES = {
    "tissue": {"tissue"},
    "dice": {"tissue"},
    "lesion": {"tissue"},
    "consistency": {"tissue"},
    "reconstruction": {"tissue", "code", "modality", "decoder"},
    "cross_reconstruction": {"tissue", "code", "modality", "decoder"},
    "similarity": {"modality"},
    "edge_tissue": {"restorer", "head"},
    "code": {"restorer"},
    "restoration": {"restorer", "modality", "decoder"},
    "reuse": {"restorer", "modality", "decoder"},
    "abnormality": {"residual_head"},
}


def _sample(n=2):
    maps = structures(SPACE).expand(n, -1, -1, -1, -1).contiguous()
    scan = t1w(maps)
    scan = torch.cat([scan[:1], (maps[1:] > 0) * (1 - scan[1:])])
    lesion = torch.zeros_like(maps, dtype=torch.bool)
    lesion[..., 7:9, 9:12, 4:6] = True
    tissue = (maps[:, 0].long() // 256 - 1).clamp_min(0)
    return Sample(scan, tissue, maps > 0, lesion & (maps > 0), scan)


def _outputs(sample=None, learning=PARTS, config=CONFIG):
    torch.manual_seed(0)
    model = DAL(config, [p for p in PARTS if p != "evidence"])
    return DALOutputs(model, batch_of(sample or _sample()), 2, learning), model


def _loss(name, outputs):
    return LOSSES[name](outputs.batch, outputs)


def test_every_name_is_a_loss():
    assert tuple(LOSSES) == LOSS_NAMES["dal"]
    assert tuple(RECONSTRUCTION_LOSSES) == LOSS_NAMES["autoencoder"]
    assert set(MOVES) == set(LOSSES)


@pytest.mark.parametrize("name", LOSS_NAMES["dal"])
def test_a_loss_is_a_number_a_sample_and_moves_its_networks(name):
    outputs, model = _outputs()
    values = _loss(name, outputs)
    assert values.shape == (2,)
    assert values.isfinite().all()
    assert (values >= 0).all()
    values.mean().backward()
    moved = {
        part
        for part in model.parts
        if any(p.grad is not None and p.grad.any() for p in model.part(part).parameters())
    }
    assert moved
    assert moved <= MOVES[name]


def test_what_does_not_learn_gets_no_gradient_through_the_tissue():
    outputs, model = _outputs(learning=("code", "modality", "decoder"))
    _loss("reconstruction", outputs).mean().backward()
    assert all(p.grad is None for p in model.part("tissue").parameters())


def test_in_closed_form_restoration_teaches_the_tissue():
    config = CONFIG.model_copy(update={"recoupler": "closed_form"})
    outputs, model = _outputs(config=config)
    _loss("restoration", outputs).mean().backward()
    assert any(p.grad.any() for p in model.part("tissue").parameters())


def test_restoration_is_small_where_tissue_is_right():
    outputs, _ = _outputs(config=CONFIG.model_copy(update={"recoupler": "closed_form"}))
    outputs.__dict__["logits"] = 30 * probabilities(structures(SPACE)).expand(2, -1, -1, -1, -1)
    right = _loss("restoration", outputs)
    other, _ = _outputs(config=CONFIG.model_copy(update={"recoupler": "closed_form"}))
    assert (right < 0.2 * _loss("restoration", other)).all()


def test_consistency_compares_the_contrasts_of_a_brain():
    outputs, _ = _outputs()
    logits = torch.zeros(2, 3, *SPACE)
    outputs.__dict__["logits"] = logits
    assert (_loss("consistency", outputs) == 0).all()
    other, _ = _outputs()
    other.__dict__["logits"] = torch.cat([logits[:1], logits[:1] + 20 * F.one_hot(
        torch.zeros(1, *SPACE, dtype=torch.int64), 3).movedim(-1, 1)])  # fmt: skip
    assert (_loss("consistency", other) > 0.5).all()


def test_a_neighbour_is_of_the_same_brain():
    outputs, _ = _outputs()
    outputs.contrasts = 3
    assert outputs.next_contrast(torch.arange(6)).tolist() == [1, 2, 0, 4, 5, 3]


def test_l1_and_ssim_are_those_of_the_definition():
    g = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 1, *SPACE, generator=g), torch.rand(2, 1, *SPACE, generator=g)
    for n, value in enumerate(l1_and_ssim(y, x)):
        a, b = x[n : n + 1], y[n : n + 1]
        assert value == pytest.approx(
            float((a - b).abs().mean() + (1 - ssim3d(a, b)) / 2), rel=1e-4
        )


def test_corruption_drops_and_adds():
    maps = structures((32, 40, 32))
    mask = maps > 0
    edges = (maps != maps.roll(1, dims=2)) & mask
    g = torch.Generator().manual_seed(0)
    dropped = added = 0
    for _ in range(4):
        kept, more = draw_corruption(mask, 1.0, g)
        dropped += int((edges & ~kept).sum())
        added += int((more & ~edges).sum())
        assert not (more & ~mask).any()
    assert dropped > 0
    assert added > 0
    kept, more = draw_corruption(mask, 0.0, g)
    assert kept.all()
    assert not more.any()


def _tissue_losses(logits, tissue, mask, lesion):
    """Cross-entropy, Dice and lesion losses of given logits."""
    sample = Sample(torch.zeros_like(mask, dtype=torch.float32), tissue, mask, lesion)
    outputs, _ = _outputs(sample)
    outputs.__dict__["logits"] = logits
    return {name: _loss(name, outputs) for name in ("tissue", "dice", "lesion")}


def test_tissue_losses_are_small_for_the_truth_and_count_the_lesion():
    g = torch.Generator().manual_seed(0)
    tissue = torch.randint(0, 3, (1, 6, 6, 6), generator=g)
    mask = torch.ones(1, 1, 6, 6, 6, dtype=torch.bool)
    lesion = torch.zeros_like(mask)
    right = 20 * F.one_hot(tissue, 3).movedim(-1, 1).float()
    assert all(value < 1e-3 for value in _tissue_losses(right, tissue, mask, lesion).values())
    assert torch.allclose(tissue_dice(right, tissue, mask), torch.ones(1, 3, dtype=torch.float64))
    wrong = right.clone()
    wrong[..., 0, 0, 0] = right[..., 0, 0, 0].roll(1, dims=1)
    lesion[..., 0, 0, 0] = True
    assert _tissue_losses(wrong, tissue, mask, lesion)["lesion"] == pytest.approx(20.0, rel=1e-3)


def test_voxels_outside_the_mask_have_no_say():
    tissue = torch.zeros(1, 4, 4, 4, dtype=torch.int64)
    mask = torch.zeros(1, 1, 4, 4, 4, dtype=torch.bool)
    mask[..., :2] = True
    logits = torch.randn(1, 3, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    changed = torch.where(mask, logits, -logits)
    empty = torch.zeros_like(mask)
    first, second = (_tissue_losses(x, tissue, mask, empty) for x in (logits, changed))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_in_closed_form_phi_keeps_its_precision_under_autocast():
    outputs, _ = _outputs(config=CONFIG.model_copy(update={"recoupler": "closed_form"}))
    outputs.probabilities  # noqa: B018  the network's, before autocast
    with torch.autocast("cpu", torch.bfloat16):
        phi = outputs.pseudo_healthy
    want, _ = _outputs(config=CONFIG.model_copy(update={"recoupler": "closed_form"}))
    assert phi.dtype == torch.float32
    assert torch.equal(phi, want.pseudo_healthy)


def test_losses_take_intensities_to_twice_the_median_and_the_network_more():
    sample = _sample()
    bright = Sample(2 * sample.image, sample.tissue, sample.mask, sample.lesion, 2 * sample.image)
    batch = batch_of(bright)
    assert torch.equal(batch["seen"], bright.image)
    assert batch["image"].max() == batch["healthy"].max() == 1
    logits = []
    for ceiling in (1.0, 2.0):
        torch.manual_seed(0)
        model = DAL(DALConfig(tissue_widths=(4, 8), input_ceiling=ceiling), ["tissue"])
        logits.append(DALOutputs(model, batch, 2, ()).logits)
    assert not torch.equal(*logits)
