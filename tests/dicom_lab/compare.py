"""Whether two volumes are the same, whatever the order of their axes."""

from __future__ import annotations

import nibabel as nib
import numpy as np


def canonical(data, affine):
    """As an image whose axes run to the right, anterior and superior."""
    return nib.as_closest_canonical(nib.Nifti1Image(np.asarray(data, np.float32), affine))


def corners_apart(first, second) -> float:
    """Largest distance of corners, mm; infinite where the shapes differ."""
    if first.shape != second.shape:
        return float("inf")
    corners = np.array(np.meshgrid(*((0, n - 1) for n in first.shape))).reshape(3, -1).T
    places = [nib.affines.apply_affine(image.affine, corners) for image in (first, second)]
    return float(np.abs(places[0] - places[1]).max())


def agrees(volume, data, affine, tolerance) -> bool:
    """Equal voxels at equal places, to within ``tolerance`` mm (at least 1e-6)."""
    ours, theirs = canonical(volume.data, volume.affine), canonical(data, affine)
    if corners_apart(ours, theirs) > max(tolerance, 1e-6):
        return False
    return np.array_equal(ours.get_fdata(), theirs.get_fdata())
