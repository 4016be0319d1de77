"""Baselines: detectors without training, which a trained one must beat.

======================  =========================================================================
``intensity``           the scan, in units of the median of its brain, not cut off above
``dark_intensity``      its negative
``equalised``           its rank among the brain's voxels. One scan's average precision is that of
                        ``intensity``; scans pooled under one threshold differ
``atlas``               (x - phi) / sigma against a healthy average brain: the MNI152 tissue maps,
                        affinely registered, with the scan's own tissue means and bias field
                        (:mod:`dal_fast.models.recouple`) and each tissue's spread
``dark_atlas``          its negative
``atlas_both``          its absolute value, for a detector that does not know the sign either
======================  =========================================================================

They are smoothed as the learned scores are. Not from the paper;
``intensity`` is the baseline of Meissen et al., "Challenging current semi-supervised anomaly
segmentation methods for brain MRI" (2021).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dal_fast.errors import Code, RuntimeUnavailable
from dal_fast.metrics import robust_spread
from dal_fast.models.recouple import closed_form

BASELINES = ("intensity", "dark_intensity", "equalised", "atlas", "dark_atlas", "atlas_both")
"""Names of the maps."""
ATLAS = ("atlas", "dark_atlas", "atlas_both")
"""Those that need a registration, SimpleITK and nilearn."""
_ENOUGH = 20  # voxels that a tissue's spread is estimated from
_SAMPLES = 20_000  # voxels that the registration compares, on its finer level
_LEAST_SPREAD = 0.02  # of the brain's median, so that a noiseless tissue does not divide by 0


def baseline_maps(
    image: Tensor, x: Tensor, mask: Tensor, affine: NDArray[np.float64], atlas: bool
) -> dict[str, Tensor]:
    """Every baseline's map of one scan, higher where more anomalous, 0 outside the mask.

    Args:
        image: the scan on the model's grid, any unit, ``(1, 1, D, H, W)``.
        x: the same, normalised and cut off.
        mask: where it has signal inside the brain.
        affine: of the model's grid.
        atlas: also those that need a registration (about two seconds).

    Raises:
        RuntimeUnavailable: ``extra-missing`` without SimpleITK or nilearn.
    """
    scaled = image / image[mask].median().clamp_min(1e-6)
    maps = {
        "intensity": scaled * mask,
        "dark_intensity": (scaled[mask].max() - scaled) * mask,
        "equalised": _ranks(image, mask),
    }
    if atlas:
        z = _z_score(x, mask, registered_atlas(x, mask, affine))
        maps |= {"atlas": z.clamp_min(0), "dark_atlas": (-z).clamp_min(0), "atlas_both": z.abs()}
    return maps


def _ranks(image: Tensor, mask: Tensor) -> Tensor:
    """0 to 1 inside the mask: the share of voxels that are darker; ties share the lowest rank."""
    values = image[mask]
    ordered = values.sort().values
    out = torch.zeros_like(image)
    out[mask] = torch.searchsorted(ordered, values).to(image.dtype) / max(1, len(values))
    return out


def _z_score(x: Tensor, mask: Tensor, p: Tensor) -> Tensor:
    residual = (x - closed_form(x, p, mask).image) * mask
    spreads = []
    for k in range(p.shape[1]):
        inside = residual[(p[:, k : k + 1] > 0.6) & mask]
        spread = robust_spread(inside) if len(inside) > _ENOUGH else residual.new_tensor(0.1)
        spreads.append(spread.clamp_min(_LEAST_SPREAD))
    sigma = torch.einsum("nkdhw,k->ndhw", p, torch.stack(spreads))[:, None]
    return residual / sigma.clamp_min(_LEAST_SPREAD)


@dataclass(frozen=True)
class _Atlas:
    """The MNI152 template at 2 mm, as SimpleITK images: T1w brain, grey and white matter maps."""

    brain: Any
    grey: Any
    white: Any


def check_atlas() -> None:
    """Refuse early what the atlas baselines will need.

    Raises:
        RuntimeUnavailable: ``extra-missing`` without SimpleITK or nilearn.
    """
    _simpleitk()
    _atlas()


def registered_atlas(x: Tensor, mask: Tensor, affine: NDArray[np.float64]) -> Tensor:
    """Average tissue probabilities (CSF, GM, WM) on a scan's grid, ``(1, 3, D, H, W)``.

    An affine registration by mutual information (SimpleITK), started from the brains' centres and
    extents; what is neither grey nor white inside the mask is fluid.
    """
    sitk, atlas = _simpleitk(), _atlas()
    scan = _to_sitk((x * mask)[0, 0].numpy(), affine)
    transform = _register(sitk, scan, atlas.brain)
    maps = []
    for image in (atlas.grey, atlas.white):
        moved = sitk.Resample(image, scan, transform, sitk.sitkLinear, 0.0, sitk.sitkFloat32)
        maps.append(torch.from_numpy(sitk.GetArrayFromImage(moved).transpose(2, 1, 0).copy()))
    grey, white = (m.clamp(0, 1) for m in maps)
    fluid = (1 - grey - white).clamp_min(0)
    p = torch.stack([fluid, grey, white])[None]
    return p / p.sum(1, keepdim=True).clamp_min(1e-6) * mask


def _register(sitk: Any, fixed: Any, moving: Any) -> Any:
    start = sitk.CenteredTransformInitializer(
        sitk.Cast(fixed > 0, sitk.sitkFloat32), sitk.Cast(moving > 0, sitk.sitkFloat32),
        sitk.AffineTransform(3), sitk.CenteredTransformInitializerFilter.MOMENTS,
    )  # fmt: skip
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.REGULAR)
    share = _SAMPLES / fixed.GetNumberOfPixels()
    method.SetMetricSamplingPercentagePerLevel([min(1.0, 5 * share), min(1.0, share)])
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 60)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([1, 0])
    method.SetNumberOfThreads(torch.get_num_threads())
    method.SetInitialTransform(start, inPlace=False)
    return method.Execute(fixed, moving)


def _to_sitk(voxels: NDArray[Any], affine: NDArray[np.float64]) -> Any:
    """An image whose axes are right, anterior, superior; SimpleITK counts left, posterior."""
    image = _simpleitk().GetImageFromArray(np.ascontiguousarray(voxels.transpose(2, 1, 0)))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    flip = np.diag([-1.0, -1.0, 1.0])
    image.SetSpacing([float(s) for s in spacing])
    image.SetOrigin([float(o) for o in flip @ affine[:3, 3]])
    image.SetDirection([float(v) for v in (flip @ affine[:3, :3] / spacing).ravel()])
    return image


@cache
def _atlas() -> _Atlas:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nilearn's own deprecations
            from nilearn import datasets
    except ImportError as error:
        raise _missing("nilearn", error) from None
    template = datasets.load_mni152_template(resolution=2)
    brain = datasets.load_mni152_brain_mask(resolution=2).get_fdata() > 0.5
    images = [
        template.get_fdata() * brain,
        datasets.load_mni152_gm_template(resolution=2).get_fdata(),
        datasets.load_mni152_wm_template(resolution=2).get_fdata(),
    ]
    affine = np.asarray(template.affine, np.float64)
    return _Atlas(*(_to_sitk(image.astype(np.float32), affine) for image in images))


@cache
def _simpleitk() -> Any:
    try:
        import SimpleITK
    except ImportError as error:
        raise _missing("SimpleITK", error) from None
    return SimpleITK


def _missing(name: str, error: ImportError) -> RuntimeUnavailable:
    return RuntimeUnavailable(
        Code.EXTRA_MISSING,
        f"the atlas baseline needs {name}, which does not load ({error}); "
        "pip install 'dal_fast[atlas]', or leave it out with --no-atlas",
    )
