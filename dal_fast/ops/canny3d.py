"""3D Canny edges of a volume, or straight from tissue logits."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dal_fast.context import _C
from dal_fast.errors import Code, InputError
from dal_fast.ops._checks import (
    DTYPE_CODES,
    address,
    check_constants,
    check_levels,
    check_mask,
    check_triton_planes,
    check_volume,
    host_table,
)
from dal_fast.ops._dispatch import launcher, resolve, triton_kernels
from dal_fast.ops._register import op
from dal_fast.ops.onehot import LEVELS
from dal_fast.taps import canny_weights


def canny3d(
    x: Tensor,
    sigma: float = 1.0,
    low: float = 0.02,
    high: float = 0.04,
    mask: Tensor | None = None,
    *,
    backend: str = "auto",
) -> Tensor:
    """3D Canny edges: smooth, differentiate, thin, threshold twice, follow.

    ``s = (g * (m x)) / (g * m)`` with a Gaussian g cut at ``round(4 sigma)``; ``G = Sobel(s)``
    scaled so that a ramp of one unit a voxel has ``|G| = 1``. A voxel stays if ``|G|``, trilinear
    at ``v ± G / max_i |G_i|``, exceeds ``|G(v)|`` on neither side (by more than a fraction 1e-4, so
    that the two voxels beside a flat step both stay). Of those with ``|G| >= low`` the ones that
    chains of 26-neighbours join to one with ``|G| >= high`` are edges. A volume that is constant
    along one axis has the edges of ``skimage.feature.canny`` in its slices, plus those that the
    margin keeps and scikit-image drops: under 1 voxel in 1000 of a smooth image, more beside flat
    steps. The thresholds are scikit-image's divided by 8, whose Sobel filter is not normalised:
    ``canny3d(x, sigma, low, high)`` corresponds to ``canny(slice, sigma, 8 * low, 8 * high)``. The
    paper says "Canny" and no more: smoothing, thresholds and border are not specified there.

    Border: beyond the volume and outside the mask there is nothing to smooth over; smoothed values
    and ``|G|`` repeat their edge voxel beyond the volume. The mask is not eroded: s continues
    smoothly past its border, which by itself is no edge, and edges may touch it. Values outside the
    mask do not matter, not even NaN. A NaN or an infinity inside leaves no edge within the
    Gaussian's radius + 1 voxels along every axis, and may take one away a voxel farther.

    The edges are piecewise constant, and no gradient flows through them: as for a comparison
    ``x > 0``, the result does not require one, and its derivative is 0 in every transform. Each
    channel is taken by itself.

    Args:
        x: ``(N, C, D, H, W)``, float32, float64, float16 or bfloat16, any strides; magnitudes below
            1e17 (1e150 for float64).
        sigma: of the Gaussian, voxels; 0 means no smoothing.
        low: lower threshold on ``|G|``, units of x per voxel.
        high: upper threshold, at least ``low``.
        mask: where edges are looked for, bool ``(N, 1, D, H, W)``; everywhere without one.
        backend: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"triton"`` or ``"reference"``.

    Returns:
        Edges, bool ``(N, C, D, H, W)``.

    Raises:
        InputError: ``not-a-tensor``, ``shape``, ``dtype``, ``mask-dtype``, ``mask-shape``,
            ``mask-device``; ``value`` for sigma or thresholds; ``no-gradient`` for a threshold that
            requires one; ``backend-unavailable``.

    Example:
        >>> import torch
        >>> from dal_fast import ops
        >>> step = (torch.arange(16.0) > 7).expand(1, 1, 16, 16, 16).float()
        >>> ops.canny3d(step)[0, 0, 8, 8].nonzero().flatten().tolist()
        [7, 8]
    """
    check_volume(x, "x")
    check_mask(mask, x)
    _check_parameters(sigma, low, high)
    backend = resolve(backend, x, triton=True)
    if backend == "reference":
        from dal_fast import reference

        return reference.canny3d(x.detach().double(), sigma, low, high, mask)
    edges: Tensor = _canny3d(x.detach(), None, mask, sigma, low, high, backend)
    return edges


def anatomy_edges(
    logits: Tensor,
    levels: Sequence[float] = LEVELS,
    mask: Tensor | None = None,
    sigma: float = 1.0,
    low: float = 0.02,
    high: float = 0.04,
    *,
    backend: str = "auto",
) -> Tensor:
    """``canny3d(anatomy_image(logits, levels, mask), sigma, low, high, mask)`` in one pass.

    The anatomical image is never written. The default thresholds keep the boundaries between the
    three levels (not specified in the paper). No gradient flows through the edges, see
    :func:`canny3d`; :func:`anatomy_image` has one.

    Args:
        logits: ``(N, K, D, H, W)`` tissue logits; of equal ones the lowest class wins.
        levels: K grey levels; the default is the paper's for CSF, grey and white matter.
        mask: brain mask, bool ``(N, 1, D, H, W)``; see :func:`canny3d`.
        sigma: of the Gaussian, voxels.
        low: lower threshold, grey level per voxel.
        high: upper threshold, at least ``low``.
        backend: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"triton"`` or ``"reference"``.

    Returns:
        Edges, bool ``(N, 1, D, H, W)``.

    Raises:
        InputError: as :func:`canny3d`; ``levels`` for a wrong number of them.

    Example:
        >>> import torch
        >>> from dal_fast import ops
        >>> logits = torch.zeros(1, 3, 16, 16, 16)
        >>> logits[:, 2, 4:12, 4:12, 4:12] = 5  # a cube of white matter in CSF
        >>> ops.anatomy_edges(logits)[0, 0, 8, 8].nonzero().flatten().tolist()
        [4, 11]
    """
    check_volume(logits, "logits")
    check_mask(mask, logits)
    _check_parameters(sigma, low, high)
    check_levels(levels, logits)
    backend = resolve(backend, logits, triton=True)
    if backend == "reference":
        from dal_fast import reference

        return reference.anatomy_edges(logits.detach().double(), levels, mask, sigma, low, high)
    table = [float(c) for c in levels]
    edges: Tensor = _canny3d(logits.detach(), table, mask, sigma, low, high, backend)
    return edges


def _check_parameters(sigma: float, low: float, high: float) -> None:
    check_constants(sigma=sigma, low=low, high=high)
    if not (0 <= sigma < math.inf):
        raise InputError(Code.VALUE, f"sigma must be 0 or positive, not {sigma}")
    if not (0 <= low <= high < math.inf):
        raise InputError(Code.VALUE, f"thresholds must be 0 <= low <= high, not {low} and {high}")


@op("canny3d", remedy="pass x.detach()")
def _canny3d(
    values: Tensor,
    levels: list[float] | None,
    mask: Tensor | None,
    sigma: float,
    low: float,
    high: float,
    backend: str,
) -> Tensor:
    values, mask = values.contiguous(), None if mask is None else mask.contiguous()
    n, c, d, h, w = values.shape
    edges = values.new_empty(n, c if levels is None else 1, d, h, w, dtype=torch.bool)
    taps = canny_weights(sigma, max(d, h, w))
    if backend == "triton":
        check_triton_planes(values)
        triton_kernels("canny3d").canny3d(values, levels, mask, taps, low, high, edges)
        return edges
    kernels, where = launcher(backend, values)
    level_table, tap_table, radius = host_table(levels), host_table(taps), len(taps) - 1
    source = _C.CannyInput(
        values=address(values), levels=address(level_table), mask=address(mask),
        batch=n, channels=c, depth=d, height=h, width=w, dtype=DTYPE_CODES[values.dtype],
    )  # fmt: skip
    parameters = _C.CannyParameters(taps=address(tap_table), radius=radius, low=low, high=high)
    size = kernels.canny3d_workspace(input=source, radius=radius, where=where)
    workspace = values.new_empty(size, dtype=torch.uint8)
    kernels.canny3d(
        input=source, parameters=parameters,
        workspace=address(workspace), edges=address(edges), where=where,
    )  # fmt: skip
    return edges


@_canny3d.register_fake
def _(
    values: Tensor,
    levels: list[float] | None,
    mask: Tensor | None,
    sigma: float,
    low: float,
    high: float,
    backend: str,
) -> Tensor:
    n, c, *space = values.shape
    return values.new_empty(n, c if levels is None else 1, *space, dtype=torch.bool)
