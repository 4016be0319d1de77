"""Whatever order a GPU runs threads in, results are the same bits: the ops whose threads meet."""

import pytest
import torch
from conformance.cases import CASES
from cuda_on_host.build import why_not
from engines import ORDERS, host_cuda

from dal_fast import ops

MEETING = ("canny3d masked", "components3d 6", "components3d 26", "remove_small", "VoxelMetrics")
MEETING += ("l1_ssim_loss", "anatomy_edges", "tfce3d 18", "highest_nearby", "box_mean 3")
MEETING += ("instance_norm 8 channels last", "instance_norm 8 channels first")
BY_NAME = {case.name: case for case in CASES}


def comb(depth, height, width):
    """Teeth along z that only the last plane joins, (1, 1, depth, height, width)."""
    mask = torch.zeros(1, 1, depth, height, width, dtype=torch.bool)
    mask[..., ::2, ::2] = True
    mask[:, :, -1] = True
    return mask


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "")
@pytest.mark.parametrize("name", MEETING)
@pytest.mark.parametrize(
    ("order", "seed"),
    [(o, s) for o in ORDERS if o != "ascending" for s in ((1,) if o == "descending" else (1, 2))],
)
def test_result_does_not_depend_on_the_schedule(name, order, seed, poisoned):
    case = BY_NAME[name]
    inputs = case.inputs((1, 1, 13, 18, 36), torch.float32)
    if name.startswith("components3d"):
        inputs = (comb(13, 18, 36),)
    with host_cuda("fast"):
        want = case.ours("cuda", *inputs)
    with host_cuda("fast", order, seed):
        got = case.ours("cuda", *inputs)
    assert torch.equal(got, want)


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "")
def test_edges_follow_a_strong_voxel_through_many_tiles():
    """A sheet of weak voxels over six tiles, strong at one end; the same without that end."""
    height = torch.full((170,), 0.1)
    height[:30] = torch.linspace(0.4, 0.1, 30)
    image = torch.zeros(1, 1, 10, 18, 170)
    image[:, :, :, 9:] = height
    lone = image.clone()
    lone[..., 9:, :30] = 0.1
    for volume, follows in ((image, True), (lone, False)):
        weak = ops.canny3d(volume, 1.0, 0.02, 0.02, backend="cpu")
        want = ops.canny3d(volume, 1.0, 0.02, 0.06, backend="cpu")
        with host_cuda("fast", "random"):
            got = ops.canny3d(volume, 1.0, 0.02, 0.06, backend="cuda")
        assert torch.equal(got[..., 1:], want[..., 1:])  # before that there are ties
        assert weak[..., 165].any()
        assert bool(got[..., 165].any()) == follows
