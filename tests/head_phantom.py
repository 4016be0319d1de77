"""Label maps of small heads, as SynthSeg's: brain, fluid, bone and skin in shells, and a neck."""

import nibabel as nib
import numpy as np

SIDES = (64, 72, 80)
BRAIN_RADIUS = (18.0, 22.0, 18.0)


def head_labels(shift=0.0, folds=True):
    """int16 (X, Y, Z) in RAS order, 1 mm: white 2, grey 3, ventricle 4, fluid 24, vein 514,
    bone 515, soft tissue 507, skin 511, brain stem 16 and cord 512."""
    x, y, z = np.meshgrid(*(np.arange(n, dtype=float) for n in SIDES), indexing="ij")
    x, y, z = x - 32, y - 36 - shift, z - 52
    r = np.sqrt(sum((v / a) ** 2 for v, a in zip((x, y, z), BRAIN_RADIUS, strict=True)))
    labels = np.zeros(SIDES, np.int16)
    neck = (x / 14) ** 2 + ((y + 4) / 14) ** 2 < 1
    labels[(r < 1.55) | (neck & (z < 0))] = 511
    labels[(r < 1.48) | (((x / 12) ** 2 + ((y + 4) / 12) ** 2 < 1) & (z < 0))] = 507
    labels[r < 1.3] = 515
    labels[r < 1.15] = 24
    labels[r < 1.0] = 3
    labels[r < 0.75] = 2
    labels[r < 0.25] = 4
    stem = (x / 5) ** 2 + ((y + 4) / 5) ** 2 < 1
    labels[stem & (z < -10) & (z >= -26)] = 16
    labels[stem & (z < -26)] = 512
    if folds:  # a sulcus of 3 mm, and a vein in the fissure between the hemispheres
        labels[(np.abs(x - 8) < 1.5) & (r < 1.0) & (r > 0.6) & (z > 4)] = 24
        labels[(np.abs(x) < 1) & (r < 1.0) & (r > 0.8) & (z > 4)] = 514
    return labels


def write_maps(folder, count=5, axes="LIA"):
    """``count`` maps that differ, stored in another order of axes; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        image = nib.Nifti1Image(head_labels(shift=number - 2.0), np.eye(4))
        turn = nib.orientations.ornt_transform(
            nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(tuple(axes))
        )
        nib.save(image.as_reoriented(turn), folder / f"sub-{number:02d}_dseg.nii.gz")
    return folder
