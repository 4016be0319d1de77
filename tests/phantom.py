"""A small brain-like phantom in any orientation, voxel size and contrast."""

import nibabel as nib
import numpy as np

T2_LIKE = (0.95, 0.6, 0.4)  # CSF, grey, white
T1_LIKE = (0.2, 0.55, 0.85)


def phantom(axes="RAS", voxel_mm=(2.0, 2.0, 2.0), intensities=T2_LIKE, lesion=True, seed=0):
    """A stripped brain of about 1.2 litres with ventricles and one bright 8 mm lesion.

    Returns ``(data, affine, lesion_centre)``: float32 (I, J, K), (4, 4), world millimetres.
    """
    rng = np.random.default_rng(seed)
    field = np.array([150.0, 186.0, 150.0])  # mm, along R, A, S
    affine = _affine(axes, np.asarray(voxel_mm), field)
    codes = nib.orientations.axcodes2ornt(tuple(axes))
    sides = field[codes[:, 0].astype(int)]
    shape = tuple(int(n) for n in np.ceil(sides / voxel_mm))
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    x, y, z = np.moveaxis(index @ affine[:3, :3].T + affine[:3, 3], -1, 0)
    radius = np.sqrt((x / 62) ** 2 + (y / 80) ** 2 + (z / 58) ** 2)
    folds = 0.05 * np.sin(x / 5) * np.sin(y / 5.5) * np.sin(z / 5.2)
    labels = np.zeros(shape, np.uint8)
    labels[radius < 1] = 1
    labels[radius < 0.96 + folds] = 2
    labels[radius < 0.84 + folds] = 3
    labels[(((np.abs(x) - 10) / 7) ** 2 + (y / 26) ** 2 + (z / 9) ** 2) < 1] = 1
    data = np.array([0.0, *intensities])[labels]
    centre = np.array([28.0, 22.0, 14.0])
    if lesion:
        inside = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2 < 8**2
        data[inside] = 1.1
    data = np.where(labels > 0, data + 0.02 * rng.standard_normal(shape), 0) * 700
    return np.clip(data, 0, None).astype(np.float32), affine, centre


def save(path, data, affine):
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


def _affine(axes, voxel_mm, field):
    """Voxel to world with the middle of the field at the origin."""
    codes = nib.orientations.axcodes2ornt(tuple(axes))
    affine = np.eye(4)
    affine[:3, :3] = 0
    for i, (axis, sign) in enumerate(codes):
        affine[int(axis), i] = sign * voxel_mm[i]
        affine[int(axis), 3] = -sign * (field[int(axis)] - voxel_mm[i]) / 2
    return affine
