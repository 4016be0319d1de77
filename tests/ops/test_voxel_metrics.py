"""VoxelMetrics: histogram against the reference bit by bit, curves against sorting and sklearn."""

import pickle
import random

import numpy as np
import pytest
import torch
from support import DTYPES, each_isa

from dal_fast import DalFastError, reference
from dal_fast.context import _C
from dal_fast.ops import VoxelMetrics
from dal_fast.ops import _score_histogram as histogram_module
from dal_fast.ops._score_histogram import Layout, _score_histogram, _score_pages, key_to_score

LIMIT = 2**16


def volume(x):
    return x.view(1, 1, 1, 1, -1)


def inputs(shape, dtype=torch.float32, seed=0):
    """Scores with ties, both zeros and infinities; sparse lesions; a mask."""
    g = torch.Generator().manual_seed(seed)
    n, _, *space = shape
    score = torch.randn(n, 1, *space, generator=g)
    kind = torch.randint(0, 8, score.shape, generator=g)
    for k, value in enumerate((0.0, -0.0, 0.5, float("inf"), float("-inf"))):
        score[kind == k] = value
    target = torch.rand(score.shape, generator=g) < 0.2
    return score.to(dtype), target, torch.rand(score.shape, generator=g) < 0.8


def both(score, target, mask, limit=LIMIT):
    pages, nans = _score_pages(score, mask, "cpu")
    layout = Layout.of(pages.numpy(), limit)
    args = (score, target, mask, torch.from_numpy(layout.base), layout.shift, layout.bins)
    return pages, nans, _score_histogram(*args, "cpu"), reference.score_histogram(*args)


def test_long_runs_many_tasks_and_every_thread_count():
    g = torch.Generator().manual_seed(3)
    score = torch.rand(300_001, generator=g).round(decimals=1)
    score[50_000:200_000] = 0.25  # runs of eight alike, with lesion boundaries inside
    target, mask = score.new_zeros(score.shape).bool(), torch.rand(score.shape, generator=g) < 0.9
    target[60_003:61_005] = True
    mask[100_000:150_000] = False
    results = []
    for threads in (1, 2, 3, 7):
        torch.set_num_threads(threads)
        _, _, got, want = both(score, target, mask)
        assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
        results.append(got)
    assert all(torch.equal(r[0], results[0][0]) for r in results)


def test_segments_add_up(monkeypatch):
    score, target, mask = inputs((1, 1, 9, 11, 37))
    whole = both(score, target, mask)[2]
    monkeypatch.setattr(histogram_module, "_SEGMENT", 1000)
    for a, b in zip(both(score, target, mask)[2], whole, strict=True):
        assert torch.equal(a, b)


def test_every_output_is_written(poisoned):
    score, target, mask = inputs((1, 1, 9, 11, 37))
    _, _, got, want = both(score, target, mask)
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


@each_isa
@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_is_counted_and_refused(isa, dtype):
    score, target, mask = inputs((2, 1, 5, 6, 7), dtype)
    score[0, 0, 0, 0, :3] = float("nan")
    score[1, 0, 1, 1, 1] = -float("nan")
    mask[0, 0, 0, 0, :2] = False
    mask[0, 0, 0, 0, 2] = mask[1, 0, 1, 1, 1] = True
    metrics = VoxelMetrics()
    with pytest.raises(DalFastError, match="2 NaN inside") as refused:
        metrics.update(score, target, mask, case=["a", "b"])
    assert refused.value.code == "nan"
    assert metrics.cases == {}
    assert np.isnan(metrics.average_precision())


