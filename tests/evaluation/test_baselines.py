"""Detectors without training."""

import math

import numpy as np
import pytest
import torch

from dal_fast.evaluation import baselines


def test_equalised_is_a_rank():
    image = torch.tensor([3.0, 1.0, 2.0, 2.0, 9.0]).view(1, 1, 1, 1, 5)
    mask = torch.tensor([True, True, True, True, False]).view(1, 1, 1, 1, 5)
    maps = baselines.baseline_maps(image, image, mask, np.eye(4), atlas=False)
    assert maps["equalised"].flatten().tolist() == [0.75, 0.0, 0.25, 0.25, 0.0]
    assert maps["intensity"].flatten().tolist() == [1.5, 0.5, 1.0, 1.0, 0.0]
    assert maps["dark_intensity"].flatten().tolist() == [0.0, 1.0, 0.5, 0.5, 0.0]


def test_atlas_finds_its_own_brain_again():
    """The template, turned and shifted, gets its tissues back, and a bright spot stands out."""
    pytest.importorskip("SimpleITK")
    datasets = pytest.importorskip("nilearn.datasets")
    template = datasets.load_mni152_template(resolution=4)
    brain = datasets.load_mni152_brain_mask(resolution=4).get_fdata() > 0.5
    x = torch.from_numpy(template.get_fdata() * brain).float()[None, None]
    mask = torch.from_numpy(brain)[None, None]
    x = 0.5 * x / x[mask].median()
    turn = np.eye(4)
    turn[:2, :2] = [[math.cos(0.1), -math.sin(0.1)], [math.sin(0.1), math.cos(0.1)]]
    turn[:3, 3] = (7.0, -5.0, 4.0)
    affine = turn @ np.asarray(template.affine, float)
    p = baselines.registered_atlas(x, mask, affine)
    white = datasets.load_mni152_wm_template(resolution=4).get_fdata() > 0.7
    assert (p[0, 2].numpy()[white & brain] > 0.5).mean() > 0.9
    spot = torch.zeros_like(mask)
    spot[..., 15:18, 30:33, 20:23] = True
    x[spot] += 0.4
    z = baselines.baseline_maps(x, x, mask, affine, atlas=True)["atlas"]
    assert z[spot & mask].mean() > 3 * z[mask & ~spot].mean()
