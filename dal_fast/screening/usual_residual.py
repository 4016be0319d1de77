"""How large residuals of healthy brains usually are, place by place.

The tissue network errs at the same places in most brains: white matter of the internal capsule and
the thalamus of a T1w are taken for grey matter, the cisterns of a T2w for tissue. With r_s as in
:mod:`dal_fast.screening.enhance`, but without the gate,

    u_s = sqrt(mean over healthy brains of min(mean of r_s over 3^3, 4)^2)

laid out in the brain's bounding box, left like right. Few strong values say little about a place,
hence the limit. The same is done with the structural difference g of a T1w. An atlas is kept as
text, base64 of one byte a voxel in steps of 1/32, because it lies in the card of a weight file.
Voxel-wise standardisation by healthy scans is common; limited, and by place and sign it is ours,
not specified in the paper.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dal_fast.imaging.morphology import bounding_box
from dal_fast.models.evidence import laid_out

SIDES = (20, 24, 20)  # of the atlas, a brain's bounding box
_LARGEST = 4.0  # usual spreads
_STEPS = 32  # to the unit
_MOST = 255


def placed_residual(residual: Tensor, mask: Tensor) -> Tensor:
    """One brain's residual in the atlas, ``SIDES``.

    Args:
        residual: mean of r_s over 3^3, or g, ``(1, 1, D, H, W)``.
        mask: bool, the same shape; axis 0 runs from left to right.
    """
    box = bounding_box(mask[0, 0])
    inside = (residual.clamp_max(_LARGEST) * mask)[(slice(None), slice(None), *box)]
    return F.adaptive_avg_pool3d(inside, SIDES)[0, 0]


def pack(residuals: Sequence[Tensor]) -> str:
    """The atlas of healthy brains, as text; each is of :func:`placed_residual`."""
    usual = torch.stack(list(residuals)).square().mean(0).sqrt()
    usual = (usual + usual.flip(0)) / 2
    steps = (usual * _STEPS).round().clamp(0, _MOST).to(torch.uint8)
    return base64.b64encode(steps.numpy().tobytes()).decode("ascii")


def unpack(text: str) -> Tensor:
    """The atlas ``SIDES`` that :func:`pack` wrote."""
    steps = np.frombuffer(base64.b64decode(text), dtype=np.uint8).reshape(SIDES)
    return torch.from_numpy(steps.astype(np.float32) / _STEPS)


def usual_residual(text: str, mask: Tensor) -> Tensor:
    """u_s of a packed atlas in the bounding box of ``mask (1, 1, D, H, W)``, 0 outside it."""
    atlas = unpack(text).to(mask.device)
    return laid_out(atlas[None, None], mask[:, 0])