@pytest.mark.parametrize("where", ["count", "curve"])
def test_an_exception_in_mid_batch_changes_nothing(where, monkeypatch):
    """As of memory that runs out, or of Ctrl-C."""
    score, target, mask = inputs((3, 1, 5, 6, 7))
    metrics = VoxelMetrics(bins=LIMIT)
    metrics.update(score[:1] + 1, target[:1], mask[:1], case="before")
    cases, counts, before = dict(metrics.cases), state(metrics), metrics.average_precision()
    owner, name = {
        "count": (histogram_module, "_score_histogram"),
        "curve": (histogram_module.ScoreHistogram, "occupied"),
    }[where]
    original, calls = getattr(owner, name), []

    def breaks(*args):
        calls.append(1)
        if len(calls) == 2:
            raise MemoryError
        return original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, breaks)
        with pytest.raises(MemoryError):
            metrics.update(score, target, mask, case=["a", "b", "c"])
    assert metrics.cases == cases
    assert all(np.array_equal(a, b) for a, b in zip(state(metrics), counts, strict=True))
    assert metrics.average_precision() == before
    metrics.update(score, target, mask, case=["a", "b", "c"])  # as if nothing had happened


def test_keys_keep_the_order_and_invert():
    x = torch.tensor([-float("inf"), -3e38, -1.5, -1e-45, 0.0, 1e-45, 1e-38, 1.0, float("inf")])
    keys = reference.score_keys(x)
    assert (keys.diff() > 0).all()
    assert torch.equal(torch.from_numpy(key_to_score(keys.numpy())), x)
    assert reference.score_keys(torch.tensor([-0.0])) == reference.score_keys(torch.tensor([0.0]))


def distribution(name, n, fraction, seed=1):
    g = torch.Generator().manual_seed(seed)
    lesion = torch.rand(n, generator=g) < fraction
    normal, uniform = torch.randn(n, generator=g), torch.rand(n, generator=g)
    half = torch.rand(n, generator=g) < 0.5
    narrow = 1 + 1e-4 * (uniform + 0.5 * lesion)
    score = {
        "shifted normal": normal + 2 * lesion,
        "mostly near zero": uniform**20 * torch.where(lesion, 3.0, 1.0),
        "mostly zero": torch.where(half & ~lesion, 0.0, 0.3 * uniform) + 0.2 * lesion * uniform,
        "wide": torch.exp((30 * normal + 20 * lesion).clamp(-80, 80)),
        "eight bits": ((0.15 * normal + 0.3 + 0.3 * lesion).clamp(0, 1) * 255).round() / 255,
        "constant": torch.full((n,), 0.3),
        "binary": half.float(),
        "top of an octave": 0.75 + 0.25 * uniform ** torch.where(lesion, 0.5, 2.0),
        "narrow": narrow,
        "narrow and zeros": narrow * half,
        "negative": -torch.exp(normal - lesion.float()),
        "separable": uniform + lesion,
        "inverted": uniform - lesion.float(),
    }[name]
    return score, lesion


NAMES = [
    "shifted normal", "mostly near zero", "mostly zero", "wide", "eight bits", "constant",
    "binary", "top of an octave", "narrow", "narrow and zeros", "negative", "separable", "inverted",
]  # fmt: skip


