"""A scan to try things on: a head around the MNI152 template's brain, with a lesion painted in.

nilearn carries the template without its skull. Cerebrospinal fluid, skull, scalp, a face with eyes,
a neck, and the noise of a scanner, which fills the air too, are added here in the contrast of a T1w
scan. They are simple shapes: enough of a head to show the way from a scanner's file to a map.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dal_fast.errors import Code, RuntimeUnavailable
from dal_fast.imaging.atomic import write_bytes
from dal_fast.imaging.folders import make_folder

LESION_CENTRE = (28.0, 24.0, 22.0)  # mm (right, anterior, superior): right frontal white matter
LESION_RADIUS_MM = 9.0
_LESION_LEVEL = 0.45  # of the template's white matter: dark, as oedema is in T1w
SCAN_NAME = "sub-demo_T1w.nii.gz"

_WHITE = 1000.0  # intensity of the template's brightest voxel
_LAYERS = ((2.0, 180), (4.0, 50), (7.0, 380), (9.0, 50), (13.0, 950), (15.0, 480))
"""From the brain outwards, up to so many mm: fluid, skull with its marrow, fat, skin."""
_MUSCLE, _EYE, _SINUS = 450.0, 200.0, 20.0
_NOISE = 14.0  # of either channel of the scanner
_EDGE_MM = 6.0  # of the field of view that stays air


def write_demo_scan(folder: Path) -> Path:
    """Write the head with its lesion as ``folder/sub-demo_T1w.nii.gz``.

    Raises:
        RuntimeUnavailable: ``extra-missing`` without nilearn.
        OutputError: ``output-unwritable``, ``disk-full``.
    """
    import nibabel as nib

    data, _, affine = demo_head()
    image = nib.Nifti1Image(data, affine)  # type: ignore[no-untyped-call]
    with tempfile.TemporaryDirectory() as scratch:
        nib.save(image, Path(scratch) / SCAN_NAME)
        content = (Path(scratch) / SCAN_NAME).read_bytes()
    make_folder(folder)
    write_bytes(folder / SCAN_NAME, content)
    return folder / SCAN_NAME


def demo_head() -> tuple[NDArray[np.int16], NDArray[np.bool_], NDArray[np.float64]]:
    """The head, ``(I, J, K)`` from 0 to about 1000, the brain in it, and the affine.

    Raises:
        RuntimeUnavailable: ``extra-missing`` without nilearn.
    """
    brain, affine = demo_brain()
    inside = brain > 0
    tissue = _around(inside, affine)
    rng = np.random.default_rng(0)
    signal = np.where(inside, brain, tissue)
    real, imaginary = (
        _NOISE * rng.standard_normal(signal.shape, dtype=np.float32) for _ in range(2)
    )
    return np.hypot(signal + real, imaginary).astype(np.int16), inside, affine


def _around(brain: NDArray[np.bool_], affine: NDArray[np.float64]) -> NDArray[np.float32]:
    """What a T1w scan shows around a brain ``(I, J, K)``; 0 in the air."""
    from scipy.ndimage import distance_transform_edt, zoom

    coarse = distance_transform_edt(~brain[::2, ::2, ::2], sampling=2.0).astype(np.float32)
    scale = [n / m for n, m in zip(brain.shape, coarse.shape, strict=True)]
    distance = zoom(coarse, scale, order=1)
    points = _world(brain.shape, affine)
    head = np.zeros(brain.shape, np.float32)
    face = _ball(points, (0, 48, -48), (52, 42, 48))
    neck = _ball(points, (0, -28, -90), (55, 60, 60))
    for thicker, level in ((1.06, 900.0), (1.0, _MUSCLE)):
        head[np.minimum(face, neck) < thicker] = level
    for side in (-1, 1):
        head[_ball(points, (33 * side, 62, -32), (12, 12, 12)) < 1] = _EYE
    head[_ball(points, (0, 62, -42), (12, 14, 16)) < 1] = _SINUS
    for outer, level in reversed(_LAYERS):
        head[distance < outer] = level
    edge = round(_EDGE_MM)
    head[:edge], head[-edge:], head[:, :edge], head[:, -edge:] = 0, 0, 0, 0
    return head


def _ball(
    points: list[NDArray[np.float32]],
    centre: tuple[float, float, float],
    radii: tuple[float, float, float],
) -> NDArray[np.float32]:
    """Distance from an ellipsoid's centre, 1 on its surface; all in mm."""
    parts = (((v - c) / r) ** 2 for v, c, r in zip(points, centre, radii, strict=True))
    distance: NDArray[np.float32] = np.sqrt(sum(parts), dtype=np.float32)
    return distance


def _world(shape: tuple[int, ...], affine: NDArray[np.float64]) -> list[NDArray[np.float32]]:
    """Coordinates in mm along each axis of a grid whose axes are the world's, to be broadcast."""
    return [
        (affine[axis, axis] * np.arange(n, dtype=np.float32) + np.float32(affine[axis, 3])).reshape(
            [-1 if axis == other else 1 for other in range(3)]
        )
        for axis, n in enumerate(shape)
    ]


def demo_brain() -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The masked template with its lesion, ``(I, J, K)`` from 0 to about 1000, and its affine.

    Raises:
        RuntimeUnavailable: ``extra-missing`` without nilearn.
    """
    template, mask = _template()
    data = np.where(mask.get_fdata() > 0.5, template.get_fdata(), 0)
    data *= _WHITE / data.max()
    affine = np.asarray(template.affine, np.float64)
    # a smooth rim of about 2 mm
    radii = (LESION_RADIUS_MM,) * 3
    offset = LESION_RADIUS_MM * _ball(_world(data.shape, affine), LESION_CENTRE, radii)
    inside = 1 / (1 + np.exp(np.minimum(offset - LESION_RADIUS_MM, 50)))
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
