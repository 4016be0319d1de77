"""Kernels of a GPU answer for themselves, in a compiled function and for what they refuse."""

import pytest
import torch
from conformance.case import logits
from cuda_on_host.build import why_not
from engines import host_cuda

from dal_fast import ops
from dal_fast.ops import _gpu_stages as gpu


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "")
def test_the_backend_is_chosen_while_a_function_is_compiled():
    z = logits((1, 1, 4, 5, 6), torch.float32)
    with host_cuda("fast"):
        compiled = torch.compile(
            lambda z: ops.anatomy_image(z, backend="cuda") + 1, fullgraph=True, backend="aot_eager"
        )
        assert torch.equal(compiled(z), ops.anatomy_image(z, backend="cuda") + 1)


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "")
def test_what_a_kernel_has_no_room_for_is_refused():
    x = torch.zeros(1, 1, 4, 5, 6)
    wide = torch.zeros(1, 257, 4, 5, 6).to(memory_format=torch.channels_last_3d)
    with host_cuda("fast") as module:
        with pytest.raises(ValueError, match="a step of 1, 3 or 9"):
            gpu.box_mean(x, 4)
        sizes = {"volumes": 1, "voxels": 10, "channels_last": True}
        assert module.instance_norm_workspace(channels=512, **sizes) > 0
        with pytest.raises(ValueError, match="at most 256 channels"):
            gpu.instance_norm(wide, None, None, 1e-5, 1.0)
