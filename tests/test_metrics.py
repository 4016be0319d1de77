"""Measures that several rooms share, beside their definitions."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import f1_score, roc_auc_score

from dal_fast.metrics import auroc, label_dice, robust_spread


def test_the_robust_spread_is_scipys_and_ignores_outliers():
    values = torch.from_numpy(np.random.default_rng(0).normal(0, 3, 10_001))
    want = stats.median_abs_deviation(values, center=lambda x, axis: 0.0, scale="normal")
    assert robust_spread(values).item() == pytest.approx(want, rel=1e-4)
    assert robust_spread(values).item() == pytest.approx(3, rel=0.05)
    values[:1000] = 1e6
    assert robust_spread(values).item() < 4


def test_label_dice_is_the_f1_score_of_each_class_inside_the_mask():
    draw = torch.Generator().manual_seed(0)
    a, b = (torch.randint(0, 3, (2, 4, 5, 6), generator=draw) for _ in range(2))
    mask = torch.rand((2, 1, 4, 5, 6), generator=draw) > 0.3
    found = label_dice(a, b, 4, mask)
    assert found.shape == (2, 4)
    for n in range(2):
        inside = mask[n, 0]
        want = f1_score(a[n][inside], b[n][inside], labels=[0, 1, 2, 3], average=None,
                        zero_division=0)  # fmt: skip
        np.testing.assert_allclose(found[n].numpy(), want)
        assert found[n, 3] == 0  # a class that neither map holds


def test_auroc_is_scikit_learns():
    rng = np.random.default_rng(0)
    positive = rng.random(50) < 0.4
    scores = np.round(rng.random(50) + 0.3 * positive, 1)  # with ties
    want = roc_auc_score(positive, scores)
    assert auroc(scores.tolist(), positive.tolist()) == pytest.approx(want, abs=1e-6)
    assert math.isnan(auroc([0.5, 0.2], [True, True]))
