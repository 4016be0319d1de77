"""A scan to try things on: the MNI152 template that nilearn carries, with a lesion painted in."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dal_fast.errors import Code, RuntimeUnavailable
from dal_fast.imaging.atomic import refusal, write_bytes

LESION_CENTRE = (28.0, 24.0, 22.0)  # mm (right, anterior, superior): right frontal white matter
LESION_RADIUS_MM = 9.0
_LESION_LEVEL = 0.45  # of the template's white matter: dark, as oedema is in T1w
SCAN_NAME = "sub-demo_T1w.nii.gz"


def write_demo_scan(folder: Path) -> Path:
    """Write the template with its lesion as ``folder/sub-demo_T1w.nii.gz``, brain only.

    Raises:
        InputError: ``extra-missing`` without nilearn; ``output-unwritable``.
    """
    import nibabel as nib

    data, affine = demo_brain()
    image = nib.Nifti1Image(data, affine)  # type: ignore[no-untyped-call]
    with tempfile.TemporaryDirectory() as scratch:
        nib.save(image, Path(scratch) / SCAN_NAME)
        content = (Path(scratch) / SCAN_NAME).read_bytes()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refusal(folder, error) from None
    write_bytes(folder / SCAN_NAME, content)
    return folder / SCAN_NAME


def demo_brain() -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The masked template with its lesion, ``(I, J, K)`` from 0 to about 1000, and its affine.

    Raises:
        InputError: ``extra-missing`` without nilearn.
    """
    template, mask = _template()
    data = np.where(mask.get_fdata() > 0.5, template.get_fdata(), 0)
    data *= 1000 / data.max()
    affine = np.asarray(template.affine, np.float64)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in data.shape), indexing="ij"), axis=-1)
    offset = index @ affine[:3, :3].T + affine[:3, 3] - np.array(LESION_CENTRE)
    # a smooth rim of about 2 mm
    inside = 1 / (1 + np.exp(np.linalg.norm(offset, axis=-1) - LESION_RADIUS_MM))
    lesion = _LESION_LEVEL * np.percentile(data[data > 0], 90)
    blend = np.where(data > 0, inside, 0)
    return ((1 - blend) * data + blend * lesion).astype(np.float32), affine


def _template() -> tuple[Any, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nilearn's own deprecations
            from nilearn.datasets import load_mni152_brain_mask, load_mni152_template

            return load_mni152_template(resolution=1), load_mni152_brain_mask(resolution=1)
    except ImportError as error:
        raise RuntimeUnavailable(
            Code.EXTRA_MISSING,
            f"the demo takes its brain from nilearn, which does not load ({error}); "
            "install it with: pip install 'dal_fast[demo]'",
        ) from None
