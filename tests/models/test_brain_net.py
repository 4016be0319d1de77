"""The brain extraction network: its sizes, its weight file, and the norm that it learns with."""

import pytest
import torch
from torch import nn

from dal_fast import DalFastError
from dal_fast.imaging.head_grid import OUTSIDE_MM
from dal_fast.models import (
    DAL,
    BrainNet,
    BrainNetConfig,
    DALConfig,
    build_model,
    inference_parts,
    load_brain_net,
    load_model,
    load_screening_model,
    load_weights,
    read_card,
    save_weights,
)
from dal_fast.models.blocks import InstanceNorm, _in_one_pass, _in_two_passes
from dal_fast.weights import BRAIN

SMALL = BrainNetConfig(shape=(16, 24, 32), widths=(4, 8))
needs_brain_weights = pytest.mark.skipif(
    not BRAIN.is_file(), reason="this checkout holds no trained weights"
)


def _small_weights(folder):
    torch.manual_seed(0)
    model = build_model(SMALL)
    save_weights(folder / "brain.safetensors", model, {"n": 1}, parts=inference_parts(SMALL))
    return folder / "brain.safetensors", model


def test_a_weight_file_holds_the_network(tmp_path):
    path, model = _small_weights(tmp_path)
    again = load_brain_net(path)
    assert isinstance(load_model(path), BrainNet)
    assert again.config == SMALL
    assert not again.training
    assert read_card(path) == {"n": 1}
    x = torch.rand(2, 1, *SMALL.shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        distance = again(x)
        assert distance.dtype == torch.float32
        assert distance.shape == (2, 1, *SMALL.shape)
        assert (distance - model(x)).abs().max() < 0.05  # stored in half precision
    assert again.space_for((99, 99, 99)) == SMALL.shape


def test_the_output_is_in_units_of_the_reach():
    torch.manual_seed(0)
    one, two = (build_model(SMALL.model_copy(update={"reach_mm": mm})) for mm in (10.0, 20.0))
    two.load_state_dict(one.state_dict())
    x = torch.rand(1, 1, *SMALL.shape)
    with torch.inference_mode():
        assert torch.allclose(2 * one(x), two(x))


def test_what_is_not_a_brain_net_is_refused(tmp_path):
    path, _ = _small_weights(tmp_path)
    dal = DAL(DALConfig(tissue_widths=(4, 8)))
    save_weights(tmp_path / "dal.safetensors", dal, {}, parts=dal.parts)
    for load, file in (
        (load_screening_model, path),
        (load_weights, path),
        (load_brain_net, tmp_path / "dal.safetensors"),
    ):
        with pytest.raises(DalFastError) as caught:
            load(file)
        assert caught.value.code == "weights-kind"
    assert load_screening_model(tmp_path / "dal.safetensors").config.kind == "dal"


def test_a_shape_that_cannot_be_halved_is_refused():
    with pytest.raises(DalFastError) as caught:
        BrainNet(BrainNetConfig(shape=(80, 96, 100)))
    assert caught.value.code == "value"


def test_the_reach_is_what_lies_outside_the_volume():
    assert BrainNetConfig().reach_mm == OUTSIDE_MM


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d],
                         ids=["contiguous", "channels_last"])  # fmt: skip
def test_the_gradient_of_the_norm_is_that_of_torch(layout):
    torch.manual_seed(0)
    norm = InstanceNorm(3, 3).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    values = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64) + 5
    outward = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64)
    found = []
    for apply in (norm, lambda x: nn.functional.group_norm(x, 3, norm.weight, norm.bias, norm.eps)):
        x = values.to(memory_format=layout).requires_grad_()
        norm.zero_grad()
        y = apply(x)
        y.backward(outward)
        found.append((y.detach(), x.grad, norm.weight.grad.clone(), norm.bias.grad.clone()))
    for ours, torchs in zip(*found, strict=True):
        assert torch.allclose(ours, torchs, rtol=1e-5, atol=1e-5)


def test_the_gradient_of_a_norm_that_is_not_affine():
    x = torch.randn(2, 3, 4, 5, 6).add(2).requires_grad_()
    outward = torch.randn_like(x)
    ours, torchs = InstanceNorm(3, 3, affine=False), nn.GroupNorm(3, 3, affine=False)
    for got, want in zip(
        (ours(x), *torch.autograd.grad(ours(x), x, outward)),
        (torchs(x), *torch.autograd.grad(torchs(x), x, outward)),
        strict=True,
    ):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_pass_finds_the_moments_of_two(dtype):
    rows = torch.randn(2, 5000, 3).mul(torch.tensor([0.5, 1, 30])).add(2).to(dtype)
    for got, want in zip(_in_one_pass(rows), _in_two_passes(rows), strict=True):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-5)


def test_the_norm_of_many_voxels_is_exact_in_any_batch():
    """Torch's own errs by .005 here, differently in another batch."""
    norm = InstanceNorm(4, 4).to(memory_format=torch.channels_last_3d)
    x = torch.randn(1, 4, 64, 64, 64, generator=torch.Generator().manual_seed(0)).add(3).relu()
    x = x.contiguous(memory_format=torch.channels_last_3d)
    with torch.no_grad():
        want = nn.functional.group_norm(x.double(), 4)
        for batch in (x, torch.cat([x, x])):
            assert (norm(batch)[:1] - want).abs().max() < 1e-5


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_an_exported_norm_is_torchs_own():
    norm, x = InstanceNorm(4, 4), torch.rand(1, 4, 5, 6, 7)
    with torch.no_grad():
        traced = torch.jit.trace(norm, x)
        assert "aten::group_norm" in str(traced.inlined_graph)
        assert torch.equal(traced(x), nn.functional.group_norm(x, 4, norm.weight, norm.bias))


@needs_brain_weights
def test_the_shipped_network_fits_its_budget():
    model = load_brain_net()
    assert BRAIN.stat().st_size <= 3_000_000
    assert sum(p.numel() for p in model.parameters()) < 1_500_000
    assert "not a medical device" in read_card("brain")["use"]


@needs_brain_weights
@pytest.mark.shared
def test_the_shipped_network_on_synthetic_heads(shared_data):
    """Dice near what the card says, so that a broken file or a changed scale shows."""
    from dal_fast.synthesis.head_maps import head_maps, load_heads
    from dal_fast.training.extraction import validate_heads

    held_out = load_heads(head_maps(shared_data / "synthseg-maps-1mm")[4:5])
    metrics, _ = validate_heads(load_brain_net(), held_out, seed=7, count=6)
    assert metrics["dice"] > read_card("brain")["metrics"]["dice"] - 0.06
