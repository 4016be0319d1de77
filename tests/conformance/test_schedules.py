"""Whatever order a GPU runs threads in, results are the same bits: the ops whose threads meet."""

import pytest
import torch
from conformance.cases import CASES
from cuda_on_host.build import why_not
from engines import ORDERS, host_cuda

MEETING = ("canny3d masked", "components3d 6", "components3d 26", "remove_small", "VoxelMetrics")
MEETING += ("l1_ssim_loss", "anatomy_edges", "tfce3d 18")
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
