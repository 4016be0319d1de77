"""Options and tensors of the wrong kind: one refusal with a code, before a kernel is called."""

import numpy as np
import pytest
import torch

from dal_fast import DalFastError, InputError, context, ops

X, Y, Z = torch.rand(1, 1, 4, 5, 6), torch.rand(1, 1, 4, 5, 6), torch.randn(1, 3, 4, 5, 6)
MASK = X > 0.5

NUMBERS = {
    "sigma of canny3d": lambda v: ops.canny3d(X, v),
    "high of canny3d": lambda v: ops.canny3d(X, high=v),
    "sigma of ssim3d": lambda v: ops.ssim3d(X, Y, sigma=v),
    "data_range of hybrid_score": lambda v: ops.hybrid_score(X, Y, data_range=v),
    "alpha": lambda v: ops.l1_ssim_loss(X, Y, v),
    "temperature": lambda v: ops.onehot_ste(Z, v),
    "false-positive rate": lambda v: ops.VoxelMetrics(fprs=[v]),
    "false-positive rate of a call": lambda v: ops.VoxelMetrics().dice_at_fpr(v),
}
WHOLE_NUMBERS = {
    "window": lambda v: ops.ssim3d(X, Y, v),
    "size": lambda v: ops.median3d(X, v),
    "min_voxels": lambda v: ops.remove_small(MASK, v),
    "connectivity": lambda v: ops.components3d(MASK, v),
    "bins": lambda v: ops.VoxelMetrics(v),
    "threads": lambda v: context.set_threads(v),
}


@pytest.mark.parametrize("value", [None, "0.5", [0.5], {}, torch.tensor([0.25, 0.5])], ids=str)
@pytest.mark.parametrize("option", NUMBERS)
def test_an_option_that_is_no_number(option, value):
    with pytest.raises(InputError, match="number"):
        NUMBERS[option](value)


@pytest.mark.parametrize("value", ["3", 3.0, 3.5, float("inf"), [3], torch.ones(2)], ids=str)
@pytest.mark.parametrize("option", WHOLE_NUMBERS)
def test_an_option_that_is_no_whole_number(option, value):
    with pytest.raises(InputError):
        WHOLE_NUMBERS[option](value)


@pytest.mark.parametrize("number", [np.int64, np.int32, torch.tensor])
def test_whole_numbers_of_any_type(number):
    assert torch.equal(ops.ssim3d(X, Y, number(3)), ops.ssim3d(X, Y, 3))
    assert torch.equal(ops.median3d(X, number(3)), ops.median3d(X, 3))
    assert torch.equal(ops.remove_small(MASK, number(3)), ops.remove_small(MASK, 3))
    assert torch.equal(ops.components3d(MASK, number(6)), ops.components3d(MASK, 6))
    with context.use(threads=number(1)):
        assert context.threads() == 1


@pytest.mark.parametrize("number", [np.float32, np.float64, torch.tensor, int])
def test_numbers_of_any_type(number):
    assert torch.equal(ops.canny3d(X, number(2.0)), ops.canny3d(X, 2.0))
    assert torch.equal(ops.ssim3d(X, Y, sigma=number(2.0)), ops.ssim3d(X, Y, sigma=2.0))
    assert torch.equal(ops.anatomy_image(Z, [number(2.0)] * 3), ops.anatomy_image(Z, [2.0] * 3))


def test_a_size_beyond_64_bits_keeps_nothing():
    assert not ops.remove_small(MASK, 2**70).any()


@pytest.mark.parametrize("number", [2**31, 10**12])
def test_more_threads_than_the_kernels_can_count(number):
    with pytest.raises(InputError) as refused, context.use(threads=number):
        pass
    assert refused.value.code == "value"


@pytest.mark.parametrize("levels", [None, 3, "abc", (0.1, 0.2, "a"), (0.1, 0.2, None), np.eye(3)])
@pytest.mark.parametrize("op", [ops.anatomy_image, ops.anatomy_edges])
def test_levels_that_are_no_numbers(op, levels):
    with pytest.raises(InputError, match="levels"):
        op(Z, levels)


@pytest.mark.parametrize(
    "call",
    [
        lambda: ops.ssim3d(X.to_sparse(), Y),
        lambda: ops.median3d(X.to_mkldnn()),
        lambda: ops.median3d(X, 3, MASK.to_sparse()),
        lambda: ops.components3d(MASK.to_sparse()),
        lambda: ops.onehot_ste(torch.nested.nested_tensor([Z], layout=torch.jagged)),
    ],
)
def test_tensors_that_are_not_dense(call):
    with pytest.raises(DalFastError, match="dense") as refused:
        call()
    assert refused.value.code == "not-a-tensor"


@pytest.mark.parametrize("sigma", [1e-100, 1e-200, 5e-324])
def test_a_window_of_one_voxel(sigma):
    want = ops.ssim3d(X, Y, sigma=1e-3, reduction="none")
    assert torch.equal(ops.ssim3d(X, Y, sigma=sigma, reduction="none"), want)


def test_meta_tensors_give_shapes():
    x, z, mask = X.to("meta"), Z.to("meta"), MASK.to("meta")
    assert ops.components3d(mask).shape == ops.remove_small(mask, 3).shape == MASK.shape
    assert ops.canny3d(x).dtype == torch.bool
    assert ops.ssim3d(x, x).shape == ()
    assert ops.hybrid_score(x, x).shape == ops.median3d(x).shape == X.shape
    assert ops.anatomy_image(z).shape == (1, 1, 4, 5, 6)
    assert ops.onehot_ste(z).device.type == "meta"


def test_a_temperature_whose_reciprocal_is_no_float():
    with pytest.raises(InputError) as refused:
        ops.onehot_ste(Z, 1e-39)
    assert refused.value.code == "value"
