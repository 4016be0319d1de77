"""Brain-like label maps, and a tiny data set on disk in the form the trainer reads."""

import nibabel
import numpy as np
import torch

from dal_fast.synthesis.brains import is_held_out

SPACE = (32, 40, 32)


def labels(space=SPACE, jitter=0.0):
    """int16 ``space``: 1 fluid around and inside, 2 grey, 3 white matter, 0 outside."""
    axes = [np.linspace(-1, 1, s) for s in space]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2) * (1 + jitter * x)
    out = np.zeros(space, np.int16)
    out[radius < 0.92] = 1
    out[radius < 0.80] = 2
    out[radius < 0.62] = 3
    out[radius < 0.22] = 1
    return out


def structures(space=SPACE):
    """Structure map ``(1, 1, *space)`` of :func:`labels`."""
    tissue = torch.from_numpy(labels(space)).long()
    return torch.where(tissue > 0, tissue * 256 + 7, 0).short()[None, None]


def probabilities(structure_map):
    """One-hot tissue ``(N, 3, D, H, W)`` float32."""
    tissue = structure_map.long() // 256
    return torch.cat([(tissue == k).float() for k in (1, 2, 3)], dim=1)


def t1w(structure_map):
    """A T1-weighted scan of it in [0, 1], ``(N, 1, D, H, W)``."""
    table = torch.tensor([0.0, 0.2, 0.55, 0.85])
    return table[structure_map.long() // 256]


def subjects(training, held_out):
    """Names on either side of the fixed split."""
    names = [f"sub-{i:03d}" for i in range(1000)]
    own = [name for name in names if not is_held_out(name)][:training]
    return own + [name for name in names if is_held_out(name)][:held_out]


def write_dataset(folder, names, space=SPACE):
    """A BIDS derivative like the one that the trainer reads; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = "index\tname\ttissue\n1\tfluid\tCSF\n2\tcortex\tGM\n3\twhite\tWM\n"
    (folder / "dseg.tsv").write_text(rows)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    for i, name in enumerate(names):
        anat = folder / name / "anat"
        anat.mkdir(parents=True)
        tissue = labels(space, 0.02 * i)
        scan = np.array([0, 50, 140, 215], np.uint8)[tissue]
        for suffix, data in (("dseg", tissue), ("desc-brain_T1w", scan)):
            image = nibabel.Nifti1Image(data, affine)
            nibabel.save(image, anat / f"{name}_{suffix}.nii.gz")
    return folder
