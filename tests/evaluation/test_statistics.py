"""Intervals, groups, paired tests, thresholds and their sweep."""

import math

import numpy as np
import pytest
import torch
from evaluation import originals
from scipy import stats
from sklearn import metrics

from dal_fast.evaluation.case_metrics import CaseMetrics
from dal_fast.evaluation.statistics import groups, mean, means, paired_difference
from dal_fast.evaluation.sweep import SWEEP, PooledInterval, counts_at, dice_at
from dal_fast.evaluation.thresholds import dice_above, halve
from dal_fast.ops import VoxelMetrics


def case(name, participant="", facts=None, voxels=10, contrast=1.0, **measures):
    values = {"lesion_voxels": voxels, "lesion_contrast": contrast, **measures}
    return CaseMetrics(name, participant or name, facts or {}, values)


def test_the_interval_is_the_percentile_bootstrap():
    values = np.random.default_rng(3).normal(1, 2, 60)
    found = mean(values.tolist(), [str(i) for i in range(60)])
    assert found.value == pytest.approx(values.mean())
    assert (found.n, found.participants) == (60, 60)
    want = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=5000, rng=np.random.default_rng(0)
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((want.low, want.high), abs=0.06)
    assert mean(values.tolist(), [str(i) for i in range(60)]) == found


def test_scans_of_one_person_are_drawn_together():
    values = [0.0] * 10 + [1.0] * 10
    apart = mean(values, [str(i) for i in range(20)])
    together = mean(values, ["a"] * 10 + ["b"] * 10)
    assert (together.n, together.participants) == (20, 2)
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_nan_is_left_out_and_one_person_has_no_interval():
    found = mean([1.0, math.nan, 3.0], ["a", "b", "a"])
    assert (found.value, found.n, found.participants) == (2.0, 2, 1)
    assert math.isnan(found.low)
    assert mean([math.nan], ["a"]).n == 0


def test_groups():
    facts = [
        {"sub": str(i), "site": "AB"[i % 2], "age": str(20 + i), "scanner": "one", "note": ""}
        for i in range(40)
    ]
    cases = [case(str(i), "", facts[i], i + 1, dice=i / 40) for i in range(40)]
    found = list(groups(cases, "dice"))
    assert {g.factor for g in found} == {"lesion size", "site", "age"}
    sizes = [g for g in found if g.factor == "lesion size"]
    assert [g.value for g in sizes] == [
        "lowest quarter", "second quarter", "third quarter", "highest quarter"
    ]  # fmt: skip
    assert [g.mean.n for g in sizes] == [10, 10, 10, 10]
    limits = np.quantile(range(1, 41), [0.25, 0.5, 0.75])  # UAD-IMAG: torch.quantile, <= each
    quarter = np.searchsorted(limits, range(1, 41))
    for k, g in enumerate(sizes):
        assert g.mean.value == pytest.approx(
            np.mean([i / 40 for i in range(40) if quarter[i] == k])
        )
    ages = [g.mean.value for g in found if g.factor == "age"]
    assert ages == sorted(ages)
    a, b = (g for g in found if g.factor == "site")
    assert (a.value, b.value, a.mean.n) == ("A", "B", 20)


def test_healthy_scans_have_no_size():
    cases = [case(str(i), voxels=0, contrast=math.nan, dice=math.nan) for i in range(8)]
    assert list(groups(cases, "dice")) == []


def test_paired_is_wilcoxon_over_participants():
    rng = np.random.default_rng(1)
    first, second = rng.random(30) + 0.1, rng.random(30)
    people = [f"p{i // 2}" for i in range(30)]
    a, b = (
        [case(str(i), people[i], dice=value) for i, value in enumerate(values)]
        for values in (first, second)
    )
    found = paired_difference(("x", a), ("y", b[::-1]), "dice")
    gaps = first - second
    assert found.difference.value == pytest.approx(gaps.mean())
    assert found.difference.participants == 15
    assert found.p == pytest.approx(stats.wilcoxon(gaps.reshape(15, 2).mean(1)).pvalue)
    assert math.isnan(paired_difference(("x", a), ("x", a), "dice").p)


