"""Synthetic brains for the examples: nobody needs a scan to try them."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

T2W = (0.95, 0.60, 0.40)  # intensity of CSF, grey matter and white matter
T1W = (0.20, 0.55, 0.85)
VOXEL_MM = 2.0
AFFINE = np.diag([VOXEL_MM, VOXEL_MM, VOXEL_MM, 1.0])
AFFINE[:3, 3] = -75, -93, -75


def tissue_labels(shape=(75, 93, 75), seed=0):
    """uint8 labels: 0 outside, 1 CSF, 2 grey matter, 3 white matter. About 1.2 litres at 2 mm."""
    size = 1 + 0.03 * np.random.default_rng(seed).standard_normal(3)
    axes = [np.linspace(-1, 1, n) * 1.2 / s for n, s in zip(shape, size, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    folds = 0.05 * np.sin(15 * x) * np.sin(15 * y) * np.sin(14 * z)
    labels = np.zeros(shape, np.uint8)
    labels[radius < 1] = 1
    labels[radius < 0.96 + folds] = 2
    labels[radius < 0.84 + folds] = 3
    ventricles = ((np.abs(x) - 0.15) / 0.11) ** 2 + (y / 0.33) ** 2 + (z / 0.16) ** 2 < 1
    labels[ventricles & (labels > 0)] = 1
    return labels


def scan_of(labels, contrast=T2W, noise=0.02, seed=0):
    """A scan with these labels, float32; 0 outside the brain."""
    rng = np.random.default_rng(seed)
    scan = np.array([0.0, *contrast])[labels]
    for axis in range(3):  # partial volume: a voxel sees a little of its neighbours
        scan = (np.roll(scan, 1, axis) + 4 * scan + np.roll(scan, -1, axis)) / 6
    scan += noise * rng.standard_normal(labels.shape)
    return np.where(labels > 0, 700 * np.clip(scan, 0.01, None), 0).astype(np.float32)


def add_lesion(scan, labels, centre=(28, 22, 14), radius=8.0, intensity=0.8):
    """Paint a bright ball in place; returns its mask. ``centre`` and ``radius`` in mm."""
    index = np.stack(np.meshgrid(*map(np.arange, scan.shape), indexing="ij"), axis=-1)
    distance = np.linalg.norm(index @ AFFINE[:3, :3].T + AFFINE[:3, 3] - centre, axis=-1)
    lesion = (distance < radius) & (labels > 0)
    scan[lesion] = 700 * intensity
    return lesion


def save(path, data):
    """Write a NIfTI file at 2 mm, and return its path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, AFFINE), path)
    return path
