"""Binary morphology of brain masks: bounding box, erosion, dilation, the largest component.

Functions for volumes on the model grid take tensors ``(1, 1, D, H, W)``; those that
look at a scan as it was read take numpy arrays ``(I, J, K)``. The bounding box takes either. torch
is imported when a function needs it: most refusals of a scan come earlier.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from dal_fast import arrays

if TYPE_CHECKING:
    from torch import Tensor

Bool = NDArray[np.bool_]


def bounding_box(mask: Bool | Tensor, margin: int = 0) -> tuple[slice, ...]:
    """The smallest box around a mask, and ``margin`` voxels more on every side.

    Args:
        mask: bool, three axes, a numpy array or a tensor on any device.
        margin: in voxels.

    Returns:
        One slice an axis, within the volume; empty slices where the mask is empty.
    """
    across, along = cast(Any, mask.any(2)), cast(Any, mask.any(1))
    box = []
    for line in (across.any(1), across.any(0), along.any(0)):
        inside: list[bool] = line.tolist()
        if True not in inside:
            box.append(slice(0, 0))
            continue
        first, last = inside.index(True), len(inside) - 1 - inside[::-1].index(True)
        box.append(slice(max(0, first - margin), min(len(inside), last + 1 + margin)))
    return tuple(box)


def empty_slices(values: NDArray[Any]) -> int:
    """Slices of a scan or mask that are all 0 between larger ones, along the worst axis.

    A slice counts as larger from a twentieth of the largest on, so that specks do not.
    """
    most = 0
    for axis, areas in enumerate(slice_areas(values)):
        large = np.flatnonzero(areas > areas.max() / 20)
        if len(large):
            between = large[0] + np.flatnonzero(areas[large[0] : large[-1]] == 0)
            most = max(most, sum(not np.take(values, index, axis).any() for index in between))
    return most


def slice_areas(values: NDArray[Any]) -> list[NDArray[np.intp]]:
    """For each axis, how many of the voxels of :func:`thin_slices` are not 0 in each slice."""
    return [(thin_slices(values, axis) != 0).sum((1, 2)) for axis in range(3)]


def thin_slices(values: NDArray[Any], axis: int) -> NDArray[Any]:
    """All slices across an axis, which comes first, with about 40 of their rows and columns."""
    slices = np.moveaxis(values, axis, 0)
    rows, columns = (max(1, size // 40) for size in slices.shape[1:])
    return slices[:, ::rows, ::columns]


def outermost_voxels(mask: Bool) -> NDArray[np.intp]:
    """Voxels ``(P, 3)`` among which are the outermost ones of the mask in any direction.

    They are the first and the last voxel of every line along axis 0, which is the axis that is
    contiguous in memory for a scan. There are none for an empty mask.
    """
    lines = mask.any(axis=0)
    j, k = np.nonzero(lines)
    columns = mask[:, j, k]
    first, last = columns.argmax(0), mask.shape[0] - 1 - columns[::-1].argmax(0)
    return np.concatenate([np.stack([first, j, k], 1), np.stack([last, j, k], 1)])


def largest_component_filled(mask: Bool) -> Bool:
    """The largest 6-connected component of a mask, its holes filled.

    A hole is a set of empty voxels that no path over faces joins to the edge of the volume.

    Args:
        mask: ``(I, J, K)``, not empty.

    Returns:
        The same shape, in Fortran order.
    """
    box = bounding_box(mask)
    labels = _components(mask[box].T)  # scans are in Fortran order: transposed, C
    beyond = np.ones([side + 2 for side in labels.shape], bool)
    inner = (slice(1, -1),) * 3
    np.not_equal(labels, _largest(labels), out=beyond[inner])
    empty = _components(beyond)
    out = np.zeros(mask.shape, bool, order="F")
    np.not_equal(empty[inner], empty[0, 0, 0], out=out[box].T)
    return out


def _largest(labels: NDArray[np.int32]) -> int:
    """The label of most voxels, 0 apart; the lowest of several.

    One that more than half of the voxels have is found from a few of them: counting all labels
    takes a third of the time that filling the holes takes.
    """
    few = np.bincount(labels[::4, ::4, ::4].ravel(), minlength=2)
    label = 1 + int(few[1:].argmax())
    if 2 * np.count_nonzero(labels == label) > np.count_nonzero(labels):
        return label
    return 1 + int(np.bincount(labels.ravel())[1:].argmax())


def _components(mask: Bool) -> NDArray[np.int32]:
    """Labels of the 6-connected components of ``(D, H, W)``."""
    if arrays.enabled():
        return arrays.components3d(mask, 6)
    import torch

    from dal_fast.ops import components3d

    volume = torch.from_numpy(np.ascontiguousarray(mask))[None, None]
    labels: NDArray[np.int32] = components3d(volume, connectivity=6)[0, 0].numpy()
    return labels


def erode_along(mask: Tensor, axis: int) -> Tensor:
    """Erosion by one voxel along one axis; what lies beyond the volume counts as outside.

    Args:
        mask: bool, any shape.
        axis: of the neighbours that must be inside, too.
    """
    import torch

    result = torch.zeros_like(mask)
    inner = mask.shape[axis] - 2
    if inner > 0:
        both = mask.narrow(axis, 0, inner) & mask.narrow(axis, 2, inner)
        torch.logical_and(both, mask.narrow(axis, 1, inner), out=result.narrow(axis, 1, inner))
    return result


def surrounded(mask: Tensor) -> Tensor:
    """Voxels of bool ``(N, D, H, W)`` whose six neighbours are of the mask, too.

    A brain mask's border holds voxels of no brain, which are dark and pass for fluid: the mean of
    a T2w's fluid they can pull down to a fifth of what it is.
    """
    return erode_along(mask, 1) & erode_along(mask, 2) & erode_along(mask, 3)


def without_dark_border(mask: Tensor, x: Tensor, dark: float, deepest: int) -> Tensor:
    """A mask whose border's dark voxels are peeled off, layer by layer.

    A mask that is wider than the brain has several layers of what is no brain. Fluid of a T1w or
    FLAIR goes with them, where a chain of dark voxels leads to it; ventricles stay.

    Args:
        mask: brains, bool ``(N, D, H, W)``.
        x: scans, the same shape.
        dark: what is below it is peeled off.
        deepest: number of layers.
    """
    unlit = x < dark
    for _ in range(deepest):
        mask = mask & ~(unlit & ~surrounded(mask))
    return mask


def erode(mask: Tensor, voxels: int) -> Tensor:
    """Erosion of ``(1, 1, D, H, W)`` by a cube of side ``2 voxels + 1``."""
    for axis in (2, 3, 4) * voxels:
        mask = erode_along(mask, axis)
    return mask


def dilate(mask: Tensor, voxels: int) -> Tensor:
    """Dilation of ``(1, 1, D, H, W)`` by a cube of side ``2 voxels + 1``."""
    for axis in (2, 3, 4):
        left = min(voxels, mask.shape[axis] - 1)
        reached = 0
        while left > 0:
            shift = min(left, reached + 1)  # leaves no gap, also beside the border
            size = mask.shape[axis] - shift
            wider = mask.clone()
            wider.narrow(axis, shift, size).logical_or_(mask.narrow(axis, 0, size))
            wider.narrow(axis, 0, size).logical_or_(mask.narrow(axis, shift, size))
            mask, left, reached = wider, left - shift, reached + shift
    return mask
