"""What the receiver's coil did to a real scan, and the scan without it.

Contrasts are made from real T1w scans, whose brightness changes slowly across the head. Bent or
exchanged tissue by tissue, such a slope would become a difference of tissue that no healthy brain
has. Where the label map says what is grey and white matter,

    log x = log mu_k + sum_{1 <= i + j + l <= 3} c_ijl u^i v^j w^l

is fitted to their voxels by least squares with Tukey's weights, u, v, w in [-1, 1] along the axes.
Ours, not specified in the paper; the fit in log space is that of N3 and N4.
"""

from __future__ import annotations

import math
from itertools import product

import torch
from torch import Tensor

from dal_fast.synthesis.sample import tissue_of

_DEGREE = 3
_ROUNDS = 4
_TUKEY = 4.0  # residuals beyond this many robust standard deviations have no say
_MAD = 1.4826  # to the standard deviation of a normal distribution
_STRIDE = 2  # every eighth voxel tells the field
_FEWEST = 500  # voxels below which there is no telling
_RIDGE, _LEAST = 1e-9, 1e-6  # where voxels leave a term open, and where nothing is left over
_LARGEST = math.log(4)  # of the log field


def without_coil(scan: Tensor, structures: Tensor) -> Tensor:
    """The scans over their fields, whose logarithms have the mean 0 in grey and white matter.

    Args:
        scan: ``(N, 1, D, H, W)``.
        structures: structure maps, the same shape.
    """
    fields = [_field(s[0], tissue_of(m[0])) for s, m in zip(scan, structures, strict=True)]
    return scan / torch.stack(fields)[:, None]


def _field(scan: Tensor, tissue: Tensor) -> Tensor:
    """Of one scan ``(D, H, W)``; 1 where too little of it tells."""
    axes = [torch.linspace(-1, 1, side, device=scan.device) for side in scan.shape]
    every = (slice(None, None, _STRIDE),) * 3
    seen = (tissue[every] >= 1) & (scan[every] > 0)
    if int(seen.sum()) < _FEWEST:
        return torch.ones_like(scan)
    grid = torch.meshgrid(*(axis[::_STRIDE] for axis in axes), indexing="ij")
    u, v, w = (axis[seen].double() for axis in grid)
    white = (tissue[every][seen] == 2).double()
    terms = [t for t in product(range(_DEGREE + 1), repeat=3) if 0 < sum(t) <= _DEGREE]
    smooth = [u**i * v**j * w**k for i, j, k in terms]
    found = _fitted(torch.stack([*smooth, 1 - white, white], dim=1), scan[every][seen])
    powers = [torch.stack([axis**d for d in range(_DEGREE + 1)]) for axis in axes]
    cube = scan.new_zeros((_DEGREE + 1,) * 3)
    for (i, j, k), value in zip(terms, found.tolist(), strict=False):
        cube[i, j, k] = value
    log_field = torch.einsum("ijk,id,jh,kw->dhw", cube, *powers)
    return (log_field - log_field[tissue >= 1].mean()).clamp(-_LARGEST, _LARGEST).exp()


def _fitted(columns: Tensor, intensity: Tensor) -> Tensor:
    """Coefficients of ``columns (V, P)`` whose sum is the logarithm of intensities ``(V,)``."""
    target = intensity.double().log()[:, None]
    weight = torch.ones_like(target)
    for _ in range(_ROUNDS):
        weighted = (columns * weight).mT
        normal = weighted @ columns
        ridge = _RIDGE * normal.diagonal().mean() * torch.eye(len(normal)).to(normal)
        found = torch.linalg.solve(normal + ridge, weighted @ target)
        residual = target - columns @ found
        reach = _TUKEY * _MAD * residual.abs().median().clamp_min(_LEAST)
        weight = (1 - (residual / reach).square()).clamp_min(0).square()
    return found[:, 0]