def test_means_over_cases():
    cases = [case("a", dice=0.5), case("b", dice=1.0)]
    assert means(cases, ("dice",))["dice"].value == 0.75
    assert means([], ("dice",)) == {}


def counted(score, lesion):
    metrics = VoxelMetrics()
    shape = (1, 1, 1, 1, -1)
    metrics.update(torch.from_numpy(score).view(shape), torch.from_numpy(lesion).view(shape))
    return metrics


@pytest.mark.parametrize("seed", range(6))
def test_halving_is_the_original(seed):
    """Also where the Dice has several peaks, where halving ends beside the best."""
    rng = np.random.default_rng(seed)
    lesion = rng.random(4000) < 0.05
    score = (rng.random(4000) + lesion * rng.random(4000) * (seed + 1) / 3).astype(np.float32)
    if seed % 2:
        score[:300] += 1.5
    found = halve(dice_above(counted(score, lesion)), float(score.max()))
    assert found == pytest.approx(originals.pddpm_threshold([score], [lesion]), abs=1e-9)


def test_the_sweep_counts_what_is_above():
    rng = np.random.default_rng(0)
    lesion = rng.random(3000) < 0.1
    score = np.exp2(rng.normal(size=3000) + lesion).astype(np.float32)
    score[:50] = 2.0  # a threshold of the sweep itself
    found = dice_at(counted(score, lesion), SWEEP)
    for k in range(0, len(SWEEP), 7):
        marked = score > SWEEP[k]
        assert found[k] == pytest.approx(originals.dice(marked, lesion) if marked.any() else 0.0)
    assert 2.0 in SWEEP


def test_counts_above():
    rng = np.random.default_rng(0)
    lesion, score = rng.random(3000) < 0.1, rng.lognormal(size=3000).astype(np.float32)
    lesions = int(lesion.sum())
    tp, fp = counts_at(counted(score, lesion), lesions, 3000 - lesions, SWEEP)
    for k in range(300, len(SWEEP), 11):
        assert tp[k] == pytest.approx((lesion & (score > SWEEP[k])).sum())
        assert fp[k] == pytest.approx((~lesion & (score > SWEEP[k])).sum())


def test_the_interval_of_the_pooled_ap():
    """Beside drawing whole participants again and asking scikit-learn."""
    rng = np.random.default_rng(0)
    cases = []
    for _ in range(25):
        lesion = rng.random(1500) < 0.1 * rng.random()
        cases.append((rng.lognormal(size=1500) + 3 * rng.random() * lesion, lesion))
    pooled, everything = PooledInterval(), VoxelMetrics()
    for number, (score, lesion) in enumerate(cases):
        own = counted(score.astype(np.float32), lesion)
        pooled.add(f"p{number}", own, int(lesion.sum()), int((~lesion).sum()))
        everything.merge(own)
    exact = everything.average_precision()
    low, high = pooled.around(exact)
    drawn = []
    for _ in range(400):
        chosen = [cases[i] for i in rng.integers(0, 25, 25)]
        score, lesion = (np.concatenate(side) for side in zip(*chosen, strict=True))
        drawn.append(metrics.average_precision_score(lesion, score))
    want = np.percentile(drawn, [2.5, 97.5])
    assert low < exact < high
    assert (low, high) == pytest.approx(tuple(want), abs=0.03)


def test_one_participant_has_no_interval_and_scans_of_one_count_alike():
    rng = np.random.default_rng(0)
    lesion, score = rng.random(900) < 0.2, rng.random(900).astype(np.float32)
    own, pooled = counted(score, lesion), PooledInterval()
    for _ in range(3):
        pooled.add("a", own, int(lesion.sum()), int((~lesion).sum()))
    assert math.isnan(pooled.around(0.5)[0])
    assert (pooled.tp[:, 0] % (3 * lesion.sum()) == 0).all()
