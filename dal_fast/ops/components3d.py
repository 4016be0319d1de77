"""Connected components of a mask, and the removal of small ones."""

from __future__ import annotations

import torch
from torch import Tensor

from dal_fast.context import _C
from dal_fast.errors import Code, InputError
from dal_fast.ops._checks import address, check_dense, check_shape, check_whole
from dal_fast.ops._dispatch import launcher, resolve
from dal_fast.ops._register import op

_MOST_VOXELS = 2**32 - 1  # of one volume: then a node's number fits 32 bits


def components3d(mask: Tensor, connectivity: int = 26, *, backend: str = "auto") -> Tensor:
    """Number the connected components of every volume.

    Two voxels of the mask are neighbours when they share a face (6), a face or an edge (18), or
    a face, an edge or a corner (26). Labels are 1..K in the raster order of each component's first
    voxel, exactly those of ``scipy.ndimage.label`` with the matching structure; 0 is outside. Every
    ``(n, c)`` volume is numbered by itself.

    Args:
        mask: bool ``(N, C, D, H, W)``, any strides.
        connectivity: 6, 18 or 26.
        backend: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"reference"``.

    Returns:
        int32 ``(N, C, D, H, W)``, contiguous.

    Raises:
        InputError: ``not-a-tensor``, ``mask-dtype``; ``shape``, also for a volume of 2³² voxels or
            more; ``connectivity``; ``backend-unavailable``.

    Example:
        >>> import torch
        >>> from dal_fast import ops
        >>> mask = torch.zeros(1, 1, 4, 4, 4, dtype=torch.bool)
        >>> mask[0, 0, 0, 0, 0] = mask[0, 0, 1, 1, 1] = mask[0, 0, 3, 3, 3] = True
        >>> ops.components3d(mask).max().item(), ops.components3d(mask, connectivity=6).max().item()
        (2, 3)
    """
    connectivity = _checked(mask, connectivity)
    backend = resolve(backend, mask)
    if backend == "reference":
        from dal_fast import reference

        return reference.components3d(mask, connectivity)
    return _components3d(mask, connectivity, backend)


def remove_small(
    mask: Tensor, min_voxels: int, connectivity: int = 26, *, backend: str = "auto"
) -> Tensor:
    """Keep the connected components of ``min_voxels`` voxels or more.

    Args:
        mask: bool ``(N, C, D, H, W)``, any strides; every ``(n, c)`` volume stands for itself.
        min_voxels: smallest size that stays, in voxels; 0 and 1 keep everything.
        connectivity: 6, 18 or 26, see :func:`components3d`.
        backend: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"reference"``.

    Returns:
        bool ``(N, C, D, H, W)``, contiguous.

    Raises:
        InputError: as :func:`components3d`; ``value`` for a negative size.

    Example:
        >>> import torch
        >>> from dal_fast import ops
        >>> mask = torch.zeros(1, 1, 8, 8, 8, dtype=torch.bool)
        >>> mask[..., 1:4, 1:4, 1:4] = True
        >>> mask[..., 6, 6, 6] = True
        >>> ops.remove_small(mask, min_voxels=2).sum().item()
        27
    """
    connectivity = _checked(mask, connectivity)
    min_voxels = check_whole(min_voxels, "min_voxels")
    if min_voxels < 0:
        raise InputError(Code.VALUE, f"min_voxels must not be negative, not {min_voxels}")
    min_voxels = min(min_voxels, _MOST_VOXELS + 1)
    backend = resolve(backend, mask)
    if backend == "reference":
        from dal_fast import reference

        return reference.remove_small(mask, min_voxels, connectivity)
    return _remove_small(mask, min_voxels, connectivity, backend)


def _checked(mask: Tensor, connectivity: int) -> int:
    """The connectivity, as an int."""
    check_dense(mask, "mask")
    if mask.dtype != torch.bool:
        raise InputError(
            Code.MASK_DTYPE, f"mask must be a bool tensor, not {mask.dtype}, such as mask > 0.5"
        )
    check_shape(mask, "mask")
    connectivity = check_whole(connectivity, "connectivity", Code.CONNECTIVITY)
    if connectivity not in (6, 18, 26):
        raise InputError(Code.CONNECTIVITY, f"connectivity must be 6, 18 or 26, not {connectivity}")
    if mask.shape[2] * mask.shape[3] * mask.shape[4] > _MOST_VOXELS:
        raise InputError(Code.SHAPE, f"mask has 2**32 voxels a volume or more: {tuple(mask.shape)}")
    return connectivity


def _shape(mask: Tensor, connectivity: int) -> _C.Components3dShape:
    n, c, depth, height, width = mask.shape
    return _C.Components3dShape(
        volumes=n * c, depth=depth, height=height, width=width, connectivity=connectivity
    )


@op("components3d", remedy="a mask has none")
def _components3d(mask: Tensor, connectivity: int, backend: str) -> Tensor:
    mask, shape = mask.contiguous(), _shape(mask, connectivity)
    kernels, where = launcher(backend, mask)
    labels = mask.new_empty(mask.shape, dtype=torch.int32)
    size = kernels.components3d_workspace(shape=shape, where=where)
    workspace = mask.new_empty(size, dtype=torch.uint8)
    kernels.components3d(
        mask=address(mask), labels=address(labels), workspace=address(workspace),
        shape=shape, where=where,
    )  # fmt: skip
    return labels


@op("remove_small", remedy="a mask has none")
def _remove_small(mask: Tensor, min_voxels: int, connectivity: int, backend: str) -> Tensor:
    mask, shape = mask.contiguous(), _shape(mask, connectivity)
    kernels, where = launcher(backend, mask)
    out = mask.new_empty(mask.shape)
    size = kernels.components3d_workspace(shape=shape, where=where)
    workspace = mask.new_empty(size, dtype=torch.uint8)
    kernels.remove_small(
        mask=address(mask), out=address(out), workspace=address(workspace),
        shape=shape, min_voxels=min_voxels, where=where,
    )  # fmt: skip
    return out


@_components3d.register_fake
def _(mask: Tensor, connectivity: int, backend: str) -> Tensor:
    return mask.new_empty(mask.shape, dtype=torch.int32)


@_remove_small.register_fake
def _(mask: Tensor, min_voxels: int, connectivity: int, backend: str) -> Tensor:
    return mask.new_empty(mask.shape)