@pytest.mark.parametrize("fraction", [0.1, 1e-3])
@pytest.mark.parametrize("name", NAMES)
def test_agrees_with_scikit_learn(name, fraction):
    sklearn = pytest.importorskip("sklearn.metrics")
    score, lesion = distribution(name, 150_000, fraction)
    metrics = VoxelMetrics()
    metrics.update(volume(score), volume(lesion))
    s, y = score.double().numpy(), lesion.numpy()
    exact = sklearn.average_precision_score(y, s)
    assert metrics.average_precision() == pytest.approx(exact, abs=1e-4)
    low, high = metrics.average_precision_bounds()
    assert low - 1e-12 <= exact <= high + 1e-12
    assert metrics.auroc() == pytest.approx(sklearn.roc_auc_score(y, s), abs=1e-4)
    p, r, _ = sklearn.precision_recall_curve(y, s)
    dice = (2 * p * r / np.maximum(p + r, 1e-300)).max()
    best = metrics.best_dice()
    assert best.value == pytest.approx(dice, abs=1e-4)
    above = score >= best.threshold
    at_threshold = 2 * (above & lesion).sum() / (above.sum() + lesion.sum())
    assert best.value == pytest.approx(float(at_threshold), abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_agrees_with_the_exact_definitions(name):
    score, lesion = distribution(name, 50_000, 0.02)
    metrics = VoxelMetrics()
    metrics.update(volume(score), volume(lesion), case="one")
    curve = reference.exact_curve(score, lesion)
    assert metrics.average_precision() == pytest.approx(
        reference.average_precision(curve), abs=1e-4
    )
    assert metrics.auroc() == pytest.approx(reference.auroc(curve), abs=1e-4)
    for fpr in (0.0, 0.01, 0.2, 1.0):
        want = reference.dice_at_fpr(curve, fpr)
        assert metrics.dice_at_fpr(fpr).value == pytest.approx(want, abs=5e-4)
    case = metrics.cases["one"]
    assert case.average_precision == metrics.average_precision()
    assert case.best_dice == metrics.best_dice()
    assert case.dice_at_fpr[0.01] == metrics.dice_at_fpr(0.01)
    assert (case.lesion_voxels, case.voxels) == (int(lesion.sum()), 50_000)


def test_a_bound_that_is_wide_says_so():
    """Saturated probabilities: the one distribution here that the default bins do not resolve."""
    score, lesion = distribution("shifted normal", 50_000, 1e-3)
    score = torch.sigmoid(6 * score - 4)
    metrics = VoxelMetrics()
    metrics.update(volume(score), volume(lesion))
    exact = reference.average_precision(reference.exact_curve(score, lesion))
    low, high = metrics.average_precision_bounds()
    assert low - 1e-12 <= exact <= high + 1e-12
    finer = VoxelMetrics(bins=2**22)
    finer.update(volume(score), volume(lesion))
    finer_low, finer_high = finer.average_precision_bounds()
    assert finer_high - finer_low < (high - low) / 2


def test_curves_equal_scikit_learn_where_no_bin_is_shared():
    sklearn = pytest.importorskip("sklearn.metrics")
    score, lesion = distribution("eight bits", 20_000, 0.1)
    metrics = VoxelMetrics()
    metrics.update(volume(score), volume(lesion))
    s, y = score.numpy(), lesion.numpy()
    for got, want in zip(
        metrics.roc(), sklearn.roc_curve(y, s, drop_intermediate=False), strict=True
    ):
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-12)
    for got, want in zip(
        metrics.precision_recall(), sklearn.precision_recall_curve(y, s), strict=True
    ):
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-12)
    dice, thresholds = metrics.dice()
    exact = reference.exact_curve(score, lesion)
    torch.testing.assert_close(dice, reference.dice(exact))
    torch.testing.assert_close(thresholds.double(), exact.thresholds)


def state(metrics):
    h = metrics._histogram
    return h.pages, h.counts, h.span


def test_order_and_merging_do_not_change_a_bit():
    batches = []
    for seed, scale in enumerate((1.0, 1e-6, 1e6, 1e-30, 3.0)):
        score, target, mask = inputs((2, 1, 3, 4, 37), seed=seed)
        batches.append((score * scale, target, mask, [f"{seed}a", f"{seed}b"]))
    whole = VoxelMetrics(bins=LIMIT)
    for batch in batches:
        whole.update(*batch)
    random.Random(0).shuffle(batches)
    left, right = VoxelMetrics(bins=LIMIT), VoxelMetrics(bins=LIMIT)
    for i, batch in enumerate(batches):
        (left if i % 2 else right).update(*batch)
    merged = pickle.loads(pickle.dumps(left)).merge(right)
    assert merged.cases == whole.cases
    assert all(np.array_equal(a, b) for a, b in zip(state(merged), state(whole), strict=True))
    together = VoxelMetrics(bins=LIMIT)
    together.update(*(torch.cat([b[i] for b in batches]) for i in range(3)))
    assert together.average_precision() == whole.average_precision()
    assert len(whole._histogram.counts) <= LIMIT


