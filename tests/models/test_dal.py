"""The model: both recouplers, shapes, grids, independence of what surrounds the brain."""

import pytest
import torch
from brains import probabilities, structures, t1w

from dal_fast import DalFastError
from dal_fast.models import DAL, DALConfig, create_model, model_names
from dal_fast.models.networks import ModalityEncoder
from dal_fast.models.recouple import without_field
from dal_fast.models.unet import UNet

PUBLISHED = ("tissue", "code", "modality", "restorer", "decoder")
SMALL = {
    "tissue_widths": (4, 8, 8),
    "anatomy_widths": (4, 8),
    "decoder_width": 8,
    "residual_head_widths": (4, 8),
}


def _model(**changes):
    torch.manual_seed(0)
    return DAL(DALConfig(**{**SMALL, **changes})).eval()


def _scan(space=(21, 26, 19)):
    maps = structures(space)
    return t1w(maps) * 0.6, maps > 0


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"recoupler": "film"},
        {"recoupler": "film", "modality": "means"},
        {"recoupler": "edges_closed_form"},
        {"tissue_mode": "nearest_level"},
        {"tissue_input": "evidence", "patch": 2},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())) or "default",
)
@torch.inference_mode()
def test_output_is_on_the_grid_of_the_scan(changes):
    x, mask = _scan()
    out = _model(**changes)(x, mask)
    assert out.tissue_logits.shape == out.probabilities.shape == (1, 3, *x.shape[2:])
    assert out.anatomy.shape == out.edges.shape == out.pseudo_healthy.shape == x.shape
    assert out.edges.dtype == torch.bool
    total = out.probabilities.sum(dim=1, keepdim=True)
    assert torch.allclose(total, mask.float(), atol=1e-5)
    assert out.evidence.shape == x.shape
    assert ((out.evidence >= 0) & (out.evidence <= 1)).all()
    for volume in (out.anatomy, out.edges, out.pseudo_healthy, out.fluid, out.evidence):
        assert (volume[~mask] == 0).all()
    assert out.pseudo_healthy.isfinite().all()
    levels = torch.tensor((0.0, *DALConfig().levels))
    assert torch.isin(out.anatomy, levels).all()


@torch.inference_mode()
def test_air_around_the_brain_changes_nothing():
    model = _model(recoupler="film")
    x, mask = _scan()
    wide = (5, 9, 0, 7, 11, 2)
    pad = torch.nn.functional.pad
    near, far = model(x, mask), model(pad(x, wide), pad(mask, wide))
    back = [-p for p in wide]
    for a, b in zip(near, far, strict=True):
        assert (a is None and b is None) or torch.equal(a, pad(b, back))


@torch.inference_mode()
def test_same_input_same_bits():
    model = _model(recoupler="film")
    x, mask = _scan()
    first, second = ([v for v in model(x, mask) if v is not None] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@torch.inference_mode()
def test_what_lies_outside_the_mask_is_not_seen():
    model = _model()
    x, mask = _scan()
    dirty = torch.where(mask, x, 3.0)
    for a, b in zip(model(x, mask), model(dirty, mask), strict=True):
        assert torch.equal(a, b)


@torch.inference_mode()
def test_recouple_with_true_tissue_returns_the_scan():
    maps = structures()
    x, mask = t1w(maps), maps > 0
    logits = 50 * probabilities(maps)
    out = _model().recouple(x, mask, logits)
    assert (out.pseudo_healthy - x)[mask].abs().max() < 0.01
    assert out.edges.any()


@pytest.mark.parametrize("seed", range(3))
@torch.inference_mode()
def test_a_fresh_modality_vector_tells_contrasts_apart(seed):
    torch.manual_seed(seed)
    encoder = ModalityEncoder(8)
    maps = structures()
    mask, x = maps > 0, t1w(maps)
    first, second = encoder(x, mask), encoder((1 - x) * mask, mask)
    assert (first - second).norm() > 0.04


def test_the_published_path_reaches_every_network_with_a_gradient():
    torch.manual_seed(0)
    model = DAL(DALConfig(**SMALL, recoupler="film"), parts=PUBLISHED)
    x, mask = _scan((16, 16, 16))
    out = model(x, mask)
    code = model.part("code")(torch.nn.functional.pad(out.probabilities, model.pads(mask)))
    assert code.shape[1] == model.config.anatomy_channels
    (out.pseudo_healthy.sum() + out.anatomy.sum() + code.sum()).backward()
    for name in PUBLISHED:
        assert all(p.grad is not None for p in model.part(name).parameters()), name


@torch.inference_mode()
def test_fluid_is_what_the_tissue_or_the_atlas_expects():
    model = _model()
    x, mask = _scan()
    model.part("evidence").atlas.zero_()
    out = model(x, mask)
    assert torch.allclose(out.fluid, out.probabilities[:, :1], atol=1e-6)
    model.part("evidence").atlas[:, 0] = 1
    assert torch.equal(model(x, mask).fluid, mask.float())


def test_a_part_that_is_absent_says_so():
    with pytest.raises(DalFastError, match="decoder") as refused:
        _model().part("decoder")
    assert refused.value.code == "weights-part"


def test_an_empty_mask_is_refused():
    x, mask = _scan()
    with pytest.raises(DalFastError) as refused:
        _model()(x, torch.zeros_like(mask))
    assert refused.value.code == "mask-empty"


def test_unet_refuses_sides_that_do_not_halve():
    with pytest.raises(DalFastError, match="multiples of 4"):
        UNet(1, 3, (4, 4, 4))(torch.zeros(1, 1, 8, 8, 6))


def test_models_by_name():
    for name in model_names():
        with torch.device("meta"):
            assert isinstance(create_model(name), DAL) == name.startswith("dal")
    with pytest.raises(DalFastError) as refused:
        create_model("nothing")
    assert refused.value.code == "model-unknown"


def test_configuration_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="recoupler"):
        DALConfig(recoupler="magic")
    with pytest.raises(ValueError, match="colour"):
        DALConfig(colour="blue")


@torch.inference_mode()
def test_a_network_sees_what_its_input_ceiling_lets_it():
    x, mask = _scan()
    x[..., 8:12, 12:15, 8:12] = 1.7
    cut, narrow, wide = x.clamp_max(1.0), _model(), _model(input_ceiling=2.0)
    seen = narrow(x, mask)
    assert torch.equal(seen.tissue_logits, narrow(cut, mask).tissue_logits)
    assert not torch.equal(seen.tissue_logits, wide(x, mask).tissue_logits)
    assert not torch.equal(wide(x, mask).tissue_logits, wide(cut, mask).tissue_logits)


def test_a_scan_is_compared_without_its_field():
    """Cut off after the field is divided out, so that a coil's bright side is no lesion."""
    x, phi = torch.tensor([0.6, 1.6, 0.3]), torch.tensor([0.5, 2.4, 0.3])
    even, even_phi = without_field(x, phi, torch.tensor([1.0, 2.0, 0.0]))
    assert even.tolist() == pytest.approx([0.6, 0.8, 0.3])
    assert even_phi.tolist() == pytest.approx([0.5, 1.2, 0.3])


def test_an_input_ceiling_lies_between_twice_and_four_times_the_median():
    for ceiling in (0.9, 2.1):
        with pytest.raises(ValueError, match="input_ceiling"):
            DALConfig(input_ceiling=ceiling)
