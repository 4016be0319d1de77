"""A refusal of an op says how to make what it takes."""

import numpy as np
import pytest
import torch

from dal_fast import DalFastError, ops

VOLUME = torch.rand(1, 1, 8, 8, 8)


@pytest.mark.parametrize(
    ("call", "code", "way_out"),
    [
        (lambda: ops.median3d(VOLUME[0, 0]), "shape", "x[None, None]"),
        (lambda: ops.median3d(VOLUME[0]), "shape", "x[None]"),
        (lambda: ops.median3d(VOLUME.to(torch.uint8)), "dtype", "x.float()"),
        (lambda: ops.median3d(np.zeros((1, 1, 8, 8, 8))), "not-a-tensor", "torch.as_tensor"),
        (lambda: ops.components3d(VOLUME), "mask-dtype", "mask > 0.5"),
        (lambda: ops.tfce3d(VOLUME, mask=VOLUME), "mask-dtype", "mask > 0.5"),
        (
            lambda: ops.tfce3d(VOLUME.expand(4, 1, 8, 8, 8), mask=VOLUME > 0.5),
            "mask-shape",
            "mask.expand(4, -1, -1, -1, -1)",
        ),
    ],
    ids=["3D", "4D", "uint8", "numpy", "components", "mask", "one mask"],
)
def test_the_way_out(call, code, way_out):
    with pytest.raises(DalFastError) as refused:
        call()
    assert (refused.value.code, way_out in refused.value.message) == (code, True)