def test_reference_backend_agrees():
    score, target, mask = inputs((2, 1, 9, 11, 37))
    fast, slow = VoxelMetrics(backend="cpu"), VoxelMetrics(backend="reference")
    for metrics in (fast, slow):
        metrics.update(score, target, mask, case=["a", "b"])
    assert fast.cases == slow.cases
    assert all(np.array_equal(a, b) for a, b in zip(state(fast), state(slow), strict=True))


def test_without_lesions_or_voxels_metrics_are_nan():
    metrics = VoxelMetrics()
    for _ in range(2):
        values = metrics.average_precision(), metrics.auroc(), *metrics.best_dice()
        assert np.isnan([*values, *metrics.dice_at_fpr(0.1)]).all()
        assert metrics.roc().tpr[1:].isnan().all()
        assert metrics.precision_recall().recall[:-1].isnan().all()
        score = torch.rand(1, 1, 3, 4, 5)
        metrics.update(score, torch.zeros_like(score, dtype=torch.bool))
    metrics.update(torch.zeros(0, 1, 3, 4, 5), torch.zeros(0, 1, 3, 4, 5, dtype=torch.bool))


def test_opcheck_and_compile():
    score, target, mask = inputs((1, 1, 3, 4, 5))
    layout = Layout.of(_score_pages(score, mask, "cpu")[0].numpy(), LIMIT)
    args = (score, target, mask, torch.from_numpy(layout.base), layout.shift, layout.bins)
    torch.library.opcheck(_score_pages.overload, (score, mask, "cpu"))
    torch.library.opcheck(_score_histogram.overload, (*args, "cpu"))
    compiled = torch.compile(
        lambda *a: _score_histogram(*a, "cpu")[0].sum(0), fullgraph=True, backend="aot_eager"
    )
    assert torch.equal(compiled(*args), _score_histogram(*args, "cpu")[0].sum(0))


def test_workspace_size():
    assert _C.cpu.score_histogram_workspace(bins=2**18, where=2) == 12 * 2**18 * 2


ZEROS = torch.zeros(2, 1, 2, 2, 2)
TARGET = torch.zeros(2, 1, 2, 2, 2, dtype=torch.bool)


def _twice(metrics):
    for _ in range(2):
        metrics.update(ZEROS, TARGET, case=["a", "b"])


def _merge_same_case():
    parts = [VoxelMetrics(), VoxelMetrics()]
    for part in parts:
        part.update(ZEROS[:1], TARGET[:1], case="a")
    parts[0].merge(parts[1])


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda: VoxelMetrics(bins=100), "bins"),
        (lambda: VoxelMetrics(bins=2**25), "bins"),
        (lambda: VoxelMetrics(fprs=(1.5,)), "value"),
        (lambda: VoxelMetrics().dice_at_fpr(-0.1), "value"),
        (lambda: VoxelMetrics().update(torch.zeros(3, 4), TARGET), "shape"),
        (lambda: VoxelMetrics().update(torch.zeros(1, 2, 2, 2, 2), TARGET), "shape"),
        (lambda: VoxelMetrics().update(ZEROS.int(), TARGET), "dtype"),
        (lambda: VoxelMetrics().update(ZEROS, TARGET.float()), "mask-dtype"),
        (lambda: VoxelMetrics().update(ZEROS, TARGET[:1]), "mask-shape"),
        (lambda: VoxelMetrics().update(ZEROS, TARGET, TARGET[..., :1]), "mask-shape"),
        (lambda: VoxelMetrics().update(ZEROS, TARGET, case="a"), "case"),
        (lambda: VoxelMetrics().update(ZEROS, TARGET, case=["a", "a"]), "case"),
        (lambda: _twice(VoxelMetrics()), "case"),
        (_merge_same_case, "case"),
        (lambda: VoxelMetrics().merge(VoxelMetrics(bins=2**17)), "bins"),
        (lambda: VoxelMetrics().merge(3), "value"),
        (lambda: VoxelMetrics(backend="cuda").update(ZEROS, TARGET), "backend-unavailable"),
    ],
)
def test_refusals(call, code):
    with pytest.raises(DalFastError) as refused:
        call()
    assert refused.value.code == code
