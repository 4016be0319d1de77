"""A compiled function may name a GPU's backend, whose kernels answer for themselves."""

import pytest
import torch
from conformance.case import logits
from cuda_on_host.build import why_not
from engines import host_cuda

from dal_fast import ops


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "")
def test_the_backend_is_chosen_while_a_function_is_compiled():
    z = logits((1, 1, 4, 5, 6), torch.float32)
    with host_cuda("fast"):
        compiled = torch.compile(
            lambda z: ops.anatomy_image(z, backend="cuda") + 1, fullgraph=True, backend="aot_eager"
        )
        assert torch.equal(compiled(z), ops.anatomy_image(z, backend="cuda") + 1)
